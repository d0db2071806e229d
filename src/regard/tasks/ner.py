"""Named entity recognition: which words of a sentence name a person, a place, a function, ..."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .._values import check_shares, check_sizes
from ..corpora import TaggedWords
from ..errors import ArgumentError
from ..models import TokenClassifier, TokenClassifierConfig
from ..models.token_classifier import IGNORED
from ..training import Batches, Budget, Evaluation, Optimizer, TrainingSettings
from ._answering import AnsweringTask
from ._batches import by_length, padded
from ._calibration import right_temperature
from ._chains import Chains, Place, continues
from ._choice import Choice, choose
from ._cutting import Cutting, Span
from ._outside import SettledTags, best_outside
from ._report import NONE, Mistake, Report, calibration, label_rows, most_common, never_given, surest
from ._task import Attention, Goal, MakeBatch, Positions, TaskSettings
from ._vocabulary import UNKNOWN, Vocabulary
from .baselines import Baseline, FeatureChain, MostFrequentTag
from .metrics import entities, entity_scores

# The most frequent words are seldom names and carry the grammar: this many, but at most this share of the
# vocabulary, are never hidden in training.
NEVER_HIDDEN, NEVER_HIDDEN_SHARE = 100, 0.05
# No label counts more than this with `class_weights`.
HEAVIEST = 20.0
Numbers = tuple[list[int], list[list[int]]]
Scored = Callable[[Sequence[Any]], Chains]
# The indices of sentences, and their chains.
Held = Sequence[tuple[Sequence[int], Chains]]


@dataclass(frozen=True)
class NamedEntitySettings(TaskSettings):
    """Size of the model, and what training hides at random."""

    embed_dim: int = 128
    """Width of the model."""
    num_heads: int = 4
    """Attention heads of each layer."""
    num_layers: int = 3
    """Encoder layers."""
    dropout: float = 0.1
    """Dropout of the layers, a probability."""
    positions: Positions = "rotary"
    """The kind of positional encoding; `rotary` learns from little data, absolute positions do not."""
    lowercase: bool = True
    """Whether two words that differ in case share an embedding; characters keep their case."""
    min_count: int = 2
    """Words rarer than this in training have no embedding of their own, only their characters."""
    hide_words: float = 0.3
    """Share of the rarer words that training replaces by "unknown", so that new names are recognised
    from their context."""
    swap_entities: float = 0.3
    """Share of the entities that training replaces by others of the same label and number of words."""
    max_characters: int = 16
    """Most characters of a word; of a longer word the first and last ones are read."""
    repeats: bool = False
    """Whether each word is marked by the position of its first mention; useful in long inputs, where that mention
    tells what a name is."""
    crf: bool = True
    """Whether tags are decoded together (conditional random field) or each by itself."""
    class_weights: bool = False
    """Whether words of rare labels count more in the loss, up to 20-fold."""
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            optimizer=Optimizer(lr=2e-3, weight_decay=0.05),
            batches=Batches(tokens_per_step=2048),
            budget=Budget(epochs=20),
            evaluation=Evaluation(patience=5),
        )
    )
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "embed_dim", "num_heads", "min_count", "max_characters")
        check_sizes(self, "num_layers", low=0)
        check_shares(self, "dropout")
        check_shares(self, "hide_words", "swap_entities", whole=True)


@dataclass(frozen=True)
class Entity:
    """A named entity: words `start` to `stop` (exclusive) of a sentence, characters `start_char` to `end_char`."""

    label: str
    start: int
    stop: int
    text: str
    start_char: int = 0
    end_char: int = 0
    confidence: float | None = None
    """The calibrated probability that exactly these words are an entity of this label; None if nobody guessed it."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with the tags that the model gave it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    text: str = ""
    """The text that the words were cut from; words that were given are joined by blanks."""
    spans: tuple[Span, ...] = ()
    """The first character of each word in the text, and the one after its last."""
    confidences: tuple[float, ...] = ()
    """The confidence of each entity, in order; empty if nobody guessed the tags."""

    def __post_init__(self) -> None:
        if not self.spans:
            ends = list(accumulate(len(word) + 1 for word in self.words))
            spans = tuple((end - 1 - len(word), end - 1) for word, end in zip(self.words, ends, strict=True))
            object.__setattr__(self, "text", " ".join(self.words))
            object.__setattr__(self, "spans", spans)

    @property
    def entities(self) -> list[Entity]:
        """The entities of the tags, in order."""
        found = []
        tagged = entities(self.tags)
        sure = self.confidences or (None,) * len(tagged)
        for (label, start, stop), confidence in zip(tagged, sure, strict=True):
            first, last = self.spans[start][0], self.spans[stop - 1][1]
            found.append(Entity(label, start, stop, self.text[first:last], first, last, confidence))
        return found


class NamedEntities(AnsweringTask[Sequence[TaggedWords], Sentence]):
    """Tags every word with the entity it belongs to (IOB2).

    A word's input is an embedding and its characters; a transformer encoder reads the sentence; tags are
    decoded as a chain. `predict` takes texts, or lists of words.
    """

    name: ClassVar[str] = "ner"
    headline: ClassVar[str] = "f1"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(
        ("f1", "precision", "recall", "macro_f1", "token_accuracy"), "max"
    )
    Settings = NamedEntitySettings
    takes: ClassVar[str] = "a list of texts, or of lists of words"
    mixes: ClassVar[bool] = True
    settled_: dict[float, SettledTags]
    """By the share of the transformer: the baseline alone, what answers, the transformer alone."""

    def _learn_labels(self, examples: Sequence[TaggedWords]) -> None:
        tags = sorted({tag for example in examples for tag in example.tags}, key=lambda tag: (tag != "O", tag))
        if tags == ["O"] or not tags:
            raise ArgumentError("No word of the training examples has a tag other than O: there is nothing to learn.")
        self.tags_, self.settled_, self.counts_ = tags, {}, self._label_counts(examples)
        self.cutting_ = Cutting.learnt([example.words for example in examples])

    def _learn(self, examples: Sequence[TaggedWords]) -> None:
        self._learn_labels(examples)
        words = [word for example in examples for word in example.words]
        self.words_ = self._known(
            "words_", lambda: Vocabulary.learnt(map(self._fold, words), at_least=self.settings.min_count)
        )
        self.characters_ = self._known(
            "characters_", lambda: Vocabulary.learnt(character for word in words for character in word)
        )

    def _build(self) -> nn.Module:
        settings = self.settings
        return TokenClassifier(
            TokenClassifierConfig(
                vocab_size=len(self.words_),
                num_labels=len(self.tags_),
                tags=tuple(self.tags_),
                char_vocab_size=len(self.characters_),
                crf=settings.crf,
                repeats=settings.repeats,
                embed_dim=settings.embed_dim,
                num_heads=settings.num_heads,
                num_layers=settings.num_layers,
                dropout=settings.dropout,
                positions=settings.positions,
            )
        )

    def _load_model(self, folder: Path) -> nn.Module:
        return TokenClassifier.from_pretrained(folder)

    def _encode(self, examples: Sequence[TaggedWords]) -> tuple[list[int], MakeBatch]:
        rows = [self._numbers(example.words) for example in examples]
        swaps = _Swaps(examples, rows)
        number = {tag: index for index, tag in enumerate(self.tags_)}
        targets = [[number[tag] for tag in example.tags] for example in examples]

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, ...]:
            share = self.settings.swap_entities
            words, characters, lengths = self._stack([swaps.changed(i, share, random) for i in indices])
            tags, _ = padded([targets[i] for i in indices], fill=IGNORED)
            rare = words >= min(NEVER_HIDDEN, NEVER_HIDDEN_SHARE * len(self.words_)) + 2
            hidden = torch.from_numpy(random.random(tuple(words.shape)) < self.settings.hide_words)
            return words.masked_fill(rare & hidden, UNKNOWN), characters, lengths, tags

        return [len(example.words) for example in examples], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        words, characters, lengths, tags = batch
        scores = model(words, lengths, characters=characters)
        total, count = model.loss(scores, tags)  # type: ignore[operator]
        if self.settings.class_weights:  # a chain has one loss for the sentence; the rest is added by word
            more = self._tag_weights().to(scores.device) - 1
            total = total + F.cross_entropy(
                scores.flatten(0, 1).float(), tags.flatten(), more, ignore_index=IGNORED, reduction="sum"
            )
        return total, count

    def _tag_weights(self) -> Tensor:
        """Return the weight of each tag, (T,): 1 for O and the most frequent label, more the rarer another is."""
        counts = [self.counts_.get(tag[2:], 0) for tag in self.tags_]
        weights = [max(counts) / count if count else 1.0 for count in counts]
        return torch.tensor(weights).clamp(max=HEAVIEST)

    def _inputs(self, examples: Sequence[TaggedWords]) -> Sequence[Any]:
        return [example.words for example in examples]

    def _checked(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [tuple(self.cutting_.cut(one) if isinstance(one, str) else one) for one in super()._checked(inputs)]

    def predict(self, inputs: Sequence[Any]) -> list[Sentence]:
        """Tag texts, cut into words as the training data was, or lists of words.

        A text with more words than every training sentence is tagged a sentence at a time.
        """
        if isinstance(inputs, str) or not hasattr(self, "cutting_"):
            return super().predict(inputs)
        cut = [self.cutting_.sentences(one) if isinstance(one, str) else None for one in inputs]
        rows: list[Any] = []
        for one, parts in zip(inputs, cut, strict=True):
            rows += [one] if parts is None else [tuple(one[start:end] for start, end in part) for part in parts]
        answers = iter(super().predict(rows))
        return [
            next(answers) if parts is None else _joined(one, parts, list(islice(answers, len(parts))))
            for one, parts in zip(inputs, cut, strict=True)
        ]

    @torch.no_grad()
    def _answers(self, model: nn.Module, inputs: Sequence[Any]) -> list[Sentence]:
        return self._tagged(inputs, lambda some: self._chains(model, some), None)

    @torch.no_grad()
    def _used(self, inputs: Sequence[Any], share: float) -> list[Sentence]:
        settled = self.settled_.get(share, SettledTags())
        return self._tagged(inputs, lambda some: self._mixed(some, share), settled)

    def _baseline_answers(self, inputs: Sequence[Any]) -> list[Sentence]:
        return self._used(inputs, 0.0)

    def _tagged(self, inputs: Sequence[Any], scored: Scored, settled: SettledTags | None) -> list[Sentence]:
        """Return sentences with their best tags; with the confidence of their entities where that is settled."""
        found: list[Sentence] = [Sentence((), ())] * len(inputs)
        after = continues(self.tags_)
        for group in self._going(by_length([len(words) for words in inputs], at_once=8192), len(inputs)):
            rows = [i for i in group if inputs[i]]
            if not rows:
                continue
            chains = scored([inputs[i] for i in rows])
            best = chains.lowered(self._outside(), settled.outside if settled else 0.0).best()
            cool = (
                None if settled is None else chains.lowered(self._outside(), settled.shift).cooled(settled.temperature)
            )
            sure = [] if cool is None else cool.chances(self._places(best), best, after)
            for i, numbers in zip(rows, best, strict=True):
                tags = tuple(self.tags_[number] for number in numbers)
                count = len(entities(tags))
                found[i] = Sentence(tuple(inputs[i]), tags, confidences=tuple(sure[:count]))
                sure = sure[count:]
        return found

    def _mixed(self, sentences: Sequence[Any], share: float) -> Chains:
        """Return the scores of tags, `share` of them the transformer's and the rest the baseline's."""
        if share == 1:
            return self._chains(self._fitted(), sentences)
        baseline: Any = self.baseline_
        cheap: Chains = baseline.chains(sentences)
        return cheap if share == 0 else self._chains(self._fitted(), sentences).mixed(cheap, share)

    def _chains(self, model: nn.Module, sentences: Sequence[Any]) -> Chains:
        """Return the model's scores of the tags of sentences, on the CPU."""
        device = next(model.parameters()).device
        words, characters, lengths = self._stack([self._numbers(one) for one in sentences])
        scores = model(words.to(device), lengths.to(device), characters=characters.to(device))
        start, between, end = (one.detach().cpu() for one in model.transitions())  # type: ignore[operator]
        return Chains(scores.float().cpu(), lengths, start, between, end)

    def _places(self, numbers: list[list[int]]) -> list[Place]:
        """Return the entities in the tags of a batch: sentence, first word, word after the last."""
        tagged = ([self.tags_[number] for number in tags] for tags in numbers)
        return [(row, start, stop) for row, tags in enumerate(tagged) for _, start, stop in entities(tags)]

    def _outside(self) -> int:
        """Return the number of the tag O; the first tag in data whose every word is part of an entity."""
        return self.tags_.index("O") if "O" in self.tags_ else 0

    def _settle(self, dev_examples: Sequence[TaggedWords]) -> None:
        """Choose what answers, how far O is lowered, and the temperature at which confidences say what is right."""
        shares = self._shares()
        alone = {share for share in (0.0, 1.0) if self._can(share)}  # also what does not answer is shown at its best
        found = {share: self._settled(dev_examples, share) for share in sorted({*shares, *alone})}
        trials = {share: found[share][1] for share in shares}
        self.choice_ = choose(trials, self.watched, self.goal) if len(shares) > 1 else Choice(shares[0])
        self.settled_ = {share: one for share, (one, _) in found.items() if share in (*alone, self.choice_.share)}

    def _settled(self, examples: Sequence[TaggedWords], share: float) -> tuple[SettledTags, Mapping[str, float]]:
        """Return what examples settle for one share of the transformer, and the figures with it."""
        tags = [example.tags for example in examples]
        held = self._held(examples, lambda some: self._mixed(some, share))
        outside, plain, best = self._lowered(tags, held)
        true = [set(entities(one)) for one in tags]
        heat, shift = self._heat(held, outside, self._decoded(held, outside), true)
        return SettledTags(heat, outside, plain[self.watched], best[self.watched], shift), best

    def _at_best(self, model: nn.Module, dev_examples: Sequence[TaggedWords]) -> list[Sentence]:
        held = self._held(dev_examples, lambda some: self._chains(model, some))
        outside = self._lowered([example.tags for example in dev_examples], held)[0]
        found = self._decoded(held, outside)
        return [Sentence(tuple(one.words), tags) for one, tags in zip(dev_examples, found, strict=True)]

    def _held(self, examples: Sequence[TaggedWords], scored: Scored) -> Held:
        """Return the chains of examples."""
        groups = by_length([len(example.words) for example in examples], at_once=8192)
        return [(group, scored([examples[i].words for i in group])) for group in self._going(groups, len(examples))]

    def _lowered(
        self, tags: Sequence[Sequence[str]], held: Held
    ) -> tuple[float, Mapping[str, float], Mapping[str, float]]:
        """Return how far O is best lowered, the figures without that and those with it."""

        def figures(amount: float) -> Mapping[str, float]:
            return entity_scores(tags, self._decoded(held, amount)).figures()

        plain = figures(0.0)
        if "O" not in self.tags_:
            return 0.0, plain, plain
        return best_outside(figures, plain, self.watched, sum(len(entities(one)) for one in tags))

    def _decoded(self, held: Held, outside: float) -> list[tuple[str, ...]]:
        """Return the best tags of the sentences of chains, O lowered by `outside`."""
        found: list[tuple[str, ...]] = [()] * sum(len(group) for group, _ in held)
        for group, chains in held:
            for i, numbers in zip(group, chains.lowered(self._outside(), outside).best(), strict=True):
                found[i] = tuple(self.tags_[number] for number in numbers)
        return found

    def _heat(
        self, held: Held, outside: float, tags: Sequence[Sequence[str]], true: Sequence[set[Any]]
    ) -> tuple[float, float]:
        """Return the temperature, and how far O is lowered, at which chances foretell which entities are `true`.

        Not lowered, chances are too small where the model thinks too little of entities; lowered as the tags are, they
        are too large where it was right. Of both and what lies between, the one that foretells best.
        """
        number, after = {tag: place for place, tag in enumerate(self.tags_)}, continues(self.tags_)
        numbers = [[[number[tag] for tag in tags[i]] for i in group] for group, _ in held]
        places = [self._places(some) for some in numbers]
        right = [span in true[i] for group, _ in held for i in group for span in entities(tags[i])]
        if not right:
            return 1.0, 0.0

        def fitted(shift: float) -> tuple[float, float, float]:
            lower = [chains.lowered(self._outside(), shift) for _, chains in held]

            def chances(temperature: float) -> Tensor:
                parts = zip(lower, places, numbers, strict=True)
                some = (chains.cooled(temperature).chances(at, best, after) for chains, at, best in parts)
                return torch.tensor([chance for part in some for chance in part])

            return *right_temperature(chances, torch.tensor(right)), shift

        _, temperature, shift = min(fitted(shift) for shift in {0.0, outside / 2, outside})
        return temperature, shift

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        device = next(model.parameters()).device
        words, characters, lengths = (x.to(device) for x in self._stack([self._numbers(one)]))
        _, weights = model(words, lengths, characters=characters, need_weights=True)
        return Attention(weights, tuple(one), labels=self._used([one], 1.0)[0].tags)

    def _figures(self, examples: Sequence[TaggedWords], answers: Sequence[Sentence]) -> dict[str, float]:
        scores = entity_scores([example.tags for example in examples], [answer.tags for answer in answers])
        return scores.figures()

    def _label_counts(self, examples: Sequence[TaggedWords]) -> Counter[str]:
        return Counter(label for example in examples for label, _, _ in entities(example.tags))

    def settled_said(self) -> str:
        settled: dict[float, SettledTags] = getattr(self, "settled_", {})
        return settled.get(self.choice_.share, SettledTags()).said(self.watched)

    def _known_labels(self) -> set[str]:
        return {tag[2:] for tag in self.tags_ if tag != "O"}

    def _report(self, examples: Sequence[TaggedWords], answers: Sequence[Sentence]) -> Report:
        true, given, right = Counter[str](), Counter[str](), Counter[str]()
        confused: Counter[tuple[str, str]] = Counter()
        sure: list[tuple[float, bool]] = []
        mistakes: list[Mistake] = []
        for example, answer in zip(examples, answers, strict=True):
            spans = entities(example.tags)
            true.update(label for label, _, _ in spans)
            words = zip(example.tags, answer.tags, strict=True)
            confused.update((one[2:] or NONE, two[2:] or NONE) for one, two in words if (one, two) != ("O", "O"))
            for entity in answer.entities:
                good = (entity.label, entity.start, entity.stop) in spans
                given[entity.label] += 1
                right[entity.label] += good
                sure += [] if entity.confidence is None else [(entity.confidence, good)]
                if not good:
                    there = [
                        f"{label}: {' '.join(example.words[start:stop])}"
                        for label, start, stop in spans
                        if start < entity.stop and entity.start < stop
                    ]
                    found = f"{entity.label}: {entity.text}"
                    mistakes.append(
                        Mistake(" ".join(example.words), "; ".join(there) or NONE, found, entity.confidence)
                    )
        rows = label_rows(true, given, right)
        bins, error = calibration(sure)
        remarks = (*never_given(rows, self._known_labels()), *self._unknown(examples))
        return Report(rows, most_common(confused), "words", surest(mistakes), bins, error, remarks)

    def _called(self, answers: Sequence[Sentence]) -> set[str]:
        return {entity.label for answer in answers for entity in answer.entities}

    def _fit_baseline(self, train_examples: Sequence[TaggedWords]) -> Baseline:
        try:
            return FeatureChain.fit(train_examples, self.tags_)
        except ImportError:
            return MostFrequentTag.fit(train_examples, self.tags_)

    def _tag_state(self) -> dict[str, Any]:
        settled = [{"share": share, **dataclasses.asdict(one)} for share, one in self.settled_.items()]
        return {"tags": self.tags_, "settled": settled, "cutting": self.cutting_.to_dict()}

    def _restore_tags(self, state: dict[str, Any]) -> None:
        self.tags_ = list(state["tags"])
        self.settled_ = {share: SettledTags(heat) for share, heat in state.get("heat", [])}  # as version 0.1 stored it
        for one in state.get("settled", []):
            self.settled_[one["share"]] = SettledTags(*(one[field.name] for field in dataclasses.fields(SettledTags)))
        self.cutting_ = Cutting.from_dict(state.get("cutting"))

    def _state(self) -> dict[str, Any]:
        return {**self._tag_state(), "words": self.words_.things, "characters": self.characters_.things}

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_tags(state)
        self.words_, self.characters_ = Vocabulary(state["words"]), Vocabulary(state["characters"])

    def _fold(self, word: str) -> str:
        return word.lower() if self.settings.lowercase else word

    def _numbers(self, words: Sequence[str]) -> Numbers:
        """Return the ids of words, and of the characters of each."""
        half = self.settings.max_characters // 2
        cut = [word if len(word) <= 2 * half else word[:half] + word[-half:] for word in words]
        return [self.words_[self._fold(word)] for word in words], [
            [self.characters_[character] for character in word] for word in cut
        ]

    def _stack(self, rows: Sequence[Numbers]) -> tuple[Tensor, Tensor, Tensor]:
        """Stack sentences: words (B, L), characters (B, L, W), lengths (B,)."""
        words, lengths = padded([row[0] for row in rows])
        width = max((len(word) for row in rows for word in row[1]), default=1)
        characters = np.zeros((*words.shape, max(1, width)), dtype=np.int64)
        for sentence, row in zip(characters, rows, strict=True):
            for place, word in zip(sentence, row[1], strict=False):
                place[: len(word)] = word
        return words, torch.from_numpy(characters), lengths


def _joined(text: str, parts: Sequence[Sequence[Span]], answers: Sequence[Sentence]) -> Sentence:
    """Return the answers to the parts of a text as one, with the places of its words."""
    spans = tuple(span for part in parts for span in part)
    if not spans:
        return answers[0]
    lists = [field.name for field in dataclasses.fields(Sentence) if isinstance(getattr(answers[0], field.name), tuple)]
    whole: dict[str, Any] = {name: tuple(x for one in answers for x in getattr(one, name)) for name in lists}
    return dataclasses.replace(answers[0], **{**whole, "text": text, "spans": spans})


class _Swaps:
    """The entities of the training sentences, to be swapped in training."""

    def __init__(self, examples: Sequence[TaggedWords], rows: Sequence[Numbers]) -> None:
        self._rows = rows
        self._spans = [entities(example.tags) for example in examples]
        self._alike: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for number, spans in enumerate(self._spans):
            for label, start, stop in spans:
                self._alike.setdefault((label, stop - start), []).append((number, start))

    def changed(self, number: int, share: float, random: np.random.Generator) -> Numbers:
        """Return a sentence with some entities replaced by others of the same label and length."""
        words, characters = self._rows[number]
        spans = [span for span in self._spans[number] if random.random() < share]
        if not spans:
            return words, characters
        words, characters = list(words), list(characters)
        for label, start, stop in spans:
            alike = self._alike[label, stop - start]
            other, place = alike[int(random.integers(len(alike)))]
            other_words, other_characters = self._rows[other]
            words[start:stop] = other_words[place : place + stop - start]
            characters[start:stop] = other_characters[place : place + stop - start]
        return words, characters
