"""`watch`: record the attention of a model for as long as a block lasts."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .._tracing import in_backward
from .._values import described, flag, instance
from ..errors import ArgumentError, ArgumentTypeError, KernelError, RegardError, TooLargeError
from ..integrations import (
    ASIDE,
    FAST_PATHS,
    Mode,
    Standing,
    StandingEverywhere,
    has_nested,
    runs_again,
)
from ..recordings import FolderWriter, RecordedCall, Recording
from ..weights import AttentionWeights
from ._doors import DOORS, door_of, untouched
from ._errors import EmptyRecordingError, NotRecordedWarning
from ._nested import padded
from ._returned import computes_attention, first_tensor, softmax_of_module, weights_of_output
from ._steps import Growth, Step
from ._uncompiled import Uncompiled
from ._wanted import Keep, Wanted

__all__ = ["Watch", "record", "watch"]


def watch(
    model: nn.Module,
    layers: Collection[int | str] | None = None,
    heads: Collection[int] | None = None,
    keep: Keep = "summary",
    *,
    compare: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> Watch:
    """Record the attention of a model inside a `with` block; its outputs stay what they are, to rounding.

    Args:
        model: any module. Only what runs inside its forward pass is recorded, in whichever thread it runs.
        layers: numbers of layers, or names or patterns (`"encoder.*"`) of modules; all unless given.
        heads: numbers of the heads to keep in each layer; all unless given.
        keep: "summary" keeps a map, entropy, attention received, the four largest weights of each row and lse, O(n)
            memory; "exact" query, key and value, so that every entry can be computed later; "dense" the weights
            themselves, O(n²), for small inputs.
        compare: also run PyTorch's own attention for each call that another kernel served, and note the largest
            difference of the outputs: `recording.difference`.
        folder: a new folder, to which each call is also written as it comes; `regard.load` reads it. If the run dies,
            the calls that it had finished are there; of a generation, at least the first half of its steps. A disk
            that is full does not stop the model: the error comes at the end of the block.

    Returns:
        A context manager that gives the `Recording`.

    Raises:
        ArgumentError: a keep that does not exist, a folder that does; in the model's forward pass, a head that a layer
            does not have.
        TooLargeError: weights that would not fit, with keep="dense".
        EmptyRecordingError: at the end of the block, if no call was recorded.
        RecordingFileError: at the end of the block, if `folder` could not be written.

    Calls of `F.scaled_dot_product_attention`, of `F.multi_head_attention_forward` and of `regard.attention` are
    caught, and modules that return `(output, weights)`. Without dropout the first two run on the native kernel where
    it serves them. Compiled code runs uncompiled inside the block. The steps of `generate()` with a cache become one
    growing matrix a layer, in the order of the final hypotheses where a beam search moved them.

    >>> import regard
    >>> layer = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    >>> with regard.watch(layer) as recording:
    ...     out = layer(torch.randn(1, 5, 16))
    >>> recording
    1 of 1 attention calls recorded (1 layers x 1 passes); 0 took another path
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if folder is not None:
        instance("folder", folder, (str, os.PathLike), "the path of a folder")
    return Watch(model, Wanted.checked(layers, heads, keep), flag("compare", compare), folder)


def record(
    weights: Mapping[str, AttentionWeights], layers: Collection[int | str] | None = None, keep: Keep = "summary"
) -> Recording:
    """Make a recording of weights that a model gave by itself, with `need_weights=True`.

    Args:
        weights: of each call, by the name of its module.
        layers, keep: as in `watch`.

    Raises `ArgumentError`, and `TooLargeError` with keep="dense".

    >>> import regard
    >>> q = torch.randn(1, 2, 3, 4)
    >>> _, weights = regard.attention(q, q, q, need_weights=True)
    >>> record({"layers.0": weights, "layers.1": weights}, layers=[1])
    1 of 2 attention calls recorded (1 layers x 1 passes); 0 took another path; 1 not asked for
    """
    if not isinstance(weights, Mapping) or not all(isinstance(one, AttentionWeights) for one in weights.values()):
        raise ArgumentTypeError(f"weights is {described(weights)}; it must be a mapping of names to AttentionWeights.")
    wanted, recording = Wanted.checked(layers, None, keep), Recording()
    for name, one in weights.items():
        if wanted.layer(name):
            recording.add(name, "weights that a module returned", wanted.kept(wanted.part(one)))
        else:
            recording.left_out += 1
    return recording


class _Frame:
    """One module of the watched model that is running; there are hundreds in a pass, so it holds little."""

    __slots__ = ("module", "name", "seen", "softmaxes")

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.seen = 0
        self.softmaxes: list[tuple[Tensor, Tensor]] | None = None


class _Running(threading.local):
    """What runs in a thread."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.mode: _Mode | None = None


class Watch:
    """Stands around every module of one model, and sees every function that runs in between."""

    def __init__(
        self, model: nn.Module, wanted: Wanted, compare: bool, folder: str | os.PathLike[str] | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"model is a {type(model).__name__}; watch takes a torch.nn.Module.")
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise ArgumentError(f"folder is {folder!r}; it is the name of a new folder.")
        self._modules: list[nn.Module] = []
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            if module is model or not _is_leaf_of_torch(module):
                self._modules.append(module)
                self._names[id(module)] = name.replace("_orig_mod.", "") or type(module).__name__
        self._model, self._wanted, self.compares = model, wanted, compare
        self._growth = Growth()
        self._running = _Running()
        self._lock = threading.Lock()
        self._recording = Recording()
        self._folder = folder
        self._writer: FolderWriter | None = None
        self._entered: ExitStack | None = None

    def __enter__(self) -> Recording:
        """Begin."""
        if self._entered is not None:
            raise ArgumentError("This watch is entered already; make another one for a block inside its block.")
        if self._folder is not None and self._writer is None:
            self._writer = FolderWriter(self._folder)
        with ExitStack() as entered:
            entered.enter_context(Uncompiled())
            entered.callback(StandingEverywhere(ASIDE, FAST_PATHS).remove)
            entered.callback(Standing(self, self._modules).remove)
            self._entered = entered.pop_all()
        return self._recording

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End; an empty recording is an error, unless one is under way."""
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.close()
        if kind is None and not self._recording.calls and not self._recording.left_out:
            looked = ", ".join(door.name for door in DOORS)
            missed = "; ".join(self._recording.missed).rstrip(".") or "no module of it ran an attention that is known"
            raise EmptyRecordingError(
                f"Nothing of {type(self._model).__name__} was recorded. Looked for: {looked}, and modules that return "
                f"(output, 4-D weights). Found: {missed}. Run the model inside the block; a model that computes "
                "attention itself shows its weights with output_attentions=True."
            )
        if self._writer is not None and (kind is None or self._writer.failure is None):
            self._writer.close(self._recording, ended=kind is None)

    @property
    def sees(self) -> bool:
        """Whether the block lasts, and what runs is no second time in a backward pass."""
        return self._entered is not None and not in_backward()

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call a module of the model; what it computes is recorded under its name."""
        if not self.sees:
            return call(*args, **settings)
        running, frame = self._running, _Frame(self._names[id(module)], module)
        frames, depth = running.frames, len(running.frames)
        frames.append(frame)
        try:
            if depth:
                output = self._called(frame, call, args, settings)
            else:
                with _Mode(self) as running.mode:
                    output = self._called(frame, call, args, settings)
            if (frame.softmaxes or not (frame.seen or output is None)) and self.sees:
                self._look_at(frame, output)
            return output
        finally:
            del frames[depth:]
            if depth:
                frames[-1].seen += frame.seen
            else:
                running.mode = None

    def _called(self, frame: _Frame, call: Callable[..., Any], args: Any, settings: Any) -> Any:
        output = call(*args, **settings)
        if isinstance(frame.module, FAST_PATHS) and not frame.seen and has_nested(args, settings):
            try:
                with torch.no_grad():
                    args, settings = padded(frame.module, args, settings)
                    call(*args, **settings)
            except Exception as error:
                if self.is_told(error):
                    raise
                self.lose("nested tensors", error)
        return output

    def _look_at(self, frame: _Frame, output: Any) -> None:
        reason = untouched((output,))
        if reason is not None:
            if not frame.seen and computes_attention(frame.module):
                self.miss(f"{frame.name} ({type(frame.module).__name__}): {reason}")
            return
        weights: AttentionWeights | None
        for scores, given in frame.softmaxes or ():
            weights = None
            with self.guarded("softmax"), torch.no_grad():
                weights = softmax_of_module(scores, given, output)
            if weights is not None:
                self.keep("softmax", weights)
        if frame.seen or output is None:
            return
        weights = None
        with self.guarded("what a module returned"):
            weights = None if isinstance(output, Tensor) else weights_of_output(output)
        if weights is not None:
            self.keep("weights that a module returned", weights)
        elif not frame.seen and computes_attention(frame.module):
            self.miss(f"{frame.name} ({type(frame.module).__name__}){_unlike(frame, output)}")

    def softmax(self, scores: Tensor, weights: Tensor) -> None:
        """Note what the running module gave to softmax, if it is an attention."""
        frame = self._running.frames[-1]
        if computes_attention(frame.module):
            frame.softmaxes = [*(frame.softmaxes or ()), (scores, weights)]

    def keep(self, door: str, weights: AttentionWeights, difference: float | None = None) -> None:
        """Keep what was asked for of the call that the running module made."""
        frame = self._running.frames[-1]
        frame.seen += 1
        if not self._wanted.layer(frame.name):
            with self._lock:
                self._recording.left_out += 1
            return
        self._wanted.check(frame.name, weights)
        with self.guarded(door), torch.no_grad(), self._lock:
            part = self._wanted.part(weights)
            known = self._recording.last_of(frame.name)
            step, continues = self._growth.step(frame.name, 0 if known is None else known.number, part)
            if known is not None and continues:
                self._append(known, step)
            else:
                self._recording.add(frame.name, door, self._wanted.kept(part), self._wanted.heads, weights.backend)
                if self._writer is not None:
                    self._writer.write(self._recording.calls[-1], self._recording)
            if difference is not None:
                self._recording.difference = max(self._recording.difference or 0.0, difference)

    def _append(self, call: RecordedCall, step: Step) -> None:
        try:
            if self._writer is not None:  # before this step: the order of the batch in the last one is now known
                self._writer.write(call, self._recording)
            if call.grown is None:
                call.grown = self._wanted.growing(call.kept, step, self._growth)
            call.grown.add(step)
            call.passes += 1
        except BaseException:  # half of a step may be in it
            self._recording.drop(call)
            raise

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Let a fault of ours cost the recording of the call, and not the pass of the model."""
        try:
            yield
        except KernelError:
            raise
        except Exception as error:
            if isinstance(error, TooLargeError) and self.is_told(error):
                raise
            self.lose(what, error)

    def is_told(self, error: Exception) -> bool:
        """Say whether an error is one for the user: a kernel that fails, an argument, weights that do not fit."""
        return isinstance(error, RegardError) and not (
            isinstance(error, TooLargeError) and self._wanted.keep != "dense"
        )

    def lose(self, what: str, error: Exception) -> None:
        """Count a call that our own fault cost the recording, and say so."""
        name = self._running.frames[-1].name
        self.miss(f"{name}: {what}: {type(error).__name__}: {error}")
        warnings.warn(
            f"A call of {what} in {name} was not recorded: {type(error).__name__}: {error}. The model runs on. "
            "This is a fault of regard; please report it.",
            NotRecordedWarning,
            stacklevel=2,
        )

    def module(self) -> nn.Module:
        """Return the module that is running."""
        return self._running.frames[-1].module

    def summarises(self) -> bool:
        """Say whether only the summary is kept of the call that the running module makes."""
        wanted = self._wanted
        return wanted.keep == "summary" and wanted.layer(self._running.frames[-1].name)

    def aside(self) -> bool:
        """Say whether the output must be PyTorch's own: gradient checkpointing may run it again after the block."""
        mode = self._running.mode
        return (mode is None or not mode.alone()) and runs_again()

    def miss(self, what: str) -> None:
        """Count a call that cannot be recorded."""
        self._running.frames[-1].seen += 1
        with self._lock:
            self._recording.missed[what] += 1


class _Mode(Mode):
    def __init__(self, owner: Watch) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        door = door_of(func)
        if door is None or self.over or not self.owner.sees:
            return func(*args, **(kwargs or {}))
        settings = kwargs or {}
        try:
            return door.run(func, self.owner, args, dict(settings))
        except Exception as error:
            fault = error
            if self.owner.is_told(error):
                raise
        result = func(*args, **settings)  # what is wrong with the call itself is wrong here too
        self.owner.lose(door.name, fault)
        return result


def _is_leaf_of_torch(module: nn.Module) -> bool:
    """Say whether a module is one of PyTorch's own that calls no attention: it needs no hooks, which cost time."""
    return type(module).__module__.startswith("torch.nn.modules.") and not module._modules


def _unlike(frame: _Frame, output: Any) -> str:
    """Say what came out of softmax in place of (batch, heads, queries, keys)."""
    out = first_tensor(output)
    if not frame.softmaxes or out is None:
        return ""
    shape = tuple(frame.softmaxes[-1][1].shape)
    if len(shape) == 3:
        return f": softmax gave {shape}, heads and sequences in one; run one sequence at a time"
    return f": softmax gave {shape}, not (batch, heads, queries, keys) of an output {tuple(out.shape)}"
