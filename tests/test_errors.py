"""Every refusal of the call: its class, the builtin it also is, and what it says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import regard
from regard import errors, masks
from regard.errors import (
    ArgumentError,
    BackendError,
    DeviceError,
    DtypeError,
    RegardError,
    ShapeError,
    UnknownArgumentError,
)

Q = torch.zeros(2, 4, 3, 8)
K = torch.zeros(2, 2, 5, 8)


def call(query: Any = Q, key: Any = K, value: Any = K, **arguments: Any) -> Callable[[], object]:
    """Return a call to make later."""
    return lambda: regard.attention(query, key, value, **arguments)


CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "not a tensor": (call(query=[[1.0]]), DtypeError, r"query is \[\[1\.0\]\]; give a torch\.Tensor"),
    "ranks differ": (
        call(key=K[0]), ShapeError, r"query \(2, 4, 3, 8\), key \(2, 5, 8\), .* differ in rank .*\(L, E\)\.",
    ),
    "rank 1": (call(*torch.zeros(3, 4)), ShapeError, r"query \(4,\), .* Give all three as \(B, H, L, E\)"),
    "rank 5": (call(*torch.zeros(3, 1, 1, 1, 1, 1)), ShapeError, r"have the wrong one"),
    "dtypes mixed": (call(value=K.double()), DtypeError, r"torch\.float32, torch\.float32, torch\.float64\. .*\.to\("),
    "integers": (call(Q.long(), K.long(), K.long()), DtypeError, r"one dtype out of float32, bfloat16, float16, flo"),
    "devices mixed": (call(key=K.to("meta")), DeviceError, r"lie on cpu, meta, cpu\. Move them to one device"),
    "batches differ": (call(query=Q[:1]), ShapeError, r"do not fit together\. The rule: query \(B, H, L, E\)"),
    "keys differ": (call(value=K[:, :, :4]), ShapeError, r"one G and S for key and value"),
    "widths differ": (call(key=K[..., :7]), ShapeError, r"key \(2, 2, 5, 7\).* one E for query and key"),
    "key and value heads differ": (call(value=K[:, :1]), ShapeError, r"value \(2, 1, 5, 8\) do not fit together"),
    "heads no multiple": (call(query=Q[:, :3]), ShapeError, r"query has 3 heads and the key 2: 3 is no multiple of 2"),
    "no key heads": (call(key=K[:, :0], value=K[:, :0]), ShapeError, r"4 is no multiple of 0"),
    "mask of another kind": (call(mask="causal"), DtypeError, r"mask is 'causal'; give a regard\.masks mask, or"),
    "mask of 0 and 1": (call(mask=torch.ones(3, 5)), DtypeError, r"a float32 tensor .*mask\.bool\(\).*bias="),
    "mask of keys only for a batch": (
        call(mask=torch.ones(2, 5).bool()), ShapeError,
        r"mask has shape \(1, 1, 2, 5\), .*L = 3 queries and S = 5 keys\. .*masks\.padding\(mask\)",
    ),
    "mask of another batch": (
        call(mask=torch.ones(3, 1, 3, 5).bool()), ShapeError, r"mask has shape .*does not broadcast to \(B, H, L",
    ),
    "lengths of another batch": (call(mask=masks.padding([1, 2, 3])), ShapeError, r"\(3, 1, 3\), .*\(B, H, L\) = \(2,"),
    "window no pair": (call(window=3), ArgumentError, r"window is 3; give a pair \(left, right\), with None"),
    "window of three": (call(window=(1, 2, 3)), ArgumentError, r"give a pair"),
    "window negative": (call(window=(-1, 0)), ArgumentError, r"window left is -1\. .*other libraries write -1"),
    "window fraction": (call(window=(0.5, 0)), ArgumentError, r"window left is 0\.5; it must be a whole number"),
    "bias boolean": (call(bias=torch.ones(3, 5).bool()), DtypeError, r"bias is a bool tensor .*goes into mask="),
    "bias of another kind": (call(bias=1.0), DtypeError, r"bias is 1\.0; give a floating tensor .*regard\.biases"),
    "bias of another dtype": (call(bias=torch.ones(3, 5).double()), DtypeError, r"must be torch\.float32 like the qu"),
    "bias elsewhere": (call(bias=torch.ones(3, 5, device="meta")), DeviceError, r"bias lies on meta, the query on cpu"),
    "bias shape": (call(bias=torch.ones(3, 4)), ShapeError, r"bias has shape \(1, 1, 3, 4\), .* = \(2, 4, 3, 5\)"),
    "bias rank": (call(bias=torch.ones(1, 1, 1, 3, 5)), ShapeError, r"the rule is broadcastable to \(B, H, L, S\)"),
    "scale infinite": (call(scale=float("inf")), ArgumentError, r"scale is inf; it must be a finite number"),
    "scale learnt": (call(scale=torch.ones(())), ArgumentError, r"scale is a float32 tensor .*into the query"),
    "softcap zero": (call(softcap=0.0), ArgumentError, r"softcap is 0\.0; it must be a finite number > 0, or None"),
    "softcap NaN": (call(softcap=float("nan")), ArgumentError, r"softcap is nan"),
    "need_weights text": (call(need_weights="all"), ArgumentError, r"need_weights is 'all'; it must be True or False"),
    "softcap text": (call(softcap="2"), ArgumentError, r"softcap is '2'; it must be a finite number"),
    "dropout one": (call(dropout=1.0), ArgumentError, r"dropout is 1\.0; it must be a probability in \[0, 1\),"),
    "dropout negative": (call(dropout=-0.1), ArgumentError, r"dropout is -0\.1"),
    "dropout NaN": (call(dropout=float("nan")), ArgumentError, r"dropout is nan"),
    "unknown keyword": (call(is_causal=True), UnknownArgumentError, r"'is_causal'\. Did you mean 'causal'\?"),
    "torch's mask": (call(attn_mask=None), UnknownArgumentError, r"Did you mean 'mask'\? It takes: query, key, v"),
    "nothing near": (call(zzz=1), UnknownArgumentError, r"no argument 'zzz'\. It takes: "),
    "unknown backend": (call(backend="mth"), BackendError, r"no backend 'mth'\. Did you mean 'math'\? Known backends"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_an_error_says(name: str) -> None:
    """Class and text of each refusal; `explain` refuses what `attention` refuses."""
    make, kind, text = CASES[name]
    with pytest.raises(kind, match=text) as caught:
        make()
    assert isinstance(caught.value, RegardError)
    assert str(caught.value).rstrip()[-1] in ".?"


BUILTINS: dict[type[Exception], type[Exception]] = {
    errors.ShapeError: ValueError,
    errors.DtypeError: TypeError,
    errors.DeviceError: ValueError,
    errors.ArgumentError: ValueError,
    errors.ArgumentTypeError: TypeError,
    errors.UnknownArgumentError: TypeError,
    errors.DataError: ValueError,
    errors.ModelFileError: ValueError,
    errors.RecordingFileError: ValueError,
    errors.BackendError: RuntimeError,
    errors.RefusedError: RuntimeError,
    errors.KernelError: RuntimeError,
    errors.StaleWeightsError: RuntimeError,
    errors.TooLargeError: MemoryError,
    errors.MissingExtraError: ImportError,
}


def test_each_error_is_also_the_builtin_that_callers_expect() -> None:
    """The tree is complete: every class is listed here, and caught by both names."""
    listed = {getattr(errors, name) for name in errors.__all__} - {RegardError}
    assert listed == set(BUILTINS)
    for kind, builtin in BUILTINS.items():
        with pytest.raises(builtin):
            raise kind("text")
        assert issubclass(kind, RegardError)


def test_explain_raises_the_same_errors() -> None:
    """It checks what the call checks, and takes no backend."""
    with pytest.raises(ShapeError, match="3 is no multiple of 2"):
        regard.explain(Q[:, :3], K, K)
    with pytest.raises(UnknownArgumentError, match=r"explain\(\) has no argument 'backend'"):
        regard.explain(Q, K, K, backend="math")


def test_use_backend_refuses_an_unknown_name_at_once() -> None:
    """Before the block runs."""
    with pytest.raises(BackendError, match=r"Did you mean 'reference'"), regard.use_backend("refrence"):
        raise NotImplementedError
