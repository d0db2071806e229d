"""`watch`: record the attention of a model for as long as a block lasts."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .._values import described, flag, instance
from ..backends import fastest
from ..doors import (
    FAST_PATHS,
    MULTI_HEAD,
    NAMES,
    Call,
    Frame,
    ModelListener,
    Result,
    Run,
    ScaledDotProduct,
    found_in,
    has_nested,
    padded,
    runs_again,
    weights_of_softmax,
    why_nothing,
)
from ..errors import ArgumentError, ArgumentTypeError, KernelError, RegardError, TooLargeError
from ..recordings import FolderWriter, RecordedCall, Recording
from ..weights import AttentionWeights
from ._errors import EmptyRecordingError, NotRecordedWarning
from ._steps import Growth, Step
from ._wanted import Keep, Wanted


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


class Watch(ModelListener):
    """Wraps every module of one model, and records every call of attention inside them."""

    def __init__(
        self, model: nn.Module, wanted: Wanted, compare: bool, folder: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(model)
        self._model, self._wanted, self._compares = model, wanted, compare
        self._growth = Growth()
        self._lock = threading.Lock()
        self._recording = Recording()
        self._folder = folder
        self._writer: FolderWriter | None = None

    def __enter__(self) -> Recording:
        """Begin."""
        if self.began:
            raise ArgumentError("This watch is entered already; make another one for a block inside its block.")
        if self._folder is not None and self._writer is None:
            self._writer = FolderWriter(self._folder)
        self.begin()
        return self._recording

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End; an empty recording is an error, unless one is under way."""
        self.end()
        if kind is None and not self._recording.calls and not self._recording.left_out:
            looked = ", ".join(NAMES)
            missed = "; ".join(self._recording.missed).rstrip(".") or "no module of it ran an attention that is known"
            raise EmptyRecordingError(
                f"Nothing of {type(self._model).__name__} was recorded. Looked for: {looked}, and modules that return "
                f"(output, 4-D weights). Found: {missed}. Run the model inside the block; a model that computes "
                "attention itself shows its weights with output_attentions=True."
            )
        if self._writer is not None and (kind is None or self._writer.failure is None):
            self._writer.close(self._recording, ended=kind is None)

    def called(self, frame: Frame, call: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Call a module; nested tensors, whose attention is not exposed, run with padding instead."""
        output = call(*args, **settings)
        if isinstance(frame.module, FAST_PATHS) and not frame.seen and has_nested(args, settings):
            try:
                with torch.no_grad():
                    given, options = padded(frame.module, args, settings)
                    call(*given, **options)
            except Exception as error:
                if self._is_told(error):
                    raise
                self._lose("nested tensors", error)
        return output

    def returned(self, frame: Frame, output: Any) -> None:
        """Keep the attention of a module that computes it by itself, or count that there should have been one."""
        found: list[tuple[str, AttentionWeights]] = []
        with self._guarded("what a module returned"), torch.no_grad():
            found = found_in(frame, output)
        for door, weights in found:
            self._keep(door, weights)
        if not frame.seen and (reason := why_nothing(frame, output)) is not None:
            self._miss(reason)

    def heard(self, call: Call, run: Run) -> Result:
        """Run a call with its weights and keep them; without dropout on a backend of regard where one accepts it."""
        door = call.given.door
        try:
            # Gradient checkpointing may run it again after the block: then the output is that of an unwatched call.
            apart = not call.alone and runs_again()
            asking = call.asking(self._needs(), apart=apart, compare=self._compares)
            given = call.given
            if isinstance(given, ScaledDotProduct) and given.reason is None and not apart and given.alike():
                # Both return `lse` with the output, so that nothing is computed twice.
                asking = asking.served(*fastest(given.query, given.key, given.value))
            result = run(asking)
        except Exception as error:
            if self._is_told(error):
                raise
            result = run(call)  # what is wrong with the call itself is wrong here too
            self._lose(door, error)
            return result
        if result.weights is None:
            self._miss(f"{door}: {result.reason or 'no weights came back'}")
        else:
            self._keep(door, result.weights, result.difference)
        return result

    def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
        """Keep the weights of `nn.MultiheadAttention`; those of other modules are read when they return."""
        if door != MULTI_HEAD:
            return super().softmax(door, scores, weights)
        found: AttentionWeights | None = None
        with self._guarded(door), torch.no_grad():
            found = weights_of_softmax(scores, weights)
        if found is not None:
            self._keep(door, found)
        return weights

    def _keep(self, door: str, weights: AttentionWeights, difference: float | None = None) -> None:
        """Keep what was asked for of the call that the running module made."""
        frame = self.frame
        frame.seen += 1
        if not self._wanted.layer(frame.name):
            with self._lock:
                self._recording.left_out += 1
            return
        self._wanted.check(frame.name, weights)
        with self._guarded(door), torch.no_grad(), self._lock:
            part = self._wanted.part(weights)
            known = self._recording.last_of(frame.name)
            step, continues = self._growth.step(frame.name, 0 if known is None else known.number, part)
            if known is not None and continues:
                self._append(known, step)
            else:
                self._wanted.begin(frame.name, step, self._growth)
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
    def _guarded(self, what: str) -> Iterator[None]:
        """A fault in recording loses the recording of the call, not the forward pass of the model."""
        try:
            yield
        except KernelError:
            raise
        except Exception as error:
            if isinstance(error, TooLargeError) and self._is_told(error):
                raise
            self._lose(what, error)

    def _is_told(self, error: Exception) -> bool:
        """Say whether an error is one for the user: a kernel that fails, an argument, weights that do not fit."""
        return isinstance(error, RegardError) and not (
            isinstance(error, TooLargeError) and self._wanted.keep != "dense"
        )

    def _lose(self, what: str, error: Exception) -> None:
        """Count a call lost to a fault in recording, and warn."""
        name = self.frame.name
        self._miss(f"{name}: {what}: {type(error).__name__}: {error}")
        warnings.warn(
            f"A call of {what} in {name} was not recorded: {type(error).__name__}: {error}. The model runs on. "
            "This is a fault of regard; please report it.",
            NotRecordedWarning,
            stacklevel=2,
        )

    def _needs(self) -> Literal[True, "summary"]:
        """Return what to ask of the weights of the call that the running module makes."""
        wanted = self._wanted
        return "summary" if wanted.keep == "summary" and wanted.layer(self.frame.name) else True

    def _miss(self, what: str) -> None:
        """Count a call that cannot be recorded."""
        self.frame.seen += 1
        with self._lock:
            self._recording.missed[what] += 1
