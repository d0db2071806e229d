"""What the tasks share that give a text or a picture its label, or its labels."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._answering import AnsweringTask
from ._calibration import cooled, label_temperature
from ._choice import Choice, choose
from ._report import NONE, Mistake, Report, calibration, label_rows, most_common, never_given, surest
from .metrics import classification_scores

Examples = TypeVar("Examples", bound=Any)

# No label counts more than this with `class_weights`.
HEAVIEST = 20.0


@dataclass(frozen=True)
class Verdict:
    """The answer for a text or picture: its labels, and the calibrated probability of every label."""

    labels: tuple[str, ...]
    """The label; where examples have several, each that is likely enough."""
    probabilities: dict[str, float]
    """The probability of each label: of one in all, or of each by itself where examples have several."""
    several: bool = False
    """Whether examples may have several labels."""

    @property
    def confidence(self) -> float:
        """The probability that `labels` is right: of the label; of exactly these, taken as independent, if several."""
        if not self.several:
            return self.probabilities[self.labels[0]]
        return math.prod(p if label in self.labels else 1 - p for label, p in self.probabilities.items())


@dataclass(frozen=True)
class Settled:
    """What the development examples settled for one share of the transformer."""

    temperature: float = 1.0
    """The temperature of the mix."""
    thresholds: tuple[float, ...] = ()
    """The least probability of each label that is called, if examples have several."""


class ClassTask(AnsweringTask[Examples, Verdict]):
    """A task whose answer is a label, or several."""

    labels_: list[str]
    counts_: dict[str, int]
    """How often each label occurs in training."""
    examples_: int
    several_: bool
    always_one_: bool
    heat_: tuple[float, ...]
    """The temperatures of the transformer and of the baseline."""
    settled_: dict[float, Settled]
    """By the share of the transformer: the baseline alone, what answers, the transformer alone."""
    mixes: ClassVar[bool] = True

    def _count_labels(self, labels: Sequence[Sequence[str]]) -> None:
        """Learn which labels there are, and whether an example has exactly one."""
        counted = Counter(label for some in labels for label in some)
        self.labels_ = sorted(counted)
        self.counts_ = {label: counted[label] for label in self.labels_}
        self.examples_ = len(labels)
        self.several_ = any(len(some) != 1 for some in labels)
        self.always_one_ = all(labels)
        self.heat_, self.settled_ = (1.0, 1.0), {}

    def _label_cost(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of examples, and their number; both arguments are (B, labels).

        With `class_weights` an example counts by the rarity of its labels, 1 on average.
        """
        smooth, weight = self.settings.label_smoothing, None
        if self.settings.class_weights:
            counts = torch.tensor([self.counts_[label] for label in self.labels_], device=scores.device)
            weight = (self.examples_ - counts) / counts if self.several_ else counts.sum() / (len(counts) * counts)
            weight = weight.clamp(max=HEAVIEST)
        if self.several_:
            soft = targets * (1 - smooth) + smooth / 2
            loss = F.binary_cross_entropy_with_logits(scores, soft, pos_weight=weight, reduction="sum")
        else:
            loss = F.cross_entropy(scores, targets, weight, label_smoothing=smooth, reduction="sum")
        return loss, torch.tensor(len(scores))

    @abstractmethod
    def _labels(self, examples: Examples) -> Sequence[tuple[str, ...]]:
        """Return the true labels of each example."""

    @abstractmethod
    def _logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the model's logits on the CPU, float32 (N, labels)."""

    def _speaks(self, inputs: Any) -> Tensor:
        """Return which inputs hold anything that the model knows, bool (N,)."""
        return torch.ones(len(inputs), dtype=torch.bool)

    def _targets(self, examples: Examples) -> Tensor:
        """Return the target probability of each label for each example, (N, labels); unknown labels have no place."""
        number = {label: index for index, label in enumerate(self.labels_)}
        labels = self._labels(examples)
        targets = torch.zeros(len(labels), len(self.labels_))
        for row, some in zip(targets, labels, strict=True):
            row[[number[label] for label in some if label in number]] = 1
        return targets

    @torch.no_grad()
    def _answers(self, model: nn.Module, inputs: Any) -> list[Verdict]:
        return self._verdicts(self._likely(self._logits(model, inputs)), inputs, Settled())

    @torch.no_grad()
    def _used(self, inputs: Any, share: float) -> list[Verdict]:
        settled = self.settled_.get(share, Settled())
        return self._verdicts(cooled(self._mixed(inputs, share), settled.temperature, self.several_), inputs, settled)

    def _baseline_answers(self, inputs: Any) -> list[Verdict]:
        return self._used(inputs, 0.0)

    def _likely(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.several_ else logits.softmax(-1)

    def _mixed(self, inputs: Any, share: float) -> Tensor:
        """Return the probability of each label, (N, labels): a weighted mean of the transformer's and the baseline's.

        Each is brought to its own best temperature first, so that neither speaks louder than it knows.
        """
        mixed = torch.zeros(len(inputs), len(self.labels_))
        if share > 0:
            mixed += share * self._likely(self._logits(self._fitted(), inputs) / self.heat_[0])
        if share < 1:
            baseline: Any = self.baseline_
            mixed += (1 - share) * cooled(baseline.probabilities(inputs), self.heat_[1], self.several_)
        return mixed

    def _verdicts(self, shares: Tensor, inputs: Any, settled: Settled) -> list[Verdict]:
        """Return the answers; inputs that say nothing get equal probabilities and, if any, the commonest label."""
        speaks = self._speaks(inputs)
        shares = torch.where(speaks[:, None], shares, torch.tensor(0.5 if self.several_ else 1 / len(self.labels_)))
        least = settled.thresholds or [0.5] * len(self.labels_)
        return [self._verdict(row, told, least) for row, told in zip(shares.tolist(), speaks.tolist(), strict=True)]

    def _verdict(self, shares: list[float], told: bool, least: Sequence[float]) -> Verdict:
        if told:
            best = self.labels_[max(range(len(shares)), key=lambda i: shares[i])]
        else:
            best = max(self.labels_, key=lambda label: self.counts_.get(label, 0))
        chosen = [best]
        if self.several_:
            likely = zip(self.labels_, shares, least, strict=True)
            above = [label for label, share, bound in likely if told and share > bound]
            chosen = above or (chosen if self.always_one_ else [])
        return Verdict(tuple(chosen), dict(zip(self.labels_, shares, strict=True)), self.several_)

    def _settle(self, dev_examples: Examples) -> None:
        """Fit temperatures and, if examples have several labels, thresholds; choose what answers."""
        inputs, targets = self._inputs(dev_examples), self._targets(dev_examples)
        shares = self._shares()
        self.heat_, self.settled_, trials = (1.0, 1.0), {}, {}
        alone = {share: self._mixed(inputs, share) for share in (0.0, 1.0) if self._can(share)}
        heat = {share: self._heat(one, targets) for share, one in alone.items()}
        self.heat_ = heat.get(1.0, 1.0), heat.get(0.0, 1.0)
        for share in {*shares, *alone}:
            parts = {0.0: 1 - share, 1.0: share}
            mixed = torch.zeros(targets.shape)
            for end, one in alone.items():
                mixed += parts[end] * cooled(one, heat[end], self.several_)
            temperature = self._heat(mixed, targets)
            mixed = cooled(mixed, temperature, self.several_)
            places = range(len(self.labels_)) if self.several_ else ()
            least = tuple(best_threshold(mixed[:, i], targets[:, i] > 0) for i in places)
            self.settled_[share] = Settled(temperature, least)
            trials[share] = self._figures(dev_examples, self._verdicts(mixed, inputs, self.settled_[share]))
        tried = {share: trials[share] for share in shares}
        self.choice_ = choose(tried, self.watched, self.goal) if len(shares) > 1 else Choice(shares[0])
        self.settled_ = {share: one for share, one in self.settled_.items() if share in (*alone, self.choice_.share)}

    def _heat(self, probabilities: Tensor, targets: Tensor) -> float:
        """Return the best temperature of probabilities."""
        clear = probabilities.double().clamp(1e-12, 1 - 1e-12)
        return label_temperature(clear.logit() if self.several_ else clear.log(), targets, several=self.several_)

    def _figures(self, examples: Examples, answers: Sequence[Verdict]) -> dict[str, float]:
        return classification_scores(self._labels(examples), [answer.labels for answer in answers]).figures()

    def _label_counts(self, examples: Examples) -> Counter[str]:
        return Counter(label for some in self._labels(examples) for label in some)

    def _known_labels(self) -> set[str]:
        return set(self.labels_)

    def _text(self, one: Any, place: int) -> str:
        """Return an input as the report shows it."""
        return one if isinstance(one, str) else f"example {place + 1}"

    def _report(self, examples: Examples, answers: Sequence[Verdict]) -> Report:
        true, found = self._labels(examples), [answer.labels for answer in answers]
        there, given = (Counter(label for some in part for label in some) for part in (true, found))
        both = [set(one) & set(other) for one, other in zip(true, found, strict=True)]
        rows = label_rows(there, given, Counter(label for some in both for label in some))
        confused: Counter[tuple[str, str]] = Counter()
        for one, other, some in zip(true, found, both, strict=True):
            confused.update((label, label) for label in some)
            missed, wrong = (
                [label for label in one if label not in some],
                [label for label in other if label not in some],
            )
            confused.update((a, b) for a in (missed or [NONE] * bool(wrong)) for b in (wrong or [NONE]))
        right = [set(one) == set(other) for one, other in zip(true, found, strict=True)]
        bins, error = calibration([(answer.confidence, good) for answer, good in zip(answers, right, strict=True)])
        inputs = self._inputs(examples)
        mistakes = [
            Mistake(
                self._text(inputs[i], i), ", ".join(true[i]) or NONE, ", ".join(found[i]) or NONE, answer.confidence
            )
            for i, answer in enumerate(answers)
            if not right[i]
        ]
        remarks = (*never_given(rows, self._known_labels()), *self._unknown(examples))
        return Report(rows, most_common(confused), "examples", surest(mistakes), bins, error, remarks)

    def _called(self, answers: Sequence[Verdict]) -> set[str]:
        return {label for answer in answers for label in answer.labels}

    def _label_state(self) -> dict[str, Any]:
        return {
            "labels": self.labels_,
            "counts": self.counts_,
            "several": self.several_,
            "always_one": self.always_one_,
            "heat": self.heat_,
            "settled": [{"share": share, **dataclasses.asdict(one)} for share, one in self.settled_.items()],
        }

    def _restore_labels(self, state: dict[str, Any]) -> None:
        self.labels_ = list(state["labels"])
        self.counts_ = {label: int(count) for label, count in state.get("counts", {}).items()}
        self.several_, self.always_one_ = bool(state.get("several")), bool(state.get("always_one", True))
        self.heat_ = tuple(state.get("heat", (1.0, 1.0)))
        self.settled_ = {1.0: Settled(1.0, tuple(state.get("thresholds", ())))}  # as version 0.1 stored them
        for one in state.get("settled", []):
            self.settled_[one["share"]] = Settled(one["temperature"], tuple(one["thresholds"]))


def best_threshold(shares: Tensor, true: Tensor) -> float:
    """Return the threshold, .10 to .70, with the best F1 of one label; the lowest of equals."""
    grid = torch.arange(0.10, 0.701, 0.02)
    called = shares[None] > grid[:, None]
    right = (called & true).sum(1)
    f1 = 2 * right / (called.sum(1) + true.sum()).clamp_min(1)
    return round(float(grid[int(f1.argmax())]), 2)
