"""Texts as overlapping windows of tokens, and words found again in them by character offsets."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What tokenizers without a limit say.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class Window:
    """A piece of a text that a model reads at once."""

    text: int
    """Index of the text."""
    tokens: tuple[int, ...]
    """Ids, special tokens included."""
    spans: tuple[tuple[int, int], ...]
    """For each token its first character and the one after its last; equal for special tokens."""
    first: bool
    """Whether the text begins here."""
    last: bool
    """Whether the text ends here."""

    def distance(self, place: int) -> float:
        """Return how many tokens lie between a token and the nearest edge where the text goes on."""
        before = math.inf if self.first else place
        after = math.inf if self.last else len(self.tokens) - 1 - place
        return min(before, after)


def longest(tokenizer: Any, config: Any, most: int) -> int:
    """Return how many tokens a model can read at once, special ones included, and at most `most`."""
    limits = [most]
    if getattr(tokenizer, "model_max_length", _NO_LIMIT) < _NO_LIMIT:
        limits.append(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin number positions from the one after padding.
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET else 0
        limits.append(positions - offset)
    return min(limits)


_OFFSET = {
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer", "mpnet", "ibert",
    "data2vec-text", "luke", "esm", "xmod",
}  # fmt: skip


def windows_of(tokenizer: Any, texts: Sequence[str], most: int) -> list[Window]:
    """Cut texts into windows of at most `most` tokens; neighbours of one text share half of theirs.

    An empty text is one window of special tokens, or of the unknown token where there are none. A tokenizer in Python,
    which knows no places of its tokens, reads a text word by word.
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        return [window for number, text in enumerate(texts) for window in _word_by_word(tokenizer, number, text, most)]
    special = tokenizer.num_special_tokens_to_add()
    room = max(1, most - special)
    found = tokenizer(
        list(texts), truncation=True, max_length=room + special, stride=room // 2, return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    owners = found["overflow_to_sample_mapping"]
    windows = []
    for number, (owner, ids) in enumerate(zip(owners, found["input_ids"], strict=True)):
        spans = tuple((int(start), int(stop)) for start, stop in found["offset_mapping"][number])
        first = number == 0 or owners[number - 1] != owner
        last = number + 1 == len(owners) or owners[number + 1] != owner
        if not ids:
            ids, spans = [tokenizer.unk_token_id or tokenizer.eos_token_id or 0], ((0, 0),)
        windows.append(Window(owner, tuple(ids), spans, first, last))
    return windows


def _word_by_word(tokenizer: Any, number: int, text: str, most: int) -> list[Window]:
    """Cut a text into windows; each token has the place of its whole word."""
    around = tokenizer.build_inputs_with_special_tokens([-1])
    middle = around.index(-1)
    before, after = around[:middle], around[middle + 1 :]
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for word in re.finditer(r"\S+", text):
        some = tokenizer.encode(word.group(), add_special_tokens=False)
        ids += some
        spans += [word.span()] * len(some)
    if not ids and not before and not after:
        ids, spans = [tokenizer.unk_token_id or 0], [(0, 0)]
    room = max(1, most - len(around) + 1)
    starts = range(0, max(1, len(ids) - room // 2), max(1, room - room // 2))
    none = (0, 0)
    return [
        Window(
            number,
            (*before, *ids[start : start + room], *after),
            (*[none] * len(before), *spans[start : start + room], *[none] * len(after)),
            first=start == 0,
            last=start + room >= len(ids),
        )
        for start in starts
    ]


def place_words(
    windows: Sequence[Window], words: Sequence[Sequence[str]], joined: Sequence[str]
) -> list[dict[int, int]]:
    """Return for each window which word is decided at which of its tokens: word by index of the token.

    A word's first token speaks for it, in the window where that is furthest from an edge. Tokens may begin with the
    blank before a word. A word of which no character became a token is nowhere.

    Args:
        windows: of all texts.
        words: of each text.
        joined: the texts, the words with one blank between.
    """
    starts = [_starts(some) for some in words]
    # The earliest character, then the window where its token is furthest from an edge.
    best: dict[tuple[int, int], tuple[int, float, int, int]] = {}
    for number, window in enumerate(windows):
        seen: set[int] = set()
        for place, (start, stop) in enumerate(window.spans):
            piece = joined[window.text][start:stop]
            begin = start + len(piece) - len(piece.lstrip())
            if begin >= stop:
                continue
            word = starts[window.text][begin]
            if word >= 0 and word not in seen:
                seen.add(word)
                offered = (-begin, window.distance(place), -number, -place)
                best[window.text, word] = max(offered, best.get((window.text, word), offered))
    decided: list[dict[int, int]] = [{} for _ in windows]
    for (_, word), (_, _, number, place) in best.items():
        decided[-number][-place] = word
    return decided


def _starts(words: Sequence[str]) -> list[int]:
    """Return the word of each character of the joined words; -1 for the blanks between."""
    found: list[int] = []
    for number, word in enumerate(words):
        found += ([-1] if number else []) + [number] * len(word)
    return found
