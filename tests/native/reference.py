"""Attention in float64, every argument of the native interface, O(n^2) and slow."""

import numpy as np
import torch

ROUNDS = 7


def philox(counters: np.ndarray, seed: int) -> np.ndarray:
    """Philox4x32 of (..., 4) uint32 counters (Salmon et al., 2011), with 7 rounds."""
    c = counters.astype(np.uint64)
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(ROUNDS):
        a, b = c[..., 0] * np.uint64(0xD2511F53), c[..., 2] * np.uint64(0xCD9E8D57)
        c = np.stack(
            [
                (b >> np.uint64(32)) ^ c[..., 1] ^ np.uint64(k0),
                b & low,
                (a >> np.uint64(32)) ^ c[..., 3] ^ np.uint64(k1),
                a & low,
            ],
            axis=-1,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c.astype(np.uint32)


def kept(b: int, h: int, n: int, s: int, dropout: float, seed: int) -> torch.Tensor:
    """The weights (B, H, L, S) that dropout keeps."""
    column = np.arange(s)
    c = np.zeros((b * h, n, s, 4), dtype=np.uint32)
    c[..., 0] = column // 64 * 16 + column % 16
    c[..., 1] = np.arange(n)[:, None]
    c[..., 2] = np.arange(b * h)[:, None, None]
    words = philox(c, seed)
    word = np.take_along_axis(words, (column % 64 // 16)[None, None, :, None], axis=-1)[..., 0]
    threshold = min(int(dropout * 2**32 + 0.5), 2**32 - 1)
    return torch.from_numpy(word >= threshold).reshape(b, h, n, s)


def position_matrix(vector: torch.Tensor, n: int, s: int) -> torch.Tensor:
    """(H or 1, L+S-1) to (H or 1, L, S): the value at j - i + L - 1."""
    at = torch.arange(s)[None, :] - torch.arange(n)[:, None] + n - 1
    return vector[:, at]


def scores(q, k, *, scale=None, softcap=0.0, spans=None, mask=None, bias=None, position_bias=None):
    """Scores (B, H, L, S) in float64, -inf where hidden; and what is visible."""
    b, h, n, e = q.shape
    s = k.shape[2]
    k = k.repeat_interleave(h // k.shape[1], 1)
    hidden = torch.zeros(b, h, n, s, dtype=torch.bool)
    x = torch.einsum("bhie,bhje->bhij", q.double(), k.double())
    x = x * (e**-0.5 if scale is None else scale)
    if softcap:
        x = softcap * torch.tanh(x / softcap)
    if position_bias is not None:
        added = position_matrix(position_bias, n, s).double()
        x, hidden = x + added, hidden | (added == -torch.inf)
    if bias is not None:
        x, hidden = x + bias.double(), hidden | (bias == -torch.inf)
    if mask is not None:
        hidden = hidden | (mask == 0)
    if spans is not None:
        start, stop = (t.expand(b, h, n)[..., None] for t in spans)
        j = torch.arange(s)
        hidden = hidden | (j < start) | (j >= stop)
    return x.masked_fill(hidden, -torch.inf), ~hidden


def forward(q, k, v, *, dropout=0.0, seed=0, **options):
    """(output, lse, weights) in float64."""
    x, visible = scores(q, k, **options)
    b, h, n, s = x.shape
    lse = x.logsumexp(-1) if s else torch.full((b, h, n), -torch.inf, dtype=torch.float64)
    some = visible.any(-1, keepdim=True)
    p = torch.where(visible & some, (x - lse[..., None]).exp(), torch.zeros((), dtype=x.dtype))
    dropped = p
    if dropout:
        dropped = p * kept(b, h, n, s, dropout, seed) / (1 - dropout)
    v = v.double().repeat_interleave(h // v.shape[1], 1)
    # A value that is hidden must not count even if it is NaN: sum only what is visible.
    if torch.isfinite(v).all():
        return dropped @ v, lse, p
    terms = dropped[..., None] * v[:, :, None]
    return torch.where(visible[..., None], terms, torch.zeros((), dtype=x.dtype)).sum(-2), lse, p


def pooled(weights: torch.Tensor, cell_rows: int, cell_columns: int) -> torch.Tensor:
    """Mean over the rows of a cell, sum over its keys."""
    b, h, n, s = weights.shape
    out = weights.new_zeros(b, h, -(-n // cell_rows), -(-s // cell_columns))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            cell = weights[..., i * cell_rows : (i + 1) * cell_rows, j * cell_columns : (j + 1) * cell_columns]
            out[..., i, j] = cell.sum(-1).mean(-1)
    return out
