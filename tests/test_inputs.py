"""The call as one object: its table names every tensor, and its verbs reach every one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from regard._inputs import KERNEL_TENSORS, TENSORS, AttentionInputs, Dropout, Spans, cut
from regard.backends import scores

B, H, G, L, S, E = 2, 4, 2, 5, 6, 3


def _everything() -> AttentionInputs:
    """Return a call that uses every feature, each with sizes in full."""
    start = torch.randint(0, 2, (B, H, L), dtype=torch.int32)
    return AttentionInputs(
        torch.randn(B, H, L, E), torch.randn(B, G, S, E), torch.randn(B, G, S, E), 0.5,
        spans=Spans(start, start + 4), dense_mask=torch.rand(B, H, L, S) > 0.3,
        position_bias=torch.randn(H, L + S - 1), bias=torch.randn(B, H, L, S), softcap=2.0,
        dropout=Dropout(0.25, torch.tensor(7)), sinks=torch.randn(B, H, L), need_weights=True,
    )  # fmt: skip


def test_the_table_names_every_tensor() -> None:
    """A call that uses everything has exactly the tensors of the table, each with as many dimensions as it says."""
    found = _everything().tensors()
    assert list(found) == list(TENSORS)
    for name, tensor in found.items():
        assert len(TENSORS[name].axes) == tensor.ndim, name


def test_from_flat_joins_what_flat_has_taken_apart() -> None:
    """All that a kernel takes comes back, with the same tensors; sinks are no part of it."""
    x = _everything()
    back = AttentionInputs.from_flat(*x.flat())
    assert len(x.flat()) == len(KERNEL_TENSORS) + 3
    assert all(one is other for one, other in zip(back.flat(), x.flat(), strict=True))
    assert back.sinks is None
    plain = AttentionInputs(x.query, x.key, x.value, 0.5)
    assert AttentionInputs.from_flat(*plain.flat()) == plain


def test_map_reaches_every_tensor_and_keeps_the_rest() -> None:
    """Each tensor is changed once, or only the named ones; what a call says beside them stays."""
    seen: list[Tensor] = []

    def change(tensor: Tensor) -> Tensor:
        seen.append(tensor)
        return tensor.clone()

    x = _everything()
    x = replace(x, spans=Spans(x.spans.start, x.spans.stop, True))  # type: ignore[union-attr]
    copied = x.map(change)
    assert [id(tensor) for tensor in seen] == [id(tensor) for tensor in x.tensors().values()]
    assert not {id(t) for t in copied.tensors().values()} & {id(t) for t in x.tensors().values()}
    for name in ("scale", "softcap", "need_weights", "causal"):
        assert getattr(copied, name) == getattr(x, name)
    assert copied.dropout is not None
    assert copied.dropout.probability == 0.25
    some = x.map(change, ("key", "sinks"))
    assert {name for name, tensor in some.tensors().items() if tensor is not x.tensors()[name]} == {"key", "sinks"}


@pytest.mark.parametrize("indices", [False, True])
def test_select_gives_the_scores_of_its_rows_and_columns(indices: bool) -> None:
    """The selected call has the scores of that rectangle, masks and biases in their place."""
    x = _everything()
    rows: slice | Tensor = torch.tensor([3, 0]) if indices else slice(1, 4)
    columns: slice | Tensor = torch.tensor([5, 1, 2]) if indices else slice(2, 5)
    part = x.select(rows, columns)
    whole = scores(x, slice(0, L), slice(0, S))[:, :, rows][..., columns]
    _, _, height, width = part.shape
    assert torch.allclose(scores(part, slice(0, height), slice(0, width)), whole)
    assert torch.equal(part.sinks, x.sinks[:, :, rows])  # type: ignore[arg-type,index]
    assert part.dropout is None


@pytest.mark.parametrize("heads", [slice(0, 4), slice(2, 4), slice(1, 2), slice(0, 3), torch.tensor([3, 1, 1])])
@pytest.mark.parametrize("batch", [slice(0, 2), slice(1, 2), torch.tensor([1, 0])])
@pytest.mark.parametrize("shared", [False, True])
def test_of_heads_gives_the_scores_of_its_heads(batch: slice | Tensor, heads: slice | Tensor, shared: bool) -> None:
    """Sizes of 1 stay for "the same everywhere"; key heads follow the query heads."""
    x = _everything()
    if shared:
        x = replace(
            x, spans=Spans(*(one[:1, :1] for one in x.spans[:2])), dense_mask=x.dense_mask[:1, :1],
            bias=x.bias[:1, :1], position_bias=x.position_bias[:1],
        )  # fmt: skip
    part = x.of_heads(batch, heads)
    whole = scores(x, slice(0, L), slice(0, S))[batch][:, heads]
    assert torch.allclose(scores(part, slice(0, L), slice(0, S)), whole)
    assert torch.equal(part.sinks, x.sinks[batch][:, heads])  # type: ignore[arg-type,index]


def test_cut_leaves_sizes_that_stand_for_any() -> None:
    """Only a small letter's size of 1 is left alone."""
    one = torch.zeros(1, 4)
    assert cut(one, "bh", {"B": torch.tensor([0, 0]), "H": slice(1, 3)}).shape == (1, 2)
    assert cut(one, "BH", {"B": torch.tensor([0, 0]), "H": slice(1, 3)}).shape == (2, 2)
