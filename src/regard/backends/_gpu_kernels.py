"""PyTorch's own attention kernels on an NVIDIA GPU: a table says which of them runs a call. Each returns `lse`.

`scaled_dot_product_attention` returns none, and on Hopper most versions of it run FlashAttention-2. So the operation
behind it is called by its name. What no row serves is left to the next backend, and an error of the kernel that was
chosen reaches the caller: no other kernel is tried after it.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._tracing import plain
from ..errors import KernelError

Kernel = Literal["cudnn", "flash", "efficient"]
Masking = Literal["none", "causal", "added"]
NAMES: dict[Kernel, str] = {
    "cudnn": "cuDNN", "flash": "FlashAttention-2", "efficient": "memory-efficient attention",
}  # fmt: skip


class Device(NamedTuple):
    """What there is to know of a GPU and of this PyTorch."""

    capability: tuple[int, int]
    """Compute capability: (9, 0) is Hopper."""
    cudnn: int = 0
    """Version of cuDNN, 91501 for 9.15.1; 0 without it."""
    deterministic: bool = False
    """`torch.use_deterministic_algorithms` is on."""
    allowed: frozenset[str] = frozenset(NAMES)
    """The kernels that `torch.nn.attention.sdpa_kernel` leaves on."""


class GpuCall(NamedTuple):
    """What the choice depends on, beside the device."""

    dtype: torch.dtype
    width: int
    """Of a head."""
    queries: int
    keys: int
    masking: Masking
    """"added": the mask is a tensor that is added to the scores."""
    grouped: bool
    trains: bool


class Row(NamedTuple):
    """One kernel, and the calls that it takes."""

    kernel: Kernel
    capabilities: tuple[tuple[int, int], tuple[int, int]]
    """The first and the last compute capability."""
    dtypes: tuple[torch.dtype, ...]
    widest: int
    """Width of a head."""
    maskings: tuple[Masking, ...]
    grouped: bool
    """It reads grouped heads without copies of the keys."""
    repeatable: bool
    """Its backward pass gives the same bits each time, where that is asked for."""
    why: str


_HALF = (torch.bfloat16, torch.float16)
# In the order in which they are asked.
ROWS: tuple[Row, ...] = (
    Row("cudnn", ((9, 0), (10, 3)), _HALF, 128, ("none", "causal"), True, False,
        "about twice as fast as FlashAttention-2 on this architecture"),
    Row("flash", ((8, 0), (12, 1)), _HALF, 256, ("none", "causal"), True, True,
        "the fastest in half precision where cuDNN does not run"),
    Row("efficient", ((5, 0), (12, 1)), (torch.float32, *_HALF), 256, ("none", "causal", "added"), False, False,
        "the one that takes float32 and masks"),
)  # fmt: skip
# cuDNN before it was wrong for lengths that are no multiple of 128 (pytorch#169849).
_CUDNN, _CUDNN_ANY_LENGTH, _WHOLE = 90100, 91501, 128


class Choice(NamedTuple):
    """The kernel, or None, and why."""

    kernel: Kernel | None
    why: str


def choose_kernel(device: Device, call: GpuCall) -> Choice:
    """Return the first kernel of the table that takes a call; without one, why each does not."""
    refused = []
    for row in ROWS:
        reason = _why_not(row, device, call)
        if reason is None:
            return Choice(row.kernel, f"by {NAMES[row.kernel]}, {row.why}")
        refused.append(f"{NAMES[row.kernel]} {reason}")
    return Choice(None, "has no kernel for it on this GPU: " + "; ".join(refused))


def _why_not(row: Row, device: Device, call: GpuCall) -> str | None:
    first, last = row.capabilities
    bfloat16_before_ampere = call.dtype == torch.bfloat16 and device.capability < (8, 0)
    refusals = (
        (row.kernel not in device.allowed, "is switched off (torch.nn.attention.sdpa_kernel)"),
        (
            not first <= device.capability <= last,
            f"runs on compute capability {_dotted(first)} to {_dotted(last)}, not {_dotted(device.capability)}",
        ),
        (call.dtype not in row.dtypes or bfloat16_before_ampere, f"does not take {_name(call.dtype)} here"),
        (call.width > row.widest, f"takes heads up to {row.widest} wide, not {call.width}"),
        (call.masking not in row.maskings, "takes no mask"),
        (call.grouped and not row.grouped, "would copy the keys of grouped heads"),
        (
            call.trains and device.deterministic and not row.repeatable,
            "has no deterministic gradient (torch.use_deterministic_algorithms)",
        ),
    )
    found = next((reason for refuses, reason in refusals if refuses), None)
    if found is None and row.kernel == "cudnn":
        return _why_not_cudnn(device, call)
    if found is None and row.kernel == "flash" and call.trains and _too_little_memory(device, call.width):
        return f"has no gradient for heads {call.width} wide on compute capability {_dotted(device.capability)}"
    return found


def _why_not_cudnn(device: Device, call: GpuCall) -> str | None:
    if device.cudnn < _CUDNN:
        return f"is {device.cudnn or 'not there'}, {_CUDNN} is the first that is taken"
    if call.width % 8:
        return f"takes widths that are a multiple of 8, not {call.width}"
    if call.keys == 1:
        return "takes more than one key"
    if device.cudnn < _CUDNN_ANY_LENGTH and (call.queries % _WHOLE or call.keys % _WHOLE):
        return f"{device.cudnn} is right for lengths that are a multiple of {_WHOLE} alone"
    return None


def _too_little_memory(device: Device, width: int) -> bool:
    # Of shared memory, for the backward pass: GPUs of a smaller build than 8.0, 9.0 and 10.0.
    return 192 < width <= 224 and ((8, 6) <= device.capability <= (8, 9) or device.capability >= (12, 0))


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def device_of(device: torch.device) -> Device | None:
    """Describe an NVIDIA GPU and what is switched on; None for any other device."""
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return None
    on = {
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
    }
    return Device(
        _capability(device.index), _cudnn(), torch.are_deterministic_algorithms_enabled(),
        frozenset(name for name, enabled in on.items() if enabled),
    )  # fmt: skip


# While a graph is compiled the answer is a constant.
device_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _capability(index: int | None) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


@functools.cache
def _cudnn() -> int:
    return torch.backends.cudnn.version() or 0 if torch.backends.cudnn.is_available() else 0


def run_kernel(
    kernel: Kernel, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Return output and `lse` `(B, H, L)`; raises `KernelError` with the kernel's own words if it fails.

    `mask` is added to the scores, in the query's dtype. Gradients flow through the output.
    """
    batch, heads, queries, width = query.shape
    keys = key.shape[2]
    query, key, value = (_aligned(tensor) for tensor in (query, key, value))
    if mask is not None:
        # The kernel reads rows of the mask in steps of 16 bytes.
        mask = pad(mask.expand(*mask.shape[:3], keys), (0, -keys % 16))[..., :keys].expand(batch, heads, queries, keys)
    try:
        if kernel == "cudnn":
            found = torch.ops.aten._scaled_dot_product_cudnn_attention(
                query, key, value, mask, True, 0.0, causal, scale=scale
            )
        elif kernel == "flash":
            found = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, scale=scale)
        else:
            found = torch.ops.aten._scaled_dot_product_efficient_attention(
                query, key, value, mask, True, 0.0, causal, scale=scale
            )
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if not plain():
            raise
        raise KernelError(
            f"{NAMES[kernel]} failed in a call of {tuple(query.shape)} over {keys} keys: {error}. To run it on another "
            f"kernel, switch this one off (torch.nn.attention.sdpa_kernel) or name a backend, such as backend='math'."
        ) from error
    output, lse = found[:2]
    # One kernel gives its rows in blocks, another each in a dimension of its own.
    return output[..., :width], lse.reshape(batch, heads, -1)[..., :queries]


def _aligned(tensor: Tensor) -> Tensor:
    """Return heads as every kernel reads them: a multiple of 8 wide, rows that begin at a multiple of 16 bytes."""
    missing = -tensor.shape[3] % 8
    if missing:
        return pad(tensor, (0, missing))
    step = 16 // tensor.element_size()
    places = (tensor.storage_offset(), *tensor.stride()[:3])
    if tensor.stride(3) == 1 and all(place % step == 0 for place in places):
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
