"""What the tasks share whose answers are compared with true ones: baselines, mixes, reports."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from ..errors import ArgumentError, enumerated
from ..training.loop import UNFINISHED
from ._choice import MACRO, Choice, choose
from ._remarks import digests, on_labels, on_overlap
from ._report import Report
from ._task import SELECTION, Task
from .baselines import Baseline

Examples = TypeVar("Examples", bound=Any)
Answer = TypeVar("Answer")


class AnsweringTask(Task[Examples, Answer]):
    """A task whose answers are compared with true ones."""

    @abstractmethod
    def _inputs(self, examples: Examples) -> Sequence[Any]:
        """Return the examples without their answers."""

    @abstractmethod
    def _figures(self, examples: Examples, answers: Sequence[Answer]) -> dict[str, float]:
        """Return the figures of answers, including the main one."""

    @abstractmethod
    def _fit_baseline(self, train_examples: Examples) -> Baseline: ...

    @abstractmethod
    def _baseline_answers(self, inputs: Sequence[Any]) -> list[Answer]:
        """Return the baseline's answers."""

    def _judge(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        return self._figures(examples, self._answers(model, self._inputs(examples)))

    def _progress(self, model: nn.Module, dev_examples: Examples) -> dict[str, float]:
        answers = self._at_best(model, dev_examples)
        figures = self._figures(dev_examples, answers)
        if MACRO not in figures:
            return figures
        figures[SELECTION] = (figures[self.headline] + figures[MACRO]) / 2
        there = set(self._label_counts(dev_examples)) & self._known_labels()
        figures[UNFINISHED] = float(len(there - self._called(answers)))
        return figures

    def _at_best(self, model: nn.Module, dev_examples: Examples) -> Sequence[Answer]:
        """Return the model's answers to development examples as they would be decided after training."""
        return self._answers(model, self._inputs(dev_examples))

    def _called(self, answers: Sequence[Answer]) -> set[str]:
        """Return the labels that occur in answers."""
        return set()

    def _measured(self, examples: Examples, share: float) -> dict[str, float]:
        return self._figures(examples, self._used(self._inputs(examples), share))

    def _used(self, inputs: Sequence[Any], share: float) -> list[Answer]:
        return self._baseline_answers(inputs) if share < 0.5 else self._answers(self._fitted(), inputs)

    def _examined(self, examples: Examples) -> tuple[dict[str, float], Report]:
        self._check_labels(examples)
        inputs = self._inputs(examples)
        answers = self._used(inputs, self.choice_.share)
        report = self._report(examples, answers)
        remarks = (*report.remarks, *on_overlap(self.seen_, inputs))
        return self._figures(examples, answers), dataclasses.replace(report, remarks=remarks)

    def _contents(self, examples: Any) -> list[bytes]:
        return [repr(one).encode("utf-8", errors="backslashreplace") for one in self._inputs(examples)]

    def _doubts(self, examples: Examples) -> list[str]:
        self.seen_ = digests(self._inputs(examples)).unique()
        return on_labels(self._label_counts(examples))

    def _check_labels(self, examples: Examples) -> None:
        """Raise `ArgumentError` if the examples have labels and the task knows none of them."""
        counts = self._label_counts(examples)
        if counts and not set(counts) & self._known_labels():
            raise ArgumentError(
                f"The model knows none of the labels of this data, {enumerated(sorted(counts))}; it was trained on "
                f"{enumerated(sorted(self._known_labels()))}. Rename the labels, or take the data that the model is "
                "for."
            )

    @abstractmethod
    def _report(self, examples: Examples, answers: Sequence[Answer]) -> Report:
        """Return the report on answers."""

    def _label_counts(self, examples: Examples) -> Mapping[str, int]:
        """Return how often each label occurs in examples; empty for a task without labels."""
        return {}

    def _known_labels(self) -> set[str]:
        """Return the labels that the task knows."""
        return set()

    def _unknown(self, examples: Examples) -> list[str]:
        """Remark on labels of examples that the task does not know."""
        counts = self._label_counts(examples)
        missing = [label for label in counts if label not in self._known_labels()]
        if not missing:
            return []
        shown = enumerated(f"{label} ({counts[label]:,})" for label in missing)
        return [f"labels that the model does not know, so that it is wrong each time: {shown}."]

    def _baseline(self, train_examples: Examples | None, examples: Examples) -> tuple[str, dict[str, float]]:
        if self.baseline_ is None and train_examples is not None:  # of a version that did not save it
            self.baseline_ = self._fit_baseline(train_examples)
        if self.baseline_ is None:
            return "", {}
        return self.baseline_.name, self._measured(examples, 0.0)

    def _can(self, share: float) -> bool:
        """Return whether there is a transformer (1) or a baseline (0)."""
        return self.settings.only != "baseline" if share else self.baseline_ is not None

    def _settle(self, dev_examples: Examples) -> None:
        shares = self._shares()
        if len(shares) == 1:
            self.choice_ = Choice(shares[0])
            return
        trials = {share: self._measured(dev_examples, share) for share in shares}
        self.choice_ = choose(trials, self.watched, self.goal)
