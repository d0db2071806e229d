"""Lazy weights where code expects a Tensor: the recipes people use, what is refused, and how it says so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import regard
from regard.errors import ArgumentError, TooLargeError
from regard.weights import AttentionWeights, summarise


def weights_of(length: int = 6) -> AttentionWeights:
    """Return the causal weights of two inputs and four heads."""
    query, key = torch.randn(2, 2, 4, length, 8).unbind()
    return regard.attention(query, key, key, causal=True, need_weights=True)[1]


# Each gives the same of the weights and of the dense matrix.
RECIPES: dict[str, Callable[[Any], Any]] = {
    "stack": lambda w: torch.stack([w, w]).mean(2),
    "stack of a tuple": lambda w: torch.stack((w, w)),
    "cat": lambda w: torch.cat([w, w], 1),
    "mean(dim=1)": lambda w: w.mean(dim=1),
    "mean(1)": lambda w: w.mean(1),
    "sum": lambda w: w.sum(-1),
    "sum of layers": lambda w: sum([w, w]),
    "squeeze": lambda w: w.squeeze(),
    "unsqueeze": lambda w: w.unsqueeze(0),
    "cpu numpy": lambda w: w.detach().cpu().numpy(),
    "data": lambda w: w.data.cpu().numpy(),
    "to device": lambda w: w.to("cpu", non_blocking=True).numpy(),
    "to dtype": lambda w: w.to(torch.float64),
    "to both": lambda w: w.to("cpu", torch.float16),
    "to another's": lambda w: w.to(torch.zeros(1, dtype=torch.float64)),
    "to by name": lambda w: w.to(device="cpu", dtype=torch.bfloat16),
    "float": lambda w: w.float().numpy(),
    "double": lambda w: w.double(),
    "half": lambda w: w.half(),
    "asarray": lambda w: np.asarray(w),
    "asarray dtype": lambda w: np.asarray(w, dtype=np.float64),
    "numpy stack": lambda w: np.stack([w, w]),
    "from_dlpack": lambda w: np.from_dlpack(w),
    "as_tensor": lambda w: torch.as_tensor(w),
    "size": lambda w: w.size(),
    "size of one": lambda w: w.size(-1),
    "dim": lambda w: (w.dim(), w.ndim, w.numel(), w.dtype, w.device, w.element_size(), len(w)),
    "kind": lambda w: (w.is_cuda, w.is_cpu, w.is_floating_point(), w.is_contiguous()),
    "iteration": lambda w: torch.cat(list(w)),
    "first": lambda w: next(iter(w)),
    "equals": lambda w: w == w[:],
    "differs": lambda w: w != w[:],
    "less": lambda w: w < 0.3,
    "above": lambda w: w >= 0.3,
    "allclose": lambda w: torch.allclose(w, w),
    "equal": lambda w: torch.equal(w, w[:]),
    "max": lambda w: w.max(),
    "max(-1)": lambda w: w.max(-1).indices,
    "torch.max": lambda w: torch.max(w, dim=-1).values,
    "argmax": lambda w: w.argmax(-1),
    "topk": lambda w: w.topk(2).values,
    "transpose": lambda w: w.transpose(-1, -2),
    "permute": lambda w: w.permute(0, 2, 3, 1),
    "mT": lambda w: w.mT,
    "T of one head": lambda w: w[0, 0].T,
    "arithmetic": lambda w: 1 - (2 * w + w / 2 - 0.1) ** 2,
    "right side": lambda w: 1 / (1 + w),
    "signs": lambda w: abs(-w),
    "with tensors": lambda w: torch.ones(6) * w - w * torch.ones(6),
    "matmul": lambda w: torch.matmul(w, torch.ones(6, 2)),
    "rollout": lambda w: w @ w,
    "left matmul": lambda w: torch.ones(2, 4, 3, 6) @ w,
    "einsum": lambda w: torch.einsum("bhij->bij", w),
    "reshape": lambda w: w.reshape(2, -1),
    "flatten": lambda w: w.flatten(1),
    "split": lambda w: w.split(2, 1)[1],
    "log": lambda w: w.clamp(min=1e-9).log(),
    "masked_fill": lambda w: w.masked_fill(w > 0.5, 0.0),
    "where": lambda w: torch.where(w > 0.1, w, 0.0),
    "mse_loss": lambda w: F.mse_loss(w, w * 2),
    "interpolate": lambda w: F.interpolate(w, scale_factor=2),
    "zeros_like": lambda w: torch.zeros_like(w),
    "as a source": lambda w: torch.zeros(2, 4, 6, 6).copy_(w).add_(w),
    "tolist": lambda w: w.tolist(),
    "quantile": lambda w: w.quantile(0.5),
    "diagonal": lambda w: w.diagonal(dim1=-2, dim2=-1),
    "collected": lambda w: [w.unbind(0)[1], w.chunk(2, 1)[0]],
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_what_it_gives_of_the_matrix(recipe: str) -> None:
    """Code that was written for `output_attentions=True` runs on the lazy weights, with the same result."""
    torch.manual_seed(0)
    weights = weights_of()
    found, want = RECIPES[recipe](weights), RECIPES[recipe](weights.dense())
    assert type(found) is type(want)
    if isinstance(found, Tensor | list):
        torch.testing.assert_close(found, want)
    elif isinstance(found, np.ndarray):
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found, want, atol=1e-6)
    else:
        assert found == want


def test_arithmetic_with_arrays() -> None:
    """An array on the right gives a tensor, one on the left an array."""
    weights, ones = weights_of(), np.ones(6, dtype=np.float32)
    torch.testing.assert_close(weights - ones, weights.dense() - 1)
    np.testing.assert_allclose(ones - weights, 1 - weights.numpy())


@pytest.mark.parametrize("function", [np.mean, np.sum, np.max, np.std, np.transpose, np.squeeze])
def test_functions_of_numpy_take_the_matrix(function: Callable[..., Any]) -> None:
    """NumPy's functions do not mistake the methods of a Tensor for their own."""
    weights = weights_of()
    np.testing.assert_allclose(function(weights), function(weights.numpy()))


def test_what_moves_or_keeps_the_dtype_stays_lazy() -> None:
    """`cpu`, `to`, `float`, `detach`, `clone` and `data` build no matrix, of any size."""
    query = torch.randn(1, 1, 200_000, 4)
    weights = regard.attention(query, query, query, window=(4, 4), need_weights=True)[1]
    for one in (weights.cpu(), weights.to("cpu"), weights.float(), weights.detach(), weights.data):
        assert type(one) is AttentionWeights
        assert one.size() == (1, 1, 200_000, 200_000)
        assert one.numel() == 40_000_000_000


WHOLE: dict[str, Callable[[Any], Any]] = {
    "mean": lambda w: w.mean(1),
    "stack": lambda w: torch.stack([w, w]),
    "sub": lambda w: 1 - w,
    "to": lambda w: w.to(torch.float16),
    "mT": lambda w: w.mT,
    "equal": lambda w: torch.equal(w, w),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_matrix_that_does_not_fit_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of quadratic size is built behind one's back beyond the bound of `dense`; the error says what to ask."""
    weights = weights_of(1024)
    monkeypatch.setattr("regard.weights._matrix.free_bytes", lambda device: 1 << 20)
    with pytest.raises(TooLargeError, match=rf"{name} takes the whole matrix as a tensor.*\.pooled\(cell\)"):
        WHOLE[name](weights)


def test_gradients_flow_through_a_recipe() -> None:
    """A loss on the mean over heads reaches the queries."""
    query = torch.randn(1, 2, 5, 4, requires_grad=True)
    key = torch.randn(1, 2, 5, 4)
    weights = regard.attention(query, key, key, need_weights=True)[1]
    found = torch.autograd.grad((weights.mean(1) ** 2).sum(), query)[0]
    want = torch.autograd.grad((torch.softmax(query @ key.mT / 2, -1).mean(1) ** 2).sum(), query)[0]
    torch.testing.assert_close(found, want)


WRITES = (torch.relu_, lambda w: w.__setitem__((0, 0), 1.0), lambda w: torch.add(torch.ones(6), 1, out=w))


@pytest.mark.parametrize("write", WRITES)
def test_writing_into_weights_is_refused(write: Callable[[Any], Any]) -> None:
    """There is no matrix to write to."""
    with pytest.raises(ArgumentError, match=r"whole = weights\.dense\(\)"):
        write(weights_of())


@pytest.mark.parametrize("name", ["add_", "requires_grad_", "backward", "grad_fn", "register_hook", "data_ptr"])
def test_what_only_a_stored_tensor_has_is_refused(name: str) -> None:
    """The error says how to get a tensor that has it."""
    with pytest.raises(AttributeError, match=rf"not stored.*whole\.{name}"):
        getattr(weights_of(), name)


def test_a_name_that_nobody_has() -> None:
    """The nearest name is offered, ours or a Tensor's."""
    for name, near in (("entropi", "entropy"), ("means", "mean")):
        with pytest.raises(AttributeError, match=rf"has no attribute '{name}'\. Did you mean '{near}'"):
            getattr(weights_of(), name)


def test_our_own_names_stay_ours() -> None:
    """What weights are asked for is not taken over by a Tensor's method; they are hashed by identity, as tensors."""
    weights = weights_of()
    assert weights.top(2).values.shape == (2, 4, 6, 2)
    assert weights.shape == (2, 4, 6, 6)
    assert {weights: 1}[weights] == 1
    assert weights in [weights]
    assert (weights == None) is False  # noqa: E711  # what a Tensor answers
    assert (weights @ torch.ones(2, 4, 6, 3)).shape == (2, 4, 6, 3)


def test_summaries_say_what_was_kept() -> None:
    """Weights of which only summaries were kept refuse a recipe with the setting that keeps more."""
    stored = AttentionWeights.of_summary(summarise(weights_of()))
    assert stored.size(-1) == 6
    with pytest.raises(ArgumentError, match='keep="exact"'):
        stored.mean(1)


@pytest.mark.parametrize("cell", [0, -1, 1.5, True, (1,), (1, 2, 3), "4"])
@pytest.mark.parametrize("question", ["masked", "pooled"])
def test_stored_masks_check_their_cells(cell: Any, question: str) -> None:
    """A kept summary refuses the cells that the weights themselves refuse, with the same words."""
    weights = weights_of()
    for one in (weights, AttentionWeights.of_summary(summarise(weights))):
        with pytest.raises(ArgumentError, match="give the tokens per side"):
            getattr(one, question)(cell)
        with pytest.raises(ArgumentError, match="takes slices with step 1"):
            getattr(one, question)(1, rows=slice(0, 4, 2))


def test_stored_masks_take_what_masks_take() -> None:
    """Lists of sides, and rectangles without a row, give what the weights themselves give."""
    weights = weights_of()
    stored = AttentionWeights.of_summary(summarise(weights))
    for settings in ({"cell": [2, 3]}, {"cell": 2, "rows": slice(4, 2)}, {"cell": 2, "columns": slice(-4, None)}):
        assert torch.equal(stored.masked(**settings), weights.masked(**settings))  # type: ignore[arg-type]
