"""How far a result may lie from the float64 oracle: one table, by dtype, whatever the backend.

The yardstick is a plain PyTorch computation of the same call that stays in the dtype throughout. The small constant
beside it is a rounding or two of the dtype: without it a tiny case, whose yardstick is exact by luck, fails by chance.

A gradient may be recomputed from `lse`, which the contract returns in float32 for float32: the rounding of a large
`lse` is then an error of the same size in every weight of its row, and is allowed for, up to the cap.
"""

from __future__ import annotations

import numpy as np
import torch

FLOAT64 = 1e-12
FORWARD, BACKWARD = 2.0, 3.0
FLOAT32_CAP = 5e-6


def limit(dtype: torch.dtype, yardstick: float, *, backward_lse: float | None = None) -> float:
    """Return the largest error allowed where the yardstick's error is `yardstick`.

    `backward_lse` is given for gradients: the largest `lse` of the call, without its sign.
    """
    if not np.isfinite(yardstick):
        raise ValueError("the yardstick itself failed; NaN never passes, so nothing can be measured with it")
    if dtype == torch.float64:
        return FLOAT64
    eps = torch.finfo(dtype).eps
    if backward_lse is None:
        allowed = FORWARD * yardstick + 2 * eps
        return min(allowed, FLOAT32_CAP) if dtype == torch.float32 else allowed
    allowed = BACKWARD * yardstick + 2 * eps
    return max(allowed, min(allowed + eps / 2 * backward_lse, FLOAT32_CAP)) if dtype == torch.float32 else allowed


def error(found: object, reference: object, size_if_zero: float = 1.0) -> float:
    """Return the distance as a share of the reference's norm; infinity for NaN, or infinities that do not agree.

    A reference of zeros (the gradient of a softmax over one key) has no norm: there `size_if_zero` stands for it.
    """
    a, b = np.asarray(found, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape or np.isnan(a).any() or not np.array_equal(a[np.isinf(b)], b[np.isinf(b)]):
        return float("inf")
    finite = np.isfinite(b)
    distance = np.linalg.norm(a[finite] - b[finite])
    size = np.linalg.norm(b[finite])
    return float(distance / (size if size > 0 else max(size_if_zero, 1.0)))
