"""What a recording keeps of a call, against the same of the dense map that the model itself computes."""

import torch
from torch import Tensor

from regard import AttentionWeights
from tests.doors.models import distance
from tests.weights.cases import apart, pooled

LIMIT = 5e-6


def assert_kept(found: AttentionWeights, expected: Tensor, real: Tensor | None = None) -> None:
    """Compare summaries, and entries where they can be computed; of some rows alone what each row has by itself."""
    wanted = expected.double()
    assert found.shape == tuple(wanted.shape)
    rows = torch.ones(wanted.shape[:3], dtype=torch.bool) if real is None else real[:, None].expand(wanted.shape[:3])
    assert distance(found.entropy()[rows], torch.special.entr(wanted).sum(-1)[rows]) < LIMIT
    peak = found.peak()
    at_peak = wanted.gather(-1, peak.indices.long().clamp(min=0)[..., None])[..., 0]
    for values in (peak.values, at_peak):
        assert distance(values[rows], wanted.amax(-1)[rows]) < LIMIT
    if not found.kept_cell:
        assert distance(found.dense()[rows], wanted[rows]) < LIMIT
    if real is not None:
        return
    assert distance(found.received(), wanted.sum(-2)) < LIMIT
    cell = found.kept_cell or 4
    assert distance(found.pooled(cell), pooled(wanted, cell)) < LIMIT


def assert_placed(found: AttentionWeights, expected: Tensor) -> None:
    """Compare what counts from the place of the query: mean distance, and the shares of the keys beside it."""
    wanted, far = expected.double(), apart(*expected.shape[2:])
    assert distance(found.mean_distance(), (wanted * far.abs()).sum(-1)) < LIMIT
    for offset in (-1, 0, 1):
        assert distance(found.share(offset), (wanted * (far == offset)).sum((2, 3)) / len(far)) < LIMIT
