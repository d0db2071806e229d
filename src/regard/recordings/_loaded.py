"""`load`: a recording from disk. What it says is checked first, what it holds is read when it is asked for."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable

from ..errors import RecordingFileError
from ..weights import AttentionWeights, Summary, WeightSource
from ._call import RecordedCall
from ._call_file import CallFile
from ._documents import Fields, read_document
from ._pieces import Pieces, call_name, open_pieces
from ._recording import Recording
from ._text_file import texts_of
from ._writing import FORMAT, ROOT, TEXTS, VERSION

# The root of recordings of the versions before 2.
_OLD_ROOT = "zarr.json"
_CRC = 0xFFFFFFFF
# Exact calls whose query and key are remembered.
_RECENT = 4


def load(path: str | os.PathLike[str]) -> Recording:
    """Open a recording that `recording.save(path)` or `regard.watch(..., folder=path)` wrote.

    Args:
        path: the `.regard` file or the folder. Neither is trusted: nothing in it is run, sizes are checked before
            memory is taken, and what is damaged is an error.

    Returns:
        A `Recording` like the one that was saved. The weights of a call are read when they are asked for: summaries
        as they were recorded, and with keep="exact" every entry, computed from the query and key on disk. A run that
        died gives the calls that it had finished; the recording then says so.

    Raises:
        RecordingFileError: the path holds no recording, a damaged one, or one of another version. What is damaged
            inside a call is told when it is read.

    Opening reads the header of each call. Needs no package beyond the base install.

    >>> import regard, tempfile, torch
    >>> layer = torch.nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    >>> with regard.watch(layer) as recording:
    ...     out = layer(torch.randn(1, 5, 16))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recording.save(f"{folder}/run.regard")
    ...     again = regard.load(f"{folder}/run.regard")
    ...     bool(torch.equal(again[0].entropy(), recording[0].entropy()))
    True
    """
    return LoadedRecording(open_pieces(path))


def _read_root(pieces: Pieces) -> Fields:
    if pieces.find(ROOT) is None and pieces.find(_OLD_ROOT) is not None:
        raise RecordingFileError(
            f"{str(pieces.path)!r} was written by an older version of regard, in a format that is read no more: open "
            "it with that version, or record again."
        )
    told = read_document(pieces.get(ROOT))
    if told.text("format") != FORMAT:
        told.refuse("is of another format")
    version = told.whole("version")
    if version != VERSION:
        raise RecordingFileError(
            f"{str(pieces.path)!r} is in version {version} of the format, which another version of regard wrote; this "
            f"one reads version {VERSION}."
        )
    return told


class LoadedRecording(Recording):
    """A recording whose calls lie on disk."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        told = _read_root(pieces)
        missed = told.below("missed")
        self.missed.update({what: missed.whole(what, 1) for what in missed.value})
        self.left_out = told.whole("left_out")
        self.difference = told.number("difference") if told.has("difference") else None
        self.ended = told.flag("ended")
        """Whether the run came to its end; each file then has a check."""
        check = told.whole("texts", high=_CRC) if told.has("texts") else None
        if check is not None or (not self.ended and pieces.find(TEXTS) is not None):
            self.texts = texts_of(read_document(pieces.get(TEXTS), check if self.ended else None))
        recent = _Recent()
        checks = told.wholes("calls", high=_CRC) if self.ended else (None,) * pieces.calls()
        for position, check in enumerate(checks):
            self._append(LoadedCall(CallFile(pieces.get(call_name(position)), position, check), recent))

    def _append(self, call: RecordedCall) -> None:
        if call.key in self._keys:
            raise RecordingFileError(f"Two calls of this recording are named {call.key[:200]!r}: it is damaged.")
        self.calls.append(call)
        self._keys[call.key] = call
        self._numbers[call.module] += 1

    def __repr__(self) -> str:
        """Say the coverage, and whether the run ended."""
        return super().__repr__() + ("" if self.ended else "\n   the run did not end; these calls were finished")


class LoadedCall(RecordedCall):
    """A call on disk; its weights are read when they are asked for, and let go when nobody holds them."""

    def __init__(self, file: CallFile, recent: _Recent) -> None:
        self.file = file
        """Reads its tensors by name."""
        self.key, self.module, self.number, self.door = file.key, file.module, file.number, file.door
        self.heads, self.backend, self.passes, self.grown = file.heads, file.backend, file.passes, None
        self._recent = recent
        self._held: Callable[[], AttentionWeights | None] = lambda: None

    @property
    def weights(self) -> AttentionWeights:
        """Of exactly this call, without gradient."""
        found: AttentionWeights | None = self._held()
        if found is None:
            found = self._read()
            self._held = weakref.ref(found)
        return found

    @property
    def kept(self) -> AttentionWeights:  # type: ignore[override]  # an attribute of the others
        """Its weights."""
        return self.weights

    def _read(self) -> AttentionWeights:
        file, recent = self.file, self._recent
        summary = file.summary()
        fetch = (lambda: recent.source(file, summary)) if file.exact else None
        return AttentionWeights.of_summary(summary, file.rank, sums_to_one=file.sums_to_one, fetch=fetch)


class _Recent:
    """Remembers the matrices that were used last, so that browsing through a recording takes bounded memory."""

    def __init__(self) -> None:
        self._sources: OrderedDict[int, WeightSource] = OrderedDict()
        self._lock = threading.Lock()

    def source(self, file: CallFile, summary: Summary) -> WeightSource:
        """Return the matrix of a call."""
        position = file.position
        with self._lock:
            found = self._sources.pop(position, None) or file.source(summary)
            self._sources[position] = found
            while len(self._sources) > _RECENT:
                self._sources.popitem(last=False)
            return found
