"""The native library by its C interface alone: what its own tests and benchmarks call.

The package loads the library in its own way; here every field of the struct can be set.
"""

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_uint64, c_void_p
from pathlib import Path

import torch

from regard.backends import native

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class Rows(Structure):
    _fields_ = [("data", c_void_p), ("batch", c_int64), ("head", c_int64), ("row", c_int64)]


class Matrix(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("dtype", c_int64),
        ("batch", c_int64),
        ("head", c_int64),
        ("row", c_int64),
        ("column", c_int64),
    ]


class Args(Structure):
    """The mirror of `regard_args` in csrc/regard_native.h."""

    _fields_ = [
        ("size", c_int64),
        ("dtype", c_int64),
        ("parts", c_int64),
        *[(n, c_int64) for n in ("batch", "heads", "kv_heads", "queries", "keys")],
        *[(n, c_int64) for n in ("head_dim", "value_dim")],
        *[(n, Rows) for n in ("query", "key", "value")],
        ("scale", c_double),
        ("softcap", c_double),
        *[(n, c_void_p) for n in ("span_start", "span_stop")],
        *[(n, c_int64) for n in ("span_batch", "span_head")],
        ("mask", Matrix),
        ("position_bias", c_void_p),
        ("position_bias_head", c_int64),
        ("bias", Matrix),
        ("dropout", c_double),
        ("seed", c_uint64),
        ("output", Rows),
        *[(n, c_void_p) for n in ("output_rest", "lse", "map")],
        *[(n, c_int64) for n in ("map_rows", "map_columns")],
        ("grad_output", Rows),
        ("grad_lse", c_void_p),
        *[(n, Rows) for n in ("grad_query", "grad_key", "grad_value")],
        ("grad_position_bias", c_void_p),
        ("grad_position_bias_head", c_int64),
        ("grad_bias", Matrix),
        *[(n, c_int64) for n in ("row_start", "row_count", "column_start", "column_count")],
        *[(n, c_int64) for n in ("cell_rows", "cell_columns", "top")],
        *[(n, c_void_p) for n in ("row_weight", "values", "peaks", "indices")],
        ("part_rows", c_int64),
        *[(n, c_void_p) for n in ("entropy", "distance", "received", "neighbours", "top_keys")],
    ]


OPERATIONS = (
    "forward", "backward", "tile", "pooled", "received", "entropy", "peak", "top", "summary", "forward_summary",
)  # fmt: skip


def library_path() -> Path:
    """REGARD_NATIVE_LIBRARY, else the one that the installed package uses."""
    given = os.environ.get("REGARD_NATIVE_LIBRARY")
    return Path(given) if given else Path(native.__file__).with_name("libregard_native.so")


def load(path: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(path))
    for name in OPERATIONS:
        function = getattr(lib, f"regard_{name}")
        function.argtypes, function.restype = [POINTER(Args)], c_int
    for name in ("last_error", "isa", "isas"):
        getattr(lib, f"regard_{name}").restype = ctypes.c_char_p
    for name in ("abi_version", "args_size"):
        getattr(lib, f"regard_{name}").restype = c_int64
    lib.regard_select_isa.argtypes = [ctypes.c_char_p]
    lib.regard_parts.argtypes, lib.regard_parts.restype = [c_int64], c_int64
    lib.regard_multiply_add_loop.argtypes = [c_int64, c_int64]
    lib.regard_multiply_add_loop.restype = c_double
    lib.regard_set_parallel_for.argtypes = [c_void_p]
    if lib.regard_args_size() != ctypes.sizeof(Args):
        raise RuntimeError("tests/native/library.py and csrc/regard_native.h disagree")
    return lib


LIB = load(library_path())
ISAS = LIB.regard_isas().decode().split()
PARTS = False
"""Whether calls ask for products by parts."""


def use_torch_threads(on: bool) -> None:
    """Spread work over torch's threads, or run it all in the calling one."""
    torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    address = ctypes.cast(torch_cpu.torch_parallel_for, c_void_p)
    LIB.regard_set_parallel_for(address if on else None)


def rows(x: torch.Tensor) -> Rows:
    """(B, H, N, width) with a contiguous last dimension."""
    if x.shape[-1] > 1 and x.stride(-1) != 1:
        raise ValueError("the last dimension must be contiguous")
    return Rows(x.data_ptr(), x.stride(0), x.stride(1), x.stride(2))


def matrix(x: torch.Tensor, like: tuple[int, ...]) -> Matrix:
    """Anything that broadcasts to (B, H, L, S)."""
    full = x.expand(like)
    return Matrix(x.data_ptr(), DTYPES.get(x.dtype, 0), *full.stride())


def arguments(
    q,
    k,
    v,
    *,
    scale=None,
    softcap=0.0,
    spans=None,
    mask=None,
    bias=None,
    position_bias=None,
    dropout=0.0,
    seed=0,
    parts=None,
) -> Args:
    """The call itself; results and the fields of the other passes are the caller's to add."""
    b, h, n, e = q.shape
    s, ev = k.shape[2], v.shape[3]
    a = Args(ctypes.sizeof(Args), DTYPES[q.dtype], PARTS if parts is None else parts, b, h, k.shape[1], n, s, e, ev)
    a.query, a.key, a.value = rows(q), rows(k), rows(v)
    a.scale = e**-0.5 if scale is None else scale
    a.softcap, a.dropout, a.seed = softcap, dropout, seed
    if spans is not None:
        start, stop = (x.expand(b, h, n) for x in spans)
        a.span_start, a.span_stop = start.data_ptr(), stop.data_ptr()
        a.span_batch, a.span_head = start.stride(0), start.stride(1)
    if mask is not None:
        a.mask = matrix(mask, (b, h, n, s))
    if bias is not None:
        a.bias = matrix(bias, (b, h, n, s))
    if position_bias is not None:
        a.position_bias = position_bias.data_ptr()
        a.position_bias_head = position_bias.stride(0) if position_bias.shape[0] > 1 else 0
    return a


def call(name: str, a: Args) -> None:
    if getattr(LIB, f"regard_{name}")(byref(a)) != 0:
        raise RuntimeError(LIB.regard_last_error().decode())


def forward(q, k, v, cell=None, **options):
    """(output, lse, map or None); results start as NaN, so what is not written shows."""
    b, h, n, _ = q.shape
    s, ev = k.shape[2], v.shape[3]
    a = arguments(q, k, v, **options)
    output = torch.full((b, h, n, ev), float("nan"), dtype=q.dtype)
    lse = torch.full((b, h, n), float("nan"))
    a.output, a.lse = rows(output), lse.data_ptr()
    cells = None
    if cell is not None:
        a.map_rows, a.map_columns = cell
        cells = torch.full((b, h, -(-n // cell[0]), -(-s // cell[1])), float("nan"))
        a.map = cells.data_ptr()
    call("forward", a)
    return output, lse, cells
