"""Finding and loading the compiled library: at the first use, beside this file, and never silently not at all."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import BackendError, KernelError, TooLargeError
from ._words import DTYPES, INSPECTION

ABI_VERSION = 8
OPERATIONS = (
    "forward", "backward", "tile", "pooled", "received", "entropy", "peak", "top", "summary", "forward_summary",
    "linear_forward", "linear_backward",
)  # fmt: skip
_OUT_OF_MEMORY = 2
_ENDING = ".dylib" if sys.platform == "darwin" else ".so"
_BUILD = (
    "To build it, where a C++17 compiler is (Debian: apt install g++): in a clone of regard, make setup, or "
    "pip install --force-reinstall --no-deps --no-cache-dir ."
)


class Library:
    """The loaded library. `call` runs one of its operations; the interpreter's lock is released meanwhile."""

    def __init__(self, path: Path, handle: ctypes.CDLL) -> None:
        self.path = path
        self._last_error = handle.regard_last_error
        self._last_error.restype = ctypes.c_char_p
        self.operations = {}
        for name in OPERATIONS:
            function = getattr(handle, f"regard_{name}")
            # The struct is passed as the bytes that hold it; the library only reads them.
            function.argtypes, function.restype = (ctypes.c_char_p,), ctypes.c_int
            self.operations[name] = function
        for name in ("isa", "isas", "processor"):
            getattr(handle, f"regard_{name}").restype = ctypes.c_char_p
        self.isa: str = handle.regard_isa().decode()
        self.isas: tuple[str, ...] = tuple(handle.regard_isas().decode().split())
        self.processor: str = handle.regard_processor().decode()
        handle.regard_parts.argtypes, handle.regard_parts.restype = (ctypes.c_int64,), ctypes.c_int64
        self.parts = {dtype: parts for dtype, code in DTYPES.items() if (parts := handle.regard_parts(code)) > 1}
        """How many bfloat16 a number can be multiplied as the sum of, where that is more than one."""
        self.uses_torch_threads = _share_threads(handle)

    def call(self, name: str, words: bytes) -> None:
        """Run an operation on a packed struct; raises `KernelError` or `TooLargeError` with the library's words."""
        code = self.operations[name](words)
        if code:
            text = self._last_error().decode()
            error = TooLargeError if code == _OUT_OF_MEMORY else KernelError
            raise error(f"The native kernel failed in {name}: {text}.")


def _share_threads(handle: ctypes.CDLL) -> bool:
    """Hand torch's own threads to the library: a second pool in the process would fight it for the cores."""
    path = Path(torch.__file__).parent / "lib" / f"libtorch_cpu{_ENDING}"
    try:
        function = ctypes.CDLL(str(path)).torch_parallel_for
    except (OSError, AttributeError):
        return False
    handle.regard_set_parallel_for.argtypes = (ctypes.c_void_p,)
    handle.regard_set_parallel_for.restype = None
    handle.regard_set_parallel_for(ctypes.cast(function, ctypes.c_void_p))
    return True


def load(path: Path, abi_version: int = ABI_VERSION) -> Library:
    """Load the library at `path`; raises `BackendError` if it is missing or does not fit this package."""
    if not path.exists():
        raise BackendError(f"{path.name} is not there: it was not built when regard was installed. {_BUILD}")
    try:
        handle = ctypes.CDLL(str(path))
        handle.regard_abi_version.restype = handle.regard_args_size.restype = ctypes.c_int64
        found, size = handle.regard_abi_version(), handle.regard_args_size()
    except (OSError, AttributeError) as error:
        raise BackendError(f"{path} cannot be loaded: {error}. {_BUILD}") from error
    if found != abi_version or size != INSPECTION.size:
        raise BackendError(
            f"{path} has interface {found} with {size} bytes of arguments, this package needs interface {abi_version} "
            f"with {INSPECTION.size}: it is left from another version. {_BUILD}"
        )
    return Library(path, handle)


@functools.cache
def _found() -> Library | str:
    if sys.platform == "win32":
        return "there is none for Windows; under WSL, where regard is installed as on Linux, there is"
    try:
        loaded = load(Path(__file__).parent / f"libregard_native{_ENDING}")
    except BackendError as error:
        return str(error)
    if not loaded.isa:
        return f"REGARD_ISA is {os.environ.get('REGARD_ISA')!r}; this machine runs {', '.join(loaded.isas)}"
    return loaded


def library() -> Library:
    """Return the library, loaded at the first call; raises `BackendError` if there is none."""
    found = _found()
    if isinstance(found, str):
        raise BackendError(found)
    return found


def problem() -> str | None:
    """Say why there is no library, or None. The first time, warn what that costs, or raise if it is required."""
    found = _found()
    if isinstance(found, Library):
        return None
    if os.environ.get("REGARD_ISA") and found.startswith("REGARD_ISA"):
        raise BackendError(f"{found}. Unset REGARD_ISA, or name one of these.")
    if "native" in os.environ.get("REGARD_REQUIRE", ""):
        raise BackendError(f"REGARD_REQUIRE=native, but the native kernel cannot run: {found}")
    _warn_once(found)
    return f"cannot run: {found}"


# While a graph is compiled the answer is taken as a constant. `torch.compiler.assume_constant_result` does the same
# and imports the compiler, which takes longer than everything else here.
problem._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        "regard's native CPU kernel cannot run, so attention runs on PyTorch's own, which took two to four times as "
        f"long where it was measured. {reason}",
        RuntimeWarning,
        stacklevel=5,
    )


def available() -> bool:
    """Return whether the native kernel can run here."""
    return isinstance(_found(), Library)


@dataclass(frozen=True)
class LibraryInfo:
    """What is loaded, or why nothing is."""

    problem: str | None
    """Why there is no library; None if there is one."""
    path: Path | None = None
    abi_version: int = ABI_VERSION
    """Version of the interface that this package speaks."""
    isa: str | None = None
    """Instruction set in use: the best of `isas`, unless `REGARD_ISA` names another."""
    isas: tuple[str, ...] = ()
    """All that this machine can run, best first."""
    processor: str = ""
    """Vendor, family and model; "" where it does not say."""
    parts: tuple[str, ...] = ()
    """Dtypes that this instruction set can multiply by parts."""
    threads: int = 1
    """How many threads a call may use: torch's own, as set by `torch.set_num_threads`."""


def library_info() -> LibraryInfo:
    """Describe the native kernel of this process; loads it."""
    found = _found()
    if isinstance(found, str):
        return LibraryInfo(found)
    threads = torch.get_num_threads() if found.uses_torch_threads else 1
    parts = tuple(str(dtype).removeprefix("torch.") for dtype in found.parts)
    return LibraryInfo(None, found.path, ABI_VERSION, found.isa, found.isas, found.processor, parts, threads)
