"""`AttentionWeights`: checks what is asked, asks the source, and brings answers back to the shape of the call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from .._inputs import AttentionInputs, AttentionResult, Index, Summary
from .._tracing import full_precision, jit_traced, transformed
from ..backends import lse_beside, visible_queries
from ..errors import ArgumentError, ShapeError, TooLargeError, nearest
from ._answering import answer
from ._answers import DistanceProfile, Peak, Top, profile_of
from ._index import bounds, length, plan, sides
from ._keeping import keeping
from ._kept_source import KeptSource, Source
from ._memory import free_bytes, readable_size
from ._question import Question, QuestionName
from ._softmax_source import SoftmaxSource
from ._source import WeightSource
from ._tensor_like import TensorLike
from ._witness import READ_BY_MASKS, READ_BY_NORMS

Kind = Literal["mass", "peak"]


class AttentionWeights(TensorLike):
    """The attention weights of one call: behaves like the matrix `(B, H, L, S)`, holds nothing of its size.

    Any rectangle is computed exactly when it is indexed; the summaries stream over blocks in O(n) memory. Weights
    are those before dropout, float32 (float64 for float64 inputs). Leading dimensions that the call left out are
    left out here too. A query that sees nothing has weights 0. Made by `regard.attention(..., need_weights=True)`
    and `regard.linear_attention(..., need_weights=True)`.

    Gradients flow to query, key and bias through indexing, `dense`, `lse`, `entropy`, `effective_keys`, `received`,
    `pooled` (mass), `mean_distance`, `distance_profile`, `share` and `@`; what is looked up by size (`peak`, `top`,
    `pooled` peak) has none. Under `torch.no_grad`, or after `detach()`, all of them are faster.

    Weights of a recording answer from the summary that was kept of the call, exactly. With keep="exact" everything else
    is computed from the query and key that were kept, without gradient; else it raises `ArgumentError`, which names the
    setting that keeps it. `kept_cell` tells which.

    Cost: a summary costs about as much as the forward pass, less what the spans hide. Memory O(B·H·(L + S)).

    Source: `exp(score - lse)` is the recomputation of FlashAttention, Dao et al. 2022, arXiv:2205.14135, section 3.1.

    >>> import regard
    >>> q = torch.randn(2, 4, 100, 8)
    >>> _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    >>> weights.shape, weights[0, 3, 50:52].shape, weights.pooled(10).shape
    ((2, 4, 100, 100), torch.Size([2, 100]), torch.Size([2, 4, 10, 10]))
    """

    def __init__(self, source: Source, rank: int = 4) -> None:
        self._source, self._rank = source, rank
        self._plain: Source | None = None

    @classmethod
    def of_call(
        cls, inputs: AttentionInputs, result: AttentionResult, rank: int, backend: str | None = None
    ) -> AttentionWeights:
        """Wrap a call of softmax attention and its result."""
        source = SoftmaxSource(
            inputs, result.lse, lse_of="scores" if inputs.sinks is None else "more",
            lse_has_gradient=result.lse_has_gradient, map=result.map, map_cell=result.map_cell, summary=result.summary,
            backend=backend,
        )  # fmt: skip
        return cls(keeping(source), rank)

    @classmethod
    def of_summary(
        cls,
        summary: Summary,
        rank: int = 4,
        *,
        sums_to_one: bool = True,
        fetch: Callable[[], WeightSource] | None = None,
    ) -> AttentionWeights:
        """Wrap what was kept of a call; `fetch` gives the matrix where its entries were kept too."""
        return cls(KeptSource(summary, sums_to_one, fetch), rank)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(B, H, L, S)`, or without the leading dimensions that the call left out."""
        return self._source.shape[4 - self._rank :]

    @property
    def ndim(self) -> int:
        """Number of dimensions, 2 to 4."""
        return self._rank

    @property
    def dtype(self) -> torch.dtype:
        """float64 for float64 inputs, else float32."""
        return self._source.dtype

    @property
    def device(self) -> torch.device:
        """Where the call was made and the answers lie."""
        return self._source.device

    @property
    def requires_grad(self) -> bool:
        """Whether gradients can flow from the weights into query, key, bias or sinks."""
        return self._source.requires_grad

    @property
    def backend(self) -> str | None:
        """Name of the backend that computed the call; None for weights that come from elsewhere, or from a file."""
        return self._source.backend

    @property
    def sums_to_one(self) -> bool:
        """Whether rows are shares of 1; False for `value_weighted` ones, which are in units of the values."""
        return self._source.sums_to_one

    @property
    def map_cell(self) -> int:
        """Tokens per side of a cell of the map that came with the call, which makes `pooled` free; 0 if none did."""
        return self._source.map_cell_at_hand

    @property
    def kept_cell(self) -> int:
        """Tokens per side of the finest cells that can be looked at, where a recording kept a summary of the call and
        nothing else; 0 where every entry can be computed."""
        return self._source.kept_cell

    @property
    def lse(self) -> Tensor:
        """Natural log of each row's sum of exponentials, `(B, H, L)`; -inf where a row sees nothing. Differentiable."""
        source = self._source
        known = source.lse is not None and (source.lse_has_gradient or not source.requires_grad)
        lse = source.lse if known else self._ready(differentiable=True).lse
        if lse is None:
            raise ValueError("the lse was not computed")
        return self._trim(lse).clone()  # who writes to it does not change the weights

    def __len__(self) -> int:
        """Return the size of the first dimension."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Say the shape, what the matrix would cost, and how to look at it."""
        if self.kept_cell:
            return (
                f"AttentionWeights(shape={self.shape})  # a summary was kept: .pooled({self.kept_cell}), .entropy(), "
                ".received(), .peak(), .mean_distance(), .share(0)"
            )
        kind = str(self.dtype).removeprefix("torch.")
        place = "" if self.device.type == "cpu" else f", device='{self.device}'"
        first = ", ".join(["0"] * (self._rank - 1))
        return (
            f"AttentionWeights(shape={self.shape}, dtype={kind}{place})  # not stored: "
            f"{readable_size(self._bytes(self._source.shape))} if dense; look with [{first}], .pooled(64), .entropy(), "
            ".received(), .top(8), .dense()"
        )

    def __getitem__(self, index: Any) -> Tensor:
        """Return what `dense()[index]` would, computing only the rectangle that is needed.

        Takes integers, slices, `None`, `...`, integer and boolean tensors, lists and arrays. Raises `IndexError` as
        torch does, `TooLargeError` if the rectangle would not fit. Differentiable.
        """
        source = self._ready(differentiable=True).entries()
        index = index if isinstance(index, tuple) else (index,)
        wanted = plan((*(0,) * (4 - self._rank), *index), source.shape, source.device)
        batch, heads, rows, columns = wanted.selectors
        part = source if _whole(batch, heads, source) else source.select(batch, heads)
        sizes = (*part.shape[:2], *(length(s) for s in (rows, columns)))
        if wanted.pairs is not None:
            found = part.pairs(*wanted.pairs)
        elif 0 in sizes:
            found = torch.zeros(sizes, dtype=part.dtype, device=part.device)
        else:
            self._check_fits(sizes, None)
            found = _rectangle(part, rows, columns)
        taken: Tensor = found[wanted.remainder]
        return taken

    def __matmul__(self, values: Tensor | AttentionWeights) -> Tensor:
        """Return `weights @ values` without the matrix: `(B, H, L, D)` from values `(B, G, S, D)`, in O(n) memory.

        `values` has the leading dimensions of the call and `H` heads, or fewer as in the call. With the call's own
        values this is its output before dropout. Raises `ShapeError`. Differentiable.
        """
        if isinstance(values, AttentionWeights):
            values = values.dense()
        batch, heads, _, keys = self._source.shape
        given = tuple(values.shape)
        values = values.reshape((1,) * (4 - values.ndim) + given)
        if len(given) != self._rank or values.shape[0] != batch or values.shape[2] != keys or heads % values.shape[1]:
            raise ShapeError(
                f"values have shape {given}; weights of shape {self.shape} multiply values of shape "
                "(B, G, S, D) with the same leading dimensions and H a multiple of G."
            )
        source = self._ready(differentiable=True).entries()
        if torch.is_grad_enabled() and values.requires_grad:
            source = replace(source, tracked=True)
        values = values.to(source.dtype).repeat_interleave(heads // values.shape[1], 1)
        if not bool(values.isfinite().all()):
            values = torch.where((visible_queries(source.inputs) > 0)[..., None], values, 0.0)
        return self._trim(answer(self._question("product", source, values=values))[0])

    def head(self, *index: int) -> AttentionWeights:
        """Return the matrix of one head, still lazy: `head(b, h)`, shape `(L, S)`.

        Give one integer for each leading dimension of the call. Raises `ArgumentError`, `IndexError`. O(1), no copy.

        >>> import regard
        >>> q = torch.ones(2, 4, 10, 8)
        >>> regard.attention(q, q, q, need_weights=True)[1].head(1, -1).shape
        (10, 10)
        """
        if len(index) != self._rank - 2:
            raise ArgumentError(
                f"head() was given {len(index)} integers; weights of shape {self.shape} need {self._rank - 2}, one for "
                "each dimension before queries and keys."
            )
        places = []
        for position, size in zip((*(0,) * (4 - self._rank), *index), self._source.shape[:2], strict=True):
            if not -size <= position < size:
                raise IndexError(f"head {index} lies outside of weights of shape {self.shape}.")
            places.append(slice(position % size, position % size + 1))
        return AttentionWeights(self._source.select(*places), 2)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and `copy.deepcopy`: copies of what the weights are computed from, without gradient."""
        return {**self.__dict__, "_source": self._source.detached().owned(), "_plain": None}

    def __copy__(self) -> Self:
        """Return the same weights: what they are computed from is shared, and so are gradients."""
        same = object.__new__(type(self))
        same.__dict__.update(self.__dict__)
        return same

    def clone(self) -> AttentionWeights:
        """Return the same weights, still lazy, out of copies that nobody else can write to; O(n), differentiable.

        >>> import regard
        >>> q = torch.randn(1, 1, 3, 4)
        >>> mine = regard.attention(q, q, q, need_weights=True)[1].clone()
        >>> _ = q.zero_()
        >>> bool((mine.dense() != 1 / 3).any())
        True
        """
        return AttentionWeights(self._source.owned(), self._rank)

    def detach(self) -> AttentionWeights:
        """Return the same weights without gradients: summaries are then faster and the graph can be freed."""
        return AttentionWeights(self._source.detached(), self._rank)

    def moved(self, device: torch.device | str) -> AttentionWeights:
        """Return the weights with what they are computed from on another device, as `to` does. Copies O(n)."""
        return AttentionWeights(self._source.moved(device), self._rank)

    def dense(self, *, max_bytes: int | None = None) -> Tensor:
        """Return the whole matrix, `(B, H, L, S)`.

        Args:
            max_bytes: largest matrix to build, in bytes; half of the free memory of the device unless given.

        Raises `TooLargeError` beyond that, and names what shows the same in less. Differentiable. O(B·H·L·S) memory.

        >>> import regard
        >>> q = torch.randn(1, 2, 5, 4)
        >>> _, weights = regard.attention(q, q, q, need_weights=True)
        >>> bool(torch.allclose(weights.dense().sum(-1), torch.ones(1, 2, 5)))
        True
        """
        self._check_fits(self._source.shape, max_bytes)
        return self._trim(self._ask("tile", differentiable=True))

    def pooled(
        self,
        cell: int | tuple[int, int],
        kind: Kind = "mass",
        *,
        rows: slice | None = None,
        columns: slice | None = None,
    ) -> Tensor:
        """Return the matrix, or a rectangle of it, shrunk to one number per cell: `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`.

        Args:
            cell: tokens per side of a cell, or (queries, keys). The last cells hold what is left.
            kind: "mass" is the mean over a cell's queries of the sum over its keys, so rows still sum to 1 (less
                the queries that see nothing); "peak" is the largest weight in the cell.
            rows, columns: the rectangle, slices with step 1; everything unless given. Cells begin at its corner.

        Raises `ArgumentError`. Mass is differentiable. Time O(B·H·r·c·E), memory O(n + answer); free where the
        forward pass has already made a map and `cell` is a multiple of its cells.

        >>> import regard
        >>> q = torch.randn(1, 1, 10, 4)
        >>> _, weights = regard.attention(q, q, q, need_weights=True)
        >>> weights.pooled(4).shape, bool(torch.allclose(weights.pooled(4).sum(-1), torch.ones(1, 1, 3)))
        (torch.Size([1, 1, 3, 3]), True)
        """
        if kind not in get_args(Kind):
            raise ArgumentError(f"kind is {kind!r}; it is 'mass' or 'peak'.{nearest(str(kind), get_args(Kind))}")
        source = self._ready(differentiable=kind == "mass")
        return self._of_cells("pooled" if kind == "mass" else "highest", source, cell, rows, columns)

    def masked(
        self, cell: int | tuple[int, int] = 1, *, rows: slice | None = None, columns: slice | None = None
    ) -> Tensor:
        """Return which cells the mask hides wholly, bool `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`; arguments as in `pooled`.

        True where no query of the cell may see any of its keys, by the mask or by a bias of -inf. A cell that is not
        masked and holds 0 is a measured zero. Raises `ArgumentError`. O(r + answer) for masks that are spans, else
        O(r·c).

        >>> import regard
        >>> q = torch.ones(1, 1, 2, 2)
        >>> regard.attention(q, q, q, causal=True, need_weights=True)[1].masked()[0, 0]
        tensor([[False,  True],
                [False, False]])
        """
        return self._of_cells("masked", self._source.fresh(READ_BY_MASKS), cell, rows, columns)

    def uniform(
        self, cell: int | tuple[int, int] = 1, *, rows: slice | None = None, columns: slice | None = None
    ) -> Tensor:
        """Return what `pooled` would be if each query looked at all its visible keys alike; arguments as there.

        `pooled / uniform` is the lift: how much more a cell gets than it would by its size. Float32, cost of `masked`.
        """
        return self._of_cells("uniform", self._source.fresh(READ_BY_MASKS), cell, rows, columns)

    def visible_keys(self) -> Tensor:
        """Return how many keys each query may see by the mask, int64 `(B, H, L)`; O(n), with a dense mask O(n²)."""
        return self._trim(answer(self._question("visible_keys", self._source.fresh(READ_BY_MASKS)))[0])

    def entropy(self) -> Tensor:
        """Return the entropy of each row in nats, `(B, H, L)`: 0 = one key, `log S` = all keys alike.

        A row that sees nothing has 0. Differentiable. Time O(B·H·L·S·E), memory O(n).
        Source: Ghader and Monz 2017, arXiv:1710.03348, equation 6.

        >>> import regard
        >>> same = torch.ones(1, 1, 4, 2)
        >>> regard.attention(same, same, same, causal=True, need_weights=True)[1].entropy()[0, 0].exp().round()
        tensor([1., 2., 3., 4.])
        """
        source = self._ready(differentiable=True)
        if isinstance(source, WeightSource) and not source.sums_to_one:
            source = replace(source, lse=None, lse_of="weighted")
            source = replace(source, lse=self._lse(source))
        return self._trim(answer(self._question("entropy", source))[0])

    def effective_keys(self) -> Tensor:
        """Return `exp(entropy)`, `(B, H, L)`: the number of keys that a row looks at; 0 where it sees nothing.

        Differentiable. Cost of `entropy`.
        """
        source = self._source if self._source.lse is not None else self._ready(differentiable=True)
        return torch.where(self._trim(self._sees(source)), self.entropy().exp(), 0.0)

    def received(self, *, corrected: bool = False) -> Tensor:
        """Return how much attention each key gets: the sum over queries, `(B, H, S)`.

        Args:
            corrected: divide by the number of queries that may see the key by the mask. Under a causal mask early
                keys are seen by more queries; the corrected numbers are mean weights and can be compared.

        Differentiable. Time O(B·H·L·S·E), memory O(n).

        >>> import regard
        >>> same = torch.ones(1, 1, 3, 2)
        >>> _, weights = regard.attention(same, same, same, need_weights=True)
        >>> weights.received()[0, 0].round(), (3 * weights.received(corrected=True)[0, 0]).round()
        (tensor([1., 1., 1.]), tensor([1., 1., 1.]))
        """
        found = self._ask("received", differentiable=True)
        if corrected:
            seen = answer(self._question("visible_queries", self._source.fresh(READ_BY_MASKS)))[0]
            found = found / seen.clamp(min=1)
        return self._trim(found)

    def peak(self) -> Peak:
        """Return the largest weight of each row and its key, both `(B, H, L)`; the first of equals, -1 for none.

        Time O(B·H·L·S·E), memory O(n).
        """
        source = self._ready(differentiable=False)
        values, indices = answer(self._question("peak", source))
        return Peak(self._trim(values), self._trim(indices))

    def max_scores(self) -> Tensor:
        """Return the largest score of each row, which QK-clip bounds: `(B, H, L)`, -inf where a row sees nothing.

        Scaled, capped, with the bias, as the softmax takes it; as coarse as `lse` in rows far from zero. No gradient.
        Raises `ArgumentError` after `value_weighted`. Time O(B·H·L·S·E), memory O(n). Source: arXiv:2507.20534.

        >>> import regard
        >>> regard.attention(*torch.eye(3).expand(3, 3, 3), scale=9.0, need_weights=True)[1].max_scores()
        tensor([9., 9., 9.])
        """
        source = self._ready(differentiable=False)
        if source.lse is None or getattr(source, "log_factor", None) is not None or not self.sums_to_one:
            raise ArgumentError("Weights times the norms of values hold no scores; ask those of the call itself.")
        largest = answer(self._question("peak", source))[0]
        return self._trim(torch.where(largest == 0, -torch.inf, source.lse.detach() + largest.log()))

    def top(self, k: int) -> Top:
        """Return the `k` largest weights of each row and their keys, `(B, H, L, k)`, largest first.

        Where a row sees fewer than `k` keys the rest has value 0 and index -1. Raises `ArgumentError` unless
        `1 <= k <= S`. Time O(B·H·L·S·E), memory O(n·k).

        >>> import regard
        >>> q = torch.eye(3)[None, None] * 9
        >>> regard.attention(q, q, q, need_weights=True)[1].top(1).indices[0, 0, :, 0]
        tensor([0, 1, 2])
        """
        keys = self._source.shape[3]
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= keys:
            raise ArgumentError(f"k is {k!r}; it must be an integer from 1 to the number of keys, {keys}.")
        source = self._ready(differentiable=False)
        values, indices = answer(self._question("top", source, count=k))
        return Top(self._trim(values), self._trim(indices))

    def share(self, offset: int | Literal["first"]) -> Tensor:
        """Return the share of all attention that goes to one relative position, `(B, H)`, from 0 to 1.

        Args:
            offset: key minus query position, bottom-right aligned: 0 = itself, -1 = the previous token, 1 = the
                next. "first" = the first key that any query of the sequence may see, often a sink of attention.

        The mean is over the queries that see something, so the shares of all offsets sum to 1. Differentiable.
        Raises `ArgumentError`. Time O(B·H·L·E), memory O(n): no matrix is streamed.
        Source of the reading: Clark et al. 2019, arXiv:1906.04341, section 3.1; sinks: Xiao et al. 2023,
        arXiv:2309.17453.

        >>> import regard
        >>> q = torch.eye(4)[None, None] * 20
        >>> regard.attention(q, q, q, need_weights=True)[1].share(0).round()
        tensor([[1.]])
        """
        if offset != "first" and (not isinstance(offset, int) or isinstance(offset, bool)):
            raise ArgumentError(f"offset is {offset!r}; give key minus query position (0, -1, 1 ...), or 'first'.")
        source = self._ready(differentiable=True)
        return self._trim(answer(self._question("share", source, offset=offset))[0] / self._seeing(source))

    def mean_distance(self) -> Tensor:
        """Return how far each query looks on average: `Σ weight · |key - query|`, in tokens, `(B, H, L)`.

        Positions are bottom-right aligned. Differentiable. Time O(B·H·L·S·E), memory O(n).
        """
        return self._trim(self._ask("distances", differentiable=True))

    def distance_profile(self, *, binned: bool = True) -> DistanceProfile:
        """Return the share of attention by distance, key minus query, bottom-right aligned; sums to 1 over the bins.

        Args:
            binned: distances up to 16 have a bin each, beyond it bins double (17 to 32, 33 to 64 and so on). False
                gives each distance its own bin.

        Differentiable. Time O(B·H·L·S·E), memory O(n).
        """
        source = self._ready(differentiable=True)
        sums = answer(self._question("profile", source))[0] / self._seeing(source)[..., None]
        found = profile_of(sums, source.shape[3], binned=binned)
        return found._replace(mass=self._trim(found.mass))

    def value_weighted(self, output_weight: Tensor | None = None, *, normalise: bool = False) -> AttentionWeights:
        """Return the lazy matrix `weight · ‖v_j‖`: how much each key really adds to the output.

        A large weight on a value near zero moves nothing. Every summary and index works on the result.

        Args:
            output_weight: `(D, H·Ev)`, the weight of the linear layer after the heads; the norm is then that of the
                value behind it, `‖W_h v_j‖`.
            normalise: scale each row to sum to 1 again. Without it entries are in units of the values.

        `entropy` is always that of the normalised rows. The norms are constants: gradients flow through the weights
        only. Raises `ShapeError`. O(B·H·S·Ev), with an output weight O(B·H·S·Ev²).
        Source: Kobayashi et al. 2020, arXiv:2004.10102, section 2.

        >>> import regard
        >>> q = torch.zeros(1, 1, 2, 2)
        >>> _, weights = regard.attention(q, q, torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]]), need_weights=True)
        >>> weights.value_weighted().dense()[0, 0].round()
        tensor([[0., 2.],
                [0., 2.]])
        """
        whole = self._source.entries("values")
        factor = whole.fresh(READ_BY_NORMS).norms(output_weight).log()
        source = replace(whole, log_factor=factor, map=None, summary=None)
        if normalise:
            source = replace(source, lse=None, lse_has_gradient=False, lse_of="weighted")
        elif source.lse is None:
            source = replace(source, lse=self._ready(differentiable=False).lse)
        return AttentionWeights(source, self._rank)

    def _ready(self, *, differentiable: bool) -> Source:
        """Return the source with its `lse`: one that gradients flow through where they are wanted and possible."""
        self._source.fresh()
        trains = torch.is_grad_enabled() and self._source.requires_grad
        if differentiable and (trains or transformed()):  # a transform does not know sums in place
            tracked = self._source.tracking()
            if isinstance(tracked, WeightSource) and tracked.lse is None:
                bare = tracked if tracked.sums_to_one else replace(tracked, log_factor=None)
                tracked = replace(tracked, lse=self._lse(bare))
            return tracked
        if self._plain is None:
            plain = self._source.detached()
            if isinstance(plain, WeightSource) and plain.lse is None:
                plain = replace(plain, lse=self._lse(plain))
            self._plain = plain
        return self._plain

    def _lse(self, source: WeightSource) -> Tensor:
        lse = answer(self._question("lse", source))[0]
        sinks = source.inputs.sinks if source.lse_of == "more" else None
        return lse if sinks is None else lse_beside(lse, sinks)

    def _question(self, name: QuestionName, source: Source, **details: Any) -> Question:
        return Question(name, source, slice(0, source.shape[2]), slice(0, source.shape[3]), **details)

    def _of_cells(
        self,
        name: QuestionName,
        source: Source,
        cell: int | tuple[int, int],
        rows: slice | None,
        columns: slice | None,
    ) -> Tensor:
        _, _, queries, keys = source.shape
        down, across = bounds(rows, queries, "rows"), bounds(columns, keys, "columns")
        return self._trim(answer(Question(name, source, down, across, sides(cell)))[0])

    def _ask(self, name: QuestionName, *, differentiable: bool) -> Tensor:
        return answer(self._question(name, self._ready(differentiable=differentiable)))[0]

    def _trim(self, tensor: Tensor) -> Tensor:
        # Leading dimensions that the call left out are of size 1.
        return tensor.reshape(tensor.shape[4 - self._rank :])

    def _sees(self, source: Source) -> Tensor:
        """Return which queries see some key, bool `(B, H, L)`."""
        if source.lse is None:
            raise ValueError("the lse was not computed")
        seen = source.lse != -torch.inf
        if isinstance(source, WeightSource) and source.lse_of != "more":
            return seen
        return seen & (answer(self._question("visible_keys", source))[0] > 0)  # a sink has a finite lse alone, too

    def _seeing(self, source: Source) -> Tensor:
        """Return the number of queries that see something, at least 1: `(B, H)`."""
        return self._sees(source).sum(-1).clamp(min=1)

    def _bytes(self, sizes: tuple[int, ...]) -> int:
        return math.prod(sizes) * (8 if self.dtype == torch.float64 else 4)

    def _check_fits(self, sizes: tuple[int, ...], most: int | None) -> None:
        needed = self._bytes(sizes)
        if most is None:
            if jit_traced() or torch.compiler.is_compiling():  # a graph for any sizes knows no bound
                return
            if needed <= 1 << 20:
                return
            most = free_bytes(self.device) // 2
        if needed > most:
            raise TooLargeError(
                f"weights of shape {sizes} need {readable_size(needed)}, the bound is {readable_size(most)} (half of "
                "the free memory unless max_bytes= is given to dense()). Use .pooled(cell) for the whole matrix at "
                "lower resolution, an index such as [0, 0, 100:200] for exact rows, or .head(b, h), .top(k), "
                ".entropy(), .received() in O(n) memory."
            )


def kept(weights: AttentionWeights, *, copy_all: bool = False) -> AttentionWeights:
    """Return weights made under `consumed_at_once` as those of any other call: safe from what is written later."""
    return AttentionWeights(keeping(weights._source.entries(), copy_all=copy_all), weights.ndim)


def _whole(batch: Index, heads: Index, source: WeightSource) -> bool:
    return batch == slice(0, source.shape[0]) and heads == slice(0, source.shape[1])


def _rectangle(source: WeightSource, rows: Index, columns: Index) -> Tensor:
    if isinstance(rows, slice) and isinstance(columns, slice):
        return answer(Question("tile", source, rows, columns))[0]
    row, column = (s if isinstance(s, slice) else s.to(source.device) for s in (rows, columns))
    with full_precision(source.device.type):
        return source.tile(row, column)
