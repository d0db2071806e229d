"""The linear map that every layer uses, with a faster product on the CPU.

PyTorch gives float32 products on the CPU to MKL, which on AMD's Zen 5 reaches less than half of the multiply-add peak;
oneDNN, which is part of PyTorch too, computes the same product in the same precision at nine tenths of it. So there
all but small float32 products go to oneDNN, forward and backward, and on other processors with AVX-512, where oneDNN is
up to a tenth ahead, large ones. With AVX2 alone MKL is the faster one, by half for the gradients of weights. Compiled,
traced and transformed code keeps PyTorch's own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._tracing import plain, sizes
from .._values import flag, floating, size
from ..backends.native import library_info
from ..errors import DeviceError, DtypeError, ShapeError
from .quantization import tell_if_passed_over

# Multiply-adds from which oneDNN is taken: its call costs more. Zen 5 has that back at 1.5 million, Zen 4, forward and
# backward, between 13 and 115 million.
_SMALL, _SMALL_ON_ZEN_5 = 2**25, 2**21
_PLAIN = (Tensor, nn.Parameter)
_ONEDNN = torch.backends.mkldnn.is_available() and "AVX512" in torch.backends.cpu.get_cpu_capability()


class Projection(nn.Linear):
    """`nn.Linear` that starts as Xavier uniform with a bias of 0, and can compute only some of its outputs.

    Several maps of the same input may share one `Projection` (query, key and value do): one product in place of
    three, and each can still be computed alone (`rows`).

    >>> layer = Projection(4, 6)
    >>> bool((layer.bias == 0).all()), layer(torch.zeros(2, 4)).shape
    (True, torch.Size([2, 6]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        in_features, out_features = size("in_features", in_features), size("out_features", out_features)
        super().__init__(in_features, out_features, flag("bias", bias), device, dtype)

    def reset_parameters(self) -> None:
        """Draw the weight anew, Xavier uniform; set the bias to 0."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input · weightᵀ + bias`."""
        return _linear(input, self.weight, self.bias)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; warn if it is `qconfig`, by which torch.ao prepares a module for quantisation."""
        if name == "qconfig":
            tell_if_passed_over(self, value)
        super().__setattr__(name, value)

    def rows(self, input: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Return the output features `start … stop - 1` alone."""
        bias = None if self.bias is None else self.bias[start:stop]
        return _linear(input, self.weight[start:stop], bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, by oneDNN where that is faster: `(..., in)`, `(out, in)`, `(out,)` to `(..., out)`.

    >>> x, weight = torch.randn(3, 4), torch.randn(5, 4)
    >>> bool(torch.allclose(linear(x, weight), x @ weight.T, atol=1e-5))
    True
    """
    if not torch.compiler.is_compiling():  # a size that is read becomes a guard of the graph
        _check(input, weight, bias)
    return _linear(input, weight, bias)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the product; PyTorch finds what does not fit, and then it is said in our words: a check costs 5 µs."""
    if not _onednn_serves(input, weight, bias):
        if torch.compiler.is_compiling():
            return F.linear(input, weight, bias)
        try:
            return F.linear(input, weight, bias)
        except (RuntimeError, TypeError, AttributeError):
            _check(input, weight, bias)
            raise
    if torch.is_grad_enabled() and (
        input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        result: Tensor = _Product.apply(input, weight, bias)  # type: ignore[no-untyped-call]
        return result
    return _product(input, weight, bias)


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if floating("weight", weight).ndim != 2:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}; the rule is (out, in).")
    features_out, features_in = sizes(weight)
    if floating("input", input).ndim == 0 or sizes(input)[-1] != features_in:
        raise ShapeError(f"input has shape {tuple(input.shape)}; the rule is (..., in) with in={features_in}.")
    if bias is not None and sizes(floating("bias", bias)) != (features_out,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}; the rule is (out,) with out={features_out}.")
    if input.dtype != weight.dtype and (input.is_meta or not torch.is_autocast_enabled(input.device.type)):
        raise DtypeError(f"input is {input.dtype} and weight {weight.dtype}; convert one, or run under torch.autocast.")
    if input.device != weight.device:
        raise DeviceError(f"input lies on {input.device}, weight on {weight.device}. Move them to one device.")


def _onednn_serves(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if not _ONEDNN or not plain():  # before any size is read: it would become a guard of the graph
        return False
    return (
        type(input) in _PLAIN
        and input.numel() * weight.shape[0] >= _least()
        and type(weight) in _PLAIN
        and input.dtype == weight.dtype == torch.float32
        and input.device.type == weight.device.type == "cpu"
        and (bias is None or bias.dtype == torch.float32)
        and input.ndim > 0
        and input.shape[-1] == weight.shape[1]
        and input.shape[-1] * weight.shape[0] * 16 <= input.numel() * weight.shape[0]  # 16 rows or more
        and not torch.is_autocast_enabled("cpu")
    )


def _least() -> int:
    """Return the multiply-adds from which oneDNN is taken on this processor."""
    return _SMALL_ON_ZEN_5 if _on_zen_5() else _SMALL


@cache
def _on_zen_5() -> bool:
    return library_info().processor.startswith("AuthenticAMD 26 ")


def _of_weight(grad: Tensor, input: Tensor) -> Tensor:
    """Return the gradient of a weight, `gradᵀ · input`: both operands lie across, which oneDNN copies first."""
    if _on_zen_5():
        return linear(grad.t(), input.t())
    return grad.t() @ input


def _product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    """The product; its gradients are products of the same kind, so it can be differentiated repeatedly."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _product(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        want_input, want_weight, want_bias = ctx.needs_input_grad
        return (
            linear(grad, weight.t()) if want_input else None,
            _of_weight(rows, input.reshape(-1, input.shape[-1])) if want_weight else None,
            rows.sum(0) if want_bias else None,
        )
