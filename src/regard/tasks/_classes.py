"""What the tasks share that give a text or a picture its label, or its labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ._calibration import label_temperature
from ._task import AnsweringTask
from .metrics import classification_scores

Examples = TypeVar("Examples", bound=Any)


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


class ClassTask(AnsweringTask[Examples, Verdict]):
    """A task whose answer is a label, or several."""

    labels_: list[str]
    counts_: dict[str, int]
    several_: bool
    always_one_: bool
    thresholds_: list[float]
    temperature_: float

    def _learn_labels(self, labels: Sequence[Sequence[str]]) -> None:
        """Learn which labels there are, and whether an example has exactly one."""
        counted = Counter(label for some in labels for label in some)
        self.labels_ = sorted(counted)
        self.counts_ = {label: counted[label] for label in self.labels_}
        self.several_ = any(len(some) != 1 for some in labels)
        self.always_one_ = all(labels)
        self.thresholds_ = [0.5] * len(self.labels_)
        self.temperature_ = 1.0

    def _labels(self, examples: Examples) -> Sequence[tuple[str, ...]]:
        """Return the true labels of each example."""
        raise NotImplementedError

    def _logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the model's logits on the CPU, float32 (N, labels)."""
        raise NotImplementedError

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
    def _probabilities(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the calibrated probability of each label, (N, labels); inputs that say nothing get equal ones."""
        logits = self._logits(model, inputs) / self.temperature_
        shares = logits.sigmoid() if self.several_ else logits.softmax(-1)
        equal = 0.5 if self.several_ else 1 / len(self.labels_)
        return torch.where(self._speaks(inputs)[:, None], shares, torch.tensor(equal))

    @torch.no_grad()
    def _answers(self, model: nn.Module, inputs: Any) -> list[Verdict]:
        return self._verdicts(self._probabilities(model, inputs), self._speaks(inputs))

    def _verdicts(self, shares: Tensor, speaks: Tensor) -> list[Verdict]:
        return [self._verdict(row, bool(told)) for row, told in zip(shares.tolist(), speaks, strict=True)]

    def _verdict(self, shares: list[float], told: bool) -> Verdict:
        if told:
            best = self.labels_[max(range(len(shares)), key=lambda i: shares[i])]
        else:
            best = max(self.labels_, key=lambda label: self.counts_.get(label, 0))
        chosen = [best]
        if self.several_:
            likely = zip(self.labels_, shares, self.thresholds_, strict=True)
            above = [label for label, share, least in likely if told and share > least]
            chosen = above or (chosen if self.always_one_ else [])
        return Verdict(tuple(chosen), dict(zip(self.labels_, shares, strict=True)), self.several_)

    def _settle(self, dev_examples: Examples) -> None:
        """Fit the temperature and, if examples have several labels, the threshold of each label."""
        inputs, targets = self._inputs(dev_examples), self._targets(dev_examples)
        with torch.no_grad():
            logits = self._logits(self._fitted(), inputs)
        self.temperature_ = label_temperature(logits, targets, several=self.several_)
        if self.several_:
            shares = self._probabilities(self._fitted(), inputs)
            true = targets.bool()
            self.thresholds_ = [best_threshold(shares[:, i], true[:, i]) for i in range(len(self.labels_))]

    def _figures(self, examples: Examples, answers: Sequence[Verdict]) -> dict[str, float]:
        return classification_scores(self._labels(examples), [answer.labels for answer in answers]).figures()

    def _state(self) -> dict[str, Any]:
        return {
            "labels": self.labels_,
            "counts": self.counts_,
            "several": self.several_,
            "always_one": self.always_one_,
            "thresholds": self.thresholds_,
            "temperature": self.temperature_,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.labels_ = list(state["labels"])
        self.counts_ = {label: int(count) for label, count in state.get("counts", {}).items()}
        self.several_, self.always_one_ = bool(state.get("several")), bool(state.get("always_one", True))
        self.thresholds_ = [float(least) for least in state.get("thresholds", [])]
        self.temperature_ = float(state.get("temperature", 1.0))


def best_threshold(shares: Tensor, true: Tensor) -> float:
    """Return the threshold, .10 to .70, with the best F1 of one label; the lowest of equals."""
    grid = torch.arange(0.10, 0.701, 0.02)
    called = shares[None] > grid[:, None]
    right = (called & true).sum(1)
    f1 = 2 * right / (called.sum(1) + true.sum()).clamp_min(1)
    return round(float(grid[int(f1.argmax())]), 2)
