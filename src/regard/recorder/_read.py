"""`load`: a recording from disk. What it says is checked first, what it holds is read when it is asked for."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable

from ..errors import RecordingFileError
from ..weights import AttentionWeights, RestoredWeights, StoredWeights, Summary, WeightSource
from ._archive import Archive, open_archive
from ._arrays import CallReader
from ._document import read_call, read_root
from ._recording import RecordedCall, Recording
from ._text_columns import read_texts

__all__ = ["load"]

# Exact calls whose query and key are remembered.
_RECENT = 4


def load(path: str | os.PathLike[str]) -> Recording:
    """Open a recording that `recording.save(path)` or `regard.watch(..., folder=path)` wrote.

    Args:
        path: the `.regard` file or the folder. Neither is trusted: nothing in it is run, sizes are checked before
            memory is taken, and what is damaged is an error.

    Returns:
        A `Recording` like the one that was saved. The weights of a call are read when they are asked for: summaries
        as they were recorded, and with keep="exact" every entry, computed from the query and key on disk. Where a
        part is missing the numbers are NaN (-2 in integers), with a `NotRecordedWarning`. A run that died gives the
        calls that it had finished; the recording then says so.

    Raises:
        RecordingFileError: the path holds no recording, a damaged one, or one of a later version.

    Opening reads one small document a call. Needs no package beyond the base install.

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
    return LoadedRecording(open_archive(path))


class LoadedRecording(Recording):
    """A recording whose calls lie on disk."""

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        root = read_root(archive)
        self.missed.update(root.missed)
        self.left_out, self.difference = root.left_out, root.difference
        if root.texts is not None if root.ended else archive.size("texts/zarr.json") is not None:
            self.texts = read_texts(archive, root.texts if root.ended else None)
        self.ended = root.ended
        """Whether the run came to its end."""
        recent = _Recent()
        checks = list(root.checks) if root.ended else [None] * archive.calls()
        for position, check in enumerate(checks):
            self._append(LoadedCall(CallReader(archive, read_call(archive, position, check)), recent))

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

    def __init__(self, reader: CallReader, recent: _Recent) -> None:
        document = reader.document
        self.key, self.module, self.number, self.door = document.key, document.module, document.number, document.door
        self.heads, self.passes, self.grown = document.heads, document.passes, None
        self._reader, self._recent = reader, recent
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
        reader, recent = self._reader, self._recent
        document, summary = reader.document, reader.summary()
        if document.exact is None:
            return StoredWeights(summary, document.rank)
        return RestoredWeights(
            summary,
            lambda: recent.source(reader, summary),
            document.rank,
            sums_to_one=document.sums_to_one,
        )


class _Recent:
    """Remembers the matrices that were used last, so that browsing through a recording takes bounded memory."""

    def __init__(self) -> None:
        self._sources: OrderedDict[int, WeightSource] = OrderedDict()
        self._lock = threading.Lock()

    def source(self, reader: CallReader, summary: Summary) -> WeightSource:
        """Return the matrix of a call."""
        position = reader.document.position
        with self._lock:
            found = self._sources.pop(position, None) or reader.source(summary)
            self._sources[position] = found
            while len(self._sources) > _RECENT:
                self._sources.popitem(last=False)
            return found
