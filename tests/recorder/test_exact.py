"""Recordings of models that write to their own tensors: every weight is that of its call, exact or settled late."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regard
from regard.recorder._watch import Keep
from tests.doors.models import Calls


class RingBuffer(nn.Module):
    """A decoder's attention over its own buffer of keys, as streaming models have it."""

    def __init__(self, size: int, how: str) -> None:
        super().__init__()
        self.project, self.how = nn.Linear(16, 48), how
        self.key, self.value = torch.zeros(2, 1, 2, size, 8).unbind()
        self.place, self.size = 0, size
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Write the new token over the oldest, attend to all that are there."""
        query, key, value = self.project(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        at = self.place % self.size
        self.key[:, :, at], self.value[:, :, at] = key[:, :, 0], value[:, :, 0]
        self.place += 1
        here = min(self.place, self.size)
        keys, values = self.key[:, :, :here], self.value[:, :, :here]
        self.seen.append((query @ keys.mT / 8**0.5).softmax(-1).detach().clone())
        if self.how == "sdpa":
            return F.scaled_dot_product_attention(query, keys, values)
        out, weights = regard.attention(query, keys, values, need_weights=True)
        self.given = weights
        return out


@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("how", ["sdpa", "regard"])
@pytest.mark.parametrize("keep", ["exact", "dense", "summary"])
def test_a_models_own_ring_buffer(keep: Keep, how: str, grad: Any) -> None:
    """The first calls grow into one matrix, each later one stands alone; each has the rows that the model computed."""
    model = RingBuffer(4, how).eval()
    with grad(), regard.watch(model, keep=keep) as recording:
        for _ in range(9):
            model(torch.randn(1, 1, 16))
    rows = iter(model.seen)
    for weights in recording.values():
        for row in range(weights.shape[2]):
            want = next(rows)
            torch.testing.assert_close(weights.entropy()[:, :, row, None], torch.special.entr(want).sum(-1))
            torch.testing.assert_close(weights.peak().values[:, :, row, None], want.amax(-1))
            if keep != "summary":
                torch.testing.assert_close(weights.dense()[:, :, row, None, : want.shape[3]], want)
    assert next(rows, None) is None
    if how == "regard":
        torch.testing.assert_close(model.given.dense(), model.seen[-1])


def overwrites(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend, then write over everything, as if it were used for something else before the module returns."""
    out = F.scaled_dot_product_attention(query, key, value, mask)
    query.data.zero_()
    key.zero_()
    value.mul_(7)
    if mask is not None:
        mask.fill_(0)
    return out


@pytest.mark.parametrize("mask", ["none", "bool", "bias"])
def test_tensors_written_after_the_call(mask: str) -> None:
    """An exact recording owns query, key, mask and bias, and the norms of the values are those of the call."""
    query, key, value = torch.randn(3, 1, 2, 6, 8).unbind()
    seen = {"none": None, "bool": torch.rand(6, 6) > 0.3, "bias": torch.randn(6, 6)}[mask]
    if mask == "bool":
        seen.fill_diagonal_(True)  # type: ignore[union-attr]
    copies = [x.clone() for x in (query, key, value)]
    settings = {"none": {}, "bool": {"mask": seen}, "bias": {"bias": seen}}[mask]
    _, live = regard.attention(*copies, need_weights=True, **settings)  # type: ignore[call-overload]
    want, norms = live.dense(), live.value_weighted().dense()
    model = Calls(overwrites)
    with torch.no_grad(), regard.watch(model, keep="exact") as recording:
        model(query, key, value, seen)
    torch.testing.assert_close(recording[0].dense(), want)
    torch.testing.assert_close(recording[0].entropy(), torch.special.entr(want).sum(-1))
    torch.testing.assert_close(recording[0].value_weighted().dense(), norms)
