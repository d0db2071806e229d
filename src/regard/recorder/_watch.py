"""`watch`: record the attention of a model for as long as a block lasts."""

from __future__ import annotations

import fnmatch
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._values import described, flag, instance, listed, whole
from ..errors import ArgumentError, ArgumentTypeError, nearest
from ..weights import AttentionWeights, StoredWeights, from_dense, summarise
from ._doors import DOORS, door_of
from ._growing import Growth, Step
from ._grown import Grown, GrownDense, GrownExact, GrownSummary
from ._recording import EmptyRecordingError, RecordedCall, Recording, layer_of
from ._returned import computes_attention, first_tensor, softmax_of_module, weights_of_output
from ._writer import FolderWriter

__all__ = ["Watch", "record", "watch"]

Keep = Literal["summary", "exact", "dense"]


def watch(
    model: nn.Module,
    layers: Sequence[int | str] | None = None,
    heads: Sequence[int] | None = None,
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
        MissingExtraError: a folder without the package that writes it.

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
    chosen = None if heads is None else tuple(whole("heads", head, 0) for head in listed("heads", heads))
    if folder is not None:
        instance("folder", folder, (str, os.PathLike), "the path of a folder")
    return Watch(model, _Wanted(_named(layers), chosen, _checked(keep)), flag("compare", compare), folder)


def record(
    weights: Mapping[str, AttentionWeights], layers: Sequence[int | str] | None = None, keep: Keep = "summary"
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
    wanted, recording = _Wanted(_named(layers), None, _checked(keep)), Recording()
    if not isinstance(weights, Mapping) or not all(isinstance(one, AttentionWeights) for one in weights.values()):
        raise ArgumentTypeError(f"weights is {described(weights)}; it must be a mapping of names to AttentionWeights.")
    for name, one in weights.items():
        if wanted.layer(name):
            recording.add(name, "weights that a module returned", wanted.kept(wanted.part(name, one)))
        else:
            recording.left_out += 1
    return recording


def _named(layers: Sequence[int | str] | None) -> Sequence[int | str] | None:
    if layers is None:
        return None
    return [one if isinstance(one, str) else whole("layers", one) for one in listed("layers", layers)]


def _checked(keep: Keep) -> Keep:
    if not isinstance(keep, str) or keep not in get_args(Keep):
        raise ArgumentError(
            f"keep is {described(keep)}; it is 'summary', 'exact' or 'dense'.{nearest(str(keep), get_args(Keep))}"
        )
    return keep


@dataclass(frozen=True)
class _Wanted:
    """What is kept, and of which calls."""

    layers: Sequence[int | str] | None
    heads: tuple[int, ...] | None
    keep: Keep

    def layer(self, name: str) -> bool:
        if self.layers is None:
            return True
        number = layer_of(name)
        return any(
            number == layer if isinstance(layer, int) else fnmatch.fnmatchcase(name, layer) for layer in self.layers
        )

    def part(self, name: str, weights: AttentionWeights) -> AttentionWeights:
        """Return the heads that are wanted."""
        if self.heads is None:
            return weights.detach()
        source = weights._source
        every = source.shape[1]
        if not all(0 <= head < every for head in self.heads):
            raise ArgumentError(f"heads is {list(self.heads)}; {name} has {every} heads, counted from 0.")
        return AttentionWeights(source.detached().select(slice(None), torch.tensor(self.heads)), max(3, weights.ndim))

    def kept(self, weights: AttentionWeights) -> AttentionWeights:
        """Return what stays of the weights of one call."""
        if self.keep == "exact":
            return weights.clone()
        if self.keep == "dense":
            return from_dense(weights.dense(), ~weights.masked())
        return StoredWeights(summarise(weights), weights.ndim)

    def growing(self, first: AttentionWeights, step: Step, growth: Growth) -> Grown:
        """Return what grows out of the first call, which the given step continues."""
        if isinstance(first, StoredWeights):
            return GrownSummary(first.summary, step.before, growth.orders)
        begin = Step(first, first._source.shape[2], step.before, 0, None, True)
        return (GrownExact if self.keep == "exact" else GrownDense)(begin, growth.orders)


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
        self.mode: Any = None


class Watch:
    """Sees every module of one model begin and end, and every function that runs in between."""

    def __init__(
        self, model: nn.Module, wanted: _Wanted, compare: bool, folder: str | os.PathLike[str] | None = None
    ) -> None:
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
        self._hooks: list[Any] = []
        self._stance: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> Recording:
        """Begin."""
        if self._folder is not None:
            self._writer = FolderWriter(self._folder)
        if "torch._dynamo" in sys.modules:  # without it nothing is compiled
            self._stance = torch.compiler.set_stance("force_eager")
        self._stance.__enter__()
        for module in self._modules:
            self._hooks += [
                module.register_forward_pre_hook(self._begin),
                module.register_forward_hook(self._end, always_call=True),
            ]
        return self._recording

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End; an empty recording is an error, unless one is under way."""
        while self._hooks:
            self._hooks.pop().remove()
        self._stance.__exit__(None, None, None)
        if kind is None and not self._recording.calls and not self._recording.left_out:
            looked = ", ".join(door.name for door in DOORS)
            missed = "; ".join(self._recording.missed) or "no module of it ran an attention that is known"
            raise EmptyRecordingError(
                f"Nothing of {type(self._model).__name__} was recorded. Looked for: {looked}, and modules that return "
                f"(output, 4-D weights). Found: {missed}. Run the model inside the block; a model that computes "
                "attention itself shows its weights with output_attentions=True."
            )
        if self._writer is not None and (kind is None or self._writer.failure is None):
            self._writer.close(self._recording, ended=kind is None)

    def _begin(self, module: nn.Module, args: Any) -> None:
        name = self._names.get(id(module))
        if name is None:
            return
        running = self._running
        if not running.frames:
            running.mode = _Mode(self)
            running.mode.__enter__()
        running.frames.append(_Frame(name, module))

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        frames = self._running.frames
        if not frames or frames[-1].module is not module:
            return
        frame = frames[-1]
        if frame.softmaxes or not (frame.seen or output is None):
            self._look_at(frame, output)
        frames.pop()
        if frames:
            frames[-1].seen += frame.seen
        else:
            self._running.mode.__exit__(None, None, None)

    def _look_at(self, frame: _Frame, output: Any) -> None:
        for scores, given in frame.softmaxes or ():
            with torch.no_grad():
                weights = softmax_of_module(scores, given, output)
            if weights is not None:
                self.keep("softmax", weights)
        if frame.seen or output is None:
            return
        weights = None if isinstance(output, Tensor) else weights_of_output(output)
        if weights is not None:
            self.keep("weights that a module returned", weights)
        elif computes_attention(frame.module):
            frame.seen = 1
            with self._lock:
                self._recording.missed[f"{frame.name} ({type(frame.module).__name__}){_unlike(frame, output)}"] += 1

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
        with torch.no_grad():
            part = self._wanted.part(frame.name, weights)
            with self._lock:
                known = self._recording.last_of(frame.name)
                step, continues = self._growth.step(frame.name, 0 if known is None else known.number, part)
                if known is not None and continues:
                    self._append(known, step)
                else:
                    self._recording.add(frame.name, door, self._wanted.kept(part), self._wanted.heads)
                    if self._writer is not None:
                        self._writer.write(self._recording.calls[-1], self._recording)
                if difference is not None:
                    self._recording.difference = max(self._recording.difference or 0.0, difference)

    def _append(self, call: RecordedCall, step: Step) -> None:
        if self._writer is not None:  # before this step: the order of the batch in the last one is now known
            self._writer.write(call, self._recording)
        if call.grown is None:
            call.grown = self._wanted.growing(call.kept, step, self._growth)
        call.grown.add(step)
        call.passes += 1

    def module(self) -> nn.Module:
        """Return the module that is running."""
        return self._running.frames[-1].module

    def needs(self) -> Literal[True, "summary"]:
        """Return what to ask of the call that the running module makes, as `need_weights`."""
        wanted = self._wanted
        return "summary" if wanted.keep == "summary" and wanted.layer(self._running.frames[-1].name) else True

    def miss(self, what: str) -> None:
        """Count a call that cannot be recorded."""
        self._running.frames[-1].seen += 1
        with self._lock:
            self._recording.missed[what] += 1


class _Mode(TorchFunctionMode):
    def __init__(self, owner: Watch) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        door = door_of(func)
        if door is None:
            return func(*args, **(kwargs or {}))
        return door.run(func, self.owner, args, dict(kwargs or {}))


def _is_leaf_of_torch(module: nn.Module) -> bool:
    """Say whether a module is one of PyTorch's own that calls no attention: it needs no hooks, which cost time."""
    return type(module).__module__.startswith("torch.nn.modules.") and not module._modules


def _unlike(frame: _Frame, output: Any) -> str:
    """Say what came out of softmax in place of (batch, heads, queries, keys)."""
    out = first_tensor(output)
    if not frame.softmaxes or out is None:
        return ""
    shape = tuple(frame.softmaxes[-1][1].shape)
    return f": softmax gave {shape}, not (batch, heads, queries, keys) of an output {tuple(out.shape)}"
