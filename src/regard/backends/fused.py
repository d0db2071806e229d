"""PyTorch's own fused attention, where it keeps what `docs/semantics.md` promises.

On the CPU and on NVIDIA's GPUs the operation behind `scaled_dot_product_attention` is called directly, since it also
returns `lse` (which of a GPU's kernels, `_gpu_kernels` says); elsewhere the public function, without `lse`. Found by
experiment with torch 2.13 (CPU, AVX-512) and dealt with here, but for the fifth:

- A row that sees nothing reports `lse = 0`: it is set to -inf.
- A NaN in a key that a causal row does not see leaks into its gradient, one in a value even into its output. A row
  whose visible scores are all NaN, with few keys, comes out as 0 with `lse = 0`, as if it saw nothing.
- An empty key tensor ends the process; a head whose last stride is not 1 is read wrongly.
- With `is_causal` and a scale that is not positive, hidden keys are seen: such a call gets a mask.
- With lengths that are no multiple of 16, some outputs change by a rounding with the number of threads (MKL looks at
  the alignment of each thread's buffer). This one is not put right: `backend="math"` has the same bits for any number.
- The gradient of rows whose scores are far from zero is off by the rounding of `lse`, without bound; in half precision
  that of rows with two or three keys by the rounding of the output, forty times that of plain PyTorch. Such calls run
  in `math`.
- A mask takes no gradient, dropout falls back to O(n²) and draws other numbers, `Ev != E` is refused.

On the CPU the result is looked at, which costs one or two sums; if something is not finite, the call runs again in
`math`. Where nothing can be read (a compiled graph, an accelerator), keys and values are cleaned first and the rows
that see something not finite are set to NaN. Second derivatives, and those of `lse`, are made in
PyTorch's operations (`_again`); a NaN in the gradient that comes in spreads to the keys hidden from its row.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from .._inputs import AttentionInputs, AttentionResult
from .._tracing import forward_mode, traced, transformed
from ._again import differentiable
from ._blocks import hides
from ._gpu_kernels import Choice, GpuCall, Masking, choose_kernel, device_of, run_kernel
from ._scores import accumulate_dtype, biases, visible
from ._sinks import beside_sinks
from ._values import all_finite, readable
from .math import Math

# A mask that torch must store may take this much; `math` works from the spans and stores none.
_MASK_BYTES = 64 << 20
# Below this many keys torch's row maximum may pass over a NaN: its widest vector holds 16 numbers.
_FEW_KEYS = 16
# Its backward pass makes weights of `exp(score - lse)`; beyond this an lse in float32 is too coarse for that.
_FAR = 64.0
_BEYOND = Math()


class Fused:
    """`torch.nn.functional.scaled_dot_product_attention`, or the operation behind it."""

    name = "fused"
    honours = frozenset(
        "spans|dense mask|position bias|dense bias|sinks|grouped heads|gradient|"
        "float64|float32|bfloat16|float16|cpu|cuda|xpu".split("|")
    )

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Refuse empty tensors, a bias that needs a gradient, a large mask, `torch.func`, sinks without `lse`, and what
        no kernel of a GPU takes."""
        if 0 in inputs.query.shape or 0 in inputs.key.shape:
            return "takes no empty tensor"
        if transformed() or forward_mode():
            return "cannot be transformed by torch.func, and has no forward-mode derivative"
        choice = self.kernel(inputs)
        if choice is not None and choice.kernel is None:
            return choice.why
        if inputs.sinks is not None and choice is None and inputs.query.device.type != "cpu":
            return "tells no lse on this device, which sinks need"
        if inputs.sinks is not None and traced() and torch.is_grad_enabled() and _trains(inputs):
            return "has no gradient of lse in a graph, which sinks need"
        inputs = _as_the_kernel_hides(inputs)
        if _needs_no_mask(inputs):
            return None
        for bias in (inputs.position_bias, inputs.bias):
            if bias is not None and bias.requires_grad and torch.is_grad_enabled():
                return "has no gradient through a bias"
            if bias is not None and bias.dtype != inputs.query.dtype and inputs.query.device.type != "cpu":
                return f"would round a {bias.dtype} bias to {inputs.query.dtype}"
        size = math.prod(_mask_shape(inputs)) * inputs.query.element_size()
        if size > _MASK_BYTES:
            return f"would have to store a mask of {size >> 20} MiB (it stores at most {_MASK_BYTES >> 20})"
        return None

    def kernel(self, inputs: AttentionInputs) -> Choice | None:
        """Return which of PyTorch's kernels runs a call on a GPU, and why; None where there is nothing to choose."""
        return _choice(_as_the_kernel_hides(inputs))

    def stores_mask(self, inputs: AttentionInputs) -> bool:
        """Return whether a call on a GPU needs a mask in memory, of which nothing is skipped."""
        return self.kernel(inputs) is not None and not _needs_no_mask(_as_the_kernel_hides(inputs))

    def instead(self, inputs: AttentionInputs) -> str | None:
        """Tell of what only the numbers show."""
        if not readable(inputs.query):
            return None
        return "math if something is not finite, or rows that need a gradient lie far from zero"

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Run torch's kernel and put right what it gets wrong."""
        if inputs.sinks is not None:
            return beside_sinks(inputs, self.run)
        inputs = _as_the_kernel_hides(inputs)
        result = _looked_at(inputs) if readable(inputs.query) else _unseen(inputs)
        if result.lse_has_gradient or traced() or not (torch.is_grad_enabled() and _trains(inputs)):
            return result
        return differentiable(inputs, result)


def _choice(inputs: AttentionInputs) -> Choice | None:
    query = inputs.query
    device = device_of(query.device)
    if device is None:
        return None
    masking: Masking = "added" if not _needs_no_mask(inputs) else "causal" if inputs.causal else "none"
    return choose_kernel(device, GpuCall(
        query.dtype, query.shape[3], query.shape[2], inputs.key.shape[2], masking,
        grouped=inputs.key.shape[1] != query.shape[1], trains=torch.is_grad_enabled() and _trains(inputs),
    ))  # fmt: skip


def _as_the_kernel_hides(inputs: AttentionInputs) -> AttentionInputs:
    # The kernel scales what it has hidden already: -inf becomes +inf or NaN where the scale is not positive.
    if inputs.spans is None or not inputs.causal or inputs.scale > 0:
        return inputs
    return replace(inputs, spans=inputs.spans._replace(causal=False))


def _looked_at(inputs: AttentionInputs) -> AttentionResult:
    mask = None if _needs_no_mask(inputs) else _additive_mask(inputs)
    hidden = inputs.causal or mask is not None
    if hidden and torch.is_grad_enabled() and _trains(inputs) and not all_finite(inputs.key, inputs.value):
        return _in_math(inputs)
    output, lse = _kernel(inputs, inputs.query, inputs.key, inputs.value, mask)
    few = inputs.key.shape[2] < _FEW_KEYS
    if lse is None or ((hidden or few) and not all_finite(output)):
        return _in_math(inputs)
    if (few or mask is not None) and not lse.all():
        nothing = _empty_rows(inputs)
        output, lse = output.masked_fill(nothing[..., None], 0.0), lse.masked_fill(nothing, -torch.inf)
        if not lse.all():
            return _in_math(inputs)
    if torch.is_grad_enabled() and _trains(inputs):
        half = output.dtype != lse.dtype
        if (few and half) or not bool((lse.abs().nan_to_num(0.0, 0.0) <= _FAR).all()):
            return _in_math(inputs)
    return AttentionResult(output, lse)


def _in_math(inputs: AttentionInputs) -> AttentionResult:
    return _BEYOND.run(inputs)._replace(backend=_BEYOND.name)


def _unseen(inputs: AttentionInputs) -> AttentionResult:
    mask = None if _needs_no_mask(inputs) else _additive_mask(inputs)
    if not hides(inputs) and (inputs.query.device.type != "cpu" or inputs.key.shape[2] >= _FEW_KEYS):
        return AttentionResult(*_kernel(inputs, inputs.query, inputs.key, inputs.value, mask))
    touched, nothing = _touched(inputs), _empty_rows(inputs)
    if mask is not None:
        mask = mask.masked_fill(nothing[..., None], 0.0)  # no kernel agrees with another on an empty row
    # As `finite_part`, in one pass over each.
    query, key, value = (tensor.nan_to_num(0.0, 0.0, 0.0) for tensor in (inputs.query, inputs.key, inputs.value))
    output, lse = _kernel(inputs, query, key, value, mask)
    output = output.masked_fill(nothing[..., None], 0.0).masked_fill(touched[..., None], torch.nan)
    if lse is not None:
        lse = lse.masked_fill(nothing, -torch.inf).masked_fill(touched, torch.nan)
    return AttentionResult(output, lse)


def _kernel(
    inputs: AttentionInputs, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    choice = _choice(inputs)
    if choice is not None and choice.kernel is not None:
        causal = inputs.causal and mask is None
        return run_kernel(choice.kernel, query, key, value, mask, causal, inputs.scale)
    if query.device.type != "cpu":
        grouped = key.shape[1] != query.shape[1]
        causal = inputs.causal and mask is None
        return scaled_dot_product_attention(
            query, key, value, mask, is_causal=causal, scale=inputs.scale, enable_gqa=grouped
        ), None
    if not (query.stride(3) == key.stride(3) == value.stride(3) == 1):
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    output, lse = torch._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, inputs.causal, attn_mask=mask, scale=inputs.scale
    )
    return output, lse


def _trains(inputs: AttentionInputs) -> bool:
    return inputs.query.requires_grad or inputs.key.requires_grad or inputs.value.requires_grad


def _mask_shape(inputs: AttentionInputs) -> tuple[int, ...]:
    parts = [part.shape for part in (inputs.dense_mask, inputs.bias) if part is not None]
    if inputs.spans is not None and not inputs.causal:
        parts.append(torch.Size((*inputs.spans.start.shape, inputs.key.shape[2])))
    if inputs.position_bias is not None:
        parts.append(torch.Size((1, inputs.position_bias.shape[0], inputs.query.shape[2], inputs.key.shape[2])))
    return tuple(torch.broadcast_shapes(*parts))


def _needs_no_mask(inputs: AttentionInputs) -> bool:
    if inputs.bias is not None or inputs.position_bias is not None or inputs.dense_mask is not None:
        return False
    return inputs.causal or inputs.spans is None


def _additive_mask(inputs: AttentionInputs) -> Tensor:
    """Return what the kernel adds to the scores, 4-D and broadcastable, without what `causal` says."""
    rows, columns = slice(0, inputs.query.shape[2]), slice(0, inputs.key.shape[2])
    found = biases(inputs, rows, columns)
    dtype = inputs.query.dtype
    if any(bias.dtype != dtype for bias in found):
        dtype = accumulate_dtype(dtype)
    by_kernel = inputs.causal and inputs.query.device.type == "cpu"
    seen = None if by_kernel else visible(inputs, rows, columns)
    total = torch.zeros((), dtype=dtype, device=inputs.query.device)
    for bias in found:
        total = total + bias.to(dtype)
    if seen is not None:
        total = torch.where(seen, total, -torch.inf)
    return total


def _spans_say_it_all(inputs: AttentionInputs) -> bool:
    return inputs.dense_mask is None and inputs.bias is None and inputs.position_bias is None


def _empty_rows(inputs: AttentionInputs) -> Tensor:
    """Return which rows see nothing, bool `(B, H, L)` or broadcastable to it."""
    if _spans_say_it_all(inputs) and inputs.spans is not None:
        return inputs.spans.stop <= inputs.spans.start
    seen = visible(inputs, slice(0, inputs.query.shape[2]), slice(0, inputs.key.shape[2]))
    return torch.zeros(1, 1, 1, dtype=torch.bool, device=inputs.query.device) if seen is None else ~seen.any(-1)


def _touched(inputs: AttentionInputs) -> Tensor:
    """Return which rows hold or see something that is not finite: bool `(B, H, L)`, in O(n) where spans say it all."""
    batch, heads, queries, keys = inputs.shape
    bad = ~(_largest(inputs.key).isfinite() & _largest(inputs.value).isfinite())
    bad = bad.repeat_interleave(heads // bad.shape[1], 1)
    if inputs.causal and _spans_say_it_all(inputs):
        seen_bad = bad.cumsum(-1) > 0
    elif _spans_say_it_all(inputs) and inputs.spans is not None:
        before = pad(bad.cumsum(-1), (1, 0))
        first, last = (end.long().expand(batch, heads, queries) for end in inputs.spans[:2])
        seen_bad = before.gather(-1, last) > before.gather(-1, first)
    else:
        seen = visible(inputs, slice(0, queries), slice(0, keys))
        if seen is None:
            seen = bad.new_ones(1, 1, 1, 1)
        wide = seen.expand(*seen.shape[:3], keys).float()
        seen_bad = torch.einsum("bhs,xyls->bhl" if seen.shape[:2] == (1, 1) else "bhs,bhls->bhl", bad.float(), wide) > 0
    return seen_bad | ~_largest(inputs.query).isfinite()


def _largest(tensor: Tensor) -> Tensor:
    """Return the largest size of a number in each row, in one pass; not finite where one of them is not."""
    found: Tensor = torch.linalg.vector_norm(tensor.detach(), torch.inf, -1)
    return found
