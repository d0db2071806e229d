"""Gradients of attention by the formulas, O(n^2): in float64 the truth, in another dtype the naive
computation whose error is the measure."""

import torch

from tests.native import library
from tests.native.reference import kept, position_matrix


def _add(shown: torch.Tensor, factor: torch.Tensor, rows: torch.Tensor, sum_over: str):
    """Sum of factor times rows over what is visible; what is hidden may be NaN."""
    if torch.isfinite(rows).all() and torch.isfinite(factor).all():
        return torch.einsum("bhij,bhje->bhie" if sum_over == "j" else "bhij,bhie->bhje", factor, rows)
    terms = factor[..., None] * (rows[:, :, None] if sum_over == "j" else rows[:, :, :, None])
    zero = torch.zeros((), dtype=rows.dtype)
    return torch.where(shown[..., None], terms, zero).sum(-2 if sum_over == "j" else -3)


def _visible(shape, spans, mask, bias, position):
    b, h, n, s = shape
    shown = torch.ones(shape, dtype=torch.bool)
    if spans is not None:
        start, stop = (t.expand(b, h, n)[..., None] for t in spans)
        j = torch.arange(s)
        shown = shown & (j >= start) & (j < stop)
    for hidden in (
        None if mask is None else mask == 0,
        None if bias is None else bias == -torch.inf,
        None if position is None else position == -torch.inf,
    ):
        if hidden is not None:
            shown = shown & ~hidden
    return shown


def gradients(
    q,
    k,
    v,
    grad_output,
    grad_lse=None,
    *,
    scale=None,
    softcap=0.0,
    spans=None,
    mask=None,
    bias=None,
    position_bias=None,
    dropout=0.0,
    seed=0,
    dtype=torch.float64,
):
    """{"query", "key", "value", "bias", "position_bias"} of one call."""
    b, h, n, e = q.shape
    g, s = k.shape[1:3]
    scale = e**-0.5 if scale is None else scale
    q, grad_output = q.to(dtype), grad_output.to(dtype)
    k, v = (x.to(dtype).repeat_interleave(h // g, 1) for x in (k, v))
    position = None if position_bias is None else position_matrix(position_bias, n, s)
    shown = _visible((b, h, n, s), spans, mask, bias, position)
    zero = torch.zeros((), dtype=dtype)

    x = torch.einsum("bhie,bhje->bhij", q, k) * scale
    slope = torch.ones((), dtype=dtype)
    if softcap:
        t = torch.tanh(x / softcap)
        x, slope = softcap * t, 1 - t * t
    for added in (position, bias):
        if added is not None:
            x = x + added.to(dtype)
    x = x.masked_fill(~shown, -torch.inf)
    p = torch.where(shown, torch.softmax(x, -1), zero)
    z = kept(b, h, n, s, dropout, seed).to(dtype) / (1 - dropout) if dropout else torch.ones_like(p)
    output = _add(shown, p * z, v, "j")
    delta = (grad_output * output).sum(-1, keepdim=True)
    if grad_lse is not None:
        delta = delta - grad_lse.to(dtype)[..., None]
    ds = torch.where(shown, p * (z * torch.einsum("bhie,bhje->bhij", grad_output, v) - delta), zero)
    inner = torch.where(shown, ds * scale * slope, zero)

    def by_group(x):
        return x.unflatten(1, (g, h // g)).sum(2)

    diagonal = torch.arange(s)[None, :] - torch.arange(n)[:, None] + n - 1
    by_position = torch.zeros(h, n + s - 1, dtype=dtype)
    by_position.index_add_(1, diagonal.reshape(-1), ds.sum(0).reshape(h, -1))
    if position_bias is not None and position_bias.shape[0] == 1:
        by_position = by_position.sum(0, keepdim=True)
    return {
        "query": _add(shown, inner, k, "j"),
        "key": by_group(_add(shown, inner, q, "i")),
        "value": by_group(_add(shown, p * z, grad_output, "i")),
        "bias": ds,
        "position_bias": by_position,
    }


def prepared(q, k, v, output, lse, grad_output, grad_lse=None, bias_gradient=None, **options):
    """The arguments of a backward call and its results, NaN so far: what is not written shows."""
    b, h, n, _ = q.shape
    s = k.shape[2]
    a = library.arguments(q, k, v, **options)
    a.output, a.lse = library.rows(output), lse.data_ptr()
    a.grad_output = library.rows(grad_output)
    if grad_lse is not None:
        a.grad_lse = grad_lse.data_ptr()
    found = {name: torch.full_like(x, torch.nan) for name, x in (("query", q), ("key", k), ("value", v))}
    a.grad_query, a.grad_key, a.grad_value = (library.rows(x) for x in found.values())
    position_bias = options.get("position_bias")
    if position_bias is not None:
        found["position_bias"] = torch.full_like(position_bias, torch.nan)
        a.grad_position_bias = found["position_bias"].data_ptr()
        a.grad_position_bias_head = a.position_bias_head
    if bias_gradient is not None:
        found["bias"] = torch.full((b, h, n, s), torch.nan, dtype=bias_gradient)
        a.grad_bias = library.matrix(found["bias"], (b, h, n, s))
    return a, found


def backward(*given, **options):
    """The same as `gradients` from the library, output and lse in front of the gradients."""
    a, found = prepared(*given, **options)
    library.call("backward", a)
    return found


def through(q, k, v, grad_output, grad_lse=None, bias_gradient=None, **options):
    """Forward and backward of the library."""
    output, lse, _ = library.forward(q, k, v, **options)
    return backward(q, k, v, output, lse, grad_output, grad_lse, bias_gradient, **options)
