"""The contract of every task: `fit, predict, evaluate, save, load`.

A task gets its settings in the constructor; attributes learnt from data (vocabulary, labels, model) have
names that end in an underscore, and exist after `fit` or `load`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import _files
from .._values import check_fields, check_shares, described
from ..errors import ArgumentError, nearest
from ..training import Decided, Evaluating, Listener, TrainingResult, TrainingSettings, train
from ..weights import AttentionWeights
from ._batches import set_aside
from ._choice import MACRO, SHARES, Choice
from ._continuing import choose_layers, continued, is_own_run, take_over
from ._evaluation import Evaluation
from ._recipe import Advice, decided, remembered
from ._remarks import on_training
from ._report import Report
from .baselines import Baseline
from .baselines import read as read_baseline
from .baselines import write as write_baseline

Examples = TypeVar("Examples", bound=Sized)
Answer = TypeVar("Answer")
Learnt = TypeVar("Learnt")
Group = TypeVar("Group", bound=Sized)

Goal = Literal["min", "max"]
# Learned positions need a maximal length, so only tasks that have one offer them as well.
Positions = Literal["rotary", "sinusoidal", "alibi", "relative", "none"]
MakeBatch = Callable[[NDArray[np.int64], np.random.Generator], Any]

# Least steps of an epoch, and least tokens of a step: with small data they override `tokens_per_step`.
STEPS_AN_EPOCH, SMALLEST_STEP = 20, 256

# During training the mean of the main figure and macro F1 selects the best checkpoint, where a task has both.
SELECTION = "selection"

DESCRIPTION = "task.json"
TENSORS = "learnt.safetensors"
WEIGHTS = "model"
BASELINE = "baseline"
SEEN = "seen"


@dataclasses.dataclass(frozen=True)
class Attention:
    """What a model attends to in one input."""

    weights: dict[str, AttentionWeights]
    """The weights of every layer, by its name in the model."""
    tokens: tuple[str, ...]
    """The tokens of self-attention; if there are source and target, those of the target."""
    source: tuple[str, ...] = ()
    """The source's tokens, if there are source and target."""
    labels: tuple[str, ...] = ()
    """A tag for each token, if the task assigns tags."""
    grid: tuple[int, int] | None = None
    """Rows and columns of patches, if the input is a picture."""


class NotFittedError(ArgumentError):
    """A task was used before `fit` or `load`."""


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """Settings that all tasks share."""

    dev_share: float = 0.1
    """Share of the training examples that is set aside for development if no development examples are given."""
    only: Literal["model", "baseline"] | None = None
    """Keep the transformer alone, or train none and keep the baseline alone; None keeps what the development data
    prefers, which may be a mix of both."""
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)
    """How to train."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_shares(self, "dev_share")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from what `dataclasses.asdict` returned."""
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise ArgumentError(f"{cls.__name__} has no field {unknown[0]!r}; it has {', '.join(sorted(names))}.")
        return cls(**{**values, "training": TrainingSettings.from_dict(values["training"])})


class Task(ABC, Generic[Examples, Answer]):
    """One kind of work on a user's own data.

    Subclasses define how examples become numbers (`_learn`, `_encode`), the model (`_build`, `_loss`),
    its answers (`_answers`) and their evaluation (`_judge`, `_baseline`).
    """

    name: ClassVar[str]
    """The task's name on the command line and on disk."""
    headline: ClassVar[str]
    """The main figure: it selects the best checkpoint unless the settings name another."""
    figures: ClassVar[Mapping[str, Goal]]
    """Every figure of an evaluation, and whether its minimum or maximum is best."""
    Settings: ClassVar[type[TaskSettings]]
    """The class of its settings."""
    FineTuning: ClassVar[type[TaskSettings]] = TaskSettings
    """The class of its settings if it starts from a pretrained model."""
    fine_tuned: ClassVar[type[Task[Any, Any]] | None] = None
    """The derived class that starts from a pretrained model; a task built with its settings is one of these."""

    files: ClassVar[str] = f"{WEIGHTS}/"
    """The files of the model in a task's folder, for messages."""
    takes: ClassVar[str] = "a list of texts"
    """What `predict` is given, for messages."""

    mixes: ClassVar[bool] = False
    """Whether its answers can be mixed from the transformer's and the baseline's."""

    listeners: Sequence[Listener] = ()
    """Called while an evaluation or prediction goes on, with `Evaluating`; `fit` sets its own."""
    settings: Any
    model_: nn.Module
    training_: TrainingResult
    dev_: Examples
    baseline_: Baseline | None = None
    """The cheap model fitted to the same examples; None where there is none to save, or training was stopped."""
    choice_: Choice = Choice()
    """What answers: the transformer, the baseline, or a mix of both."""
    aside_: bool = False
    """Whether the development examples were set aside from the training examples."""
    remarks_: tuple[str, ...] = ()
    """What in training or its data should give pause, a sentence each."""
    seen_: Tensor | None = None
    """A digest of each training input, int64."""

    def __new__(cls, settings: TaskSettings | None = None) -> Self:
        """Choose the class by the settings, as `pathlib.Path` chooses one by the system."""
        tuned = cls.fine_tuned
        starts = tuned and isinstance(settings, tuned.Settings) and not is_own_run(cast("Any", settings).model)
        chosen: Any = tuned if starts else cls
        made: Self = super().__new__(chosen)
        return made

    def __init__(self, settings: TaskSettings | None = None) -> None:
        self._before: Any = None
        self._wanted: Any = settings
        if isinstance(settings, self.FineTuning) and type(self) is not self.fine_tuned and self.fine_tuned:
            self._before = type(self).load(cast(Any, settings).model)
            settings = continued(self._before.settings, settings)
        self.settings = self.Settings() if settings is None else settings
        if not isinstance(self.settings, self.Settings):
            raise ArgumentError(
                f"{type(self).__name__} was given settings that are {described(settings)}; it takes "
                f"{self.Settings.__name__}."
            )
        self._asked = self.settings
        self._train: Examples | None = None
        judge = self.settings.training.evaluation
        if self.watched not in self.figures:
            raise ArgumentError(
                f"{self.name} has no figure {self.watched!r}.{nearest(self.watched, self.figures)} "
                f"It has: {', '.join(self.figures)}."
            )
        if judge.goal not in (None, self.goal):
            better = "more" if self.goal == "max" else "less"
            raise ArgumentError(f"goal is {judge.goal!r}, and of {self.watched} {better} is better; leave it out.")

    @property
    def watched(self) -> str:
        """The figure that selects the best checkpoint: the settings' metric, or the main figure."""
        metric: str | None = self.settings.training.evaluation.metric
        return self.headline if metric is None else metric

    @property
    def goal(self) -> Goal:
        """Whether the `min` or the `max` of the watched figure is best."""
        return self.figures[self.watched]

    def fit(
        self,
        train_examples: Examples,
        dev_examples: Examples | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        listeners: Sequence[Listener] = (),
    ) -> Self:
        """Learn from examples.

        Args:
            train_examples: The training examples; vocabulary and labels come from these alone.
            dev_examples: Used to select the best checkpoint and to stop early. Unless given, a share of
                the training examples is set aside, by a digest of each.
            folder: Where checkpoints and the finished task go. Called again with the same folder
                and data, `fit` resumes. Without a folder nothing is written.
            listeners: Called with each event of training.

        Returns:
            Itself, trained; `training_` says how training ended.
        """
        if not len(train_examples):
            raise ArgumentError("There are no training examples.")
        self.aside_ = dev_examples is None
        if dev_examples is None:
            train_examples, dev_examples = self.set_aside(train_examples)
        if not len(dev_examples):
            raise ArgumentError("There are no development examples; give some, or none of the argument at all.")
        self._decide(train_examples, None if folder is None else Path(folder), listeners)
        self._learn(train_examples)
        self._train, self.dev_ = train_examples, dev_examples
        self.baseline_, self.choice_ = None, Choice()
        self.listeners = listeners
        self.training_ = self._trained(train_examples, dev_examples, folder, listeners)
        if not self.training_.finished:
            return self
        if self.training_.writes:
            self.baseline_ = self._fit_baseline(train_examples)
        if self.training_.writes or self.settings.only != "baseline":
            with torch.no_grad():
                self._settle(dev_examples)
        note = self._note(train_examples)
        self.remarks_ = (*self._doubts(train_examples), *on_training(self.training_))
        self.remarks_ += (f"in training, {note}",) if note else ()
        if folder is not None and self.training_.writes:
            self.save(folder)
        return self

    def _decide(self, examples: Examples, folder: Path | None, listeners: Sequence[Listener]) -> None:
        """Decide the settings that were left out, and tell the listeners."""
        advice, trains = self._advice(examples), self.settings.only != "baseline"
        self.settings, lines = decided(self._asked, remembered(folder, advice) if trains else advice)
        for listener in listeners if lines and trains else ():
            listener(Decided(lines))

    def _trained(
        self,
        train_examples: Examples,
        dev_examples: Examples,
        folder: str | os.PathLike[str] | None,
        listeners: Sequence[Listener],
    ) -> TrainingResult:
        """Train the transformer; with the baseline alone there is none."""
        if self.settings.only == "baseline":
            first = int(os.environ.get("RANK", "0")) == 0
            return TrainingResult(0, 0.0, "budget", None, {}, 0.0, writes=first)
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.training.batches.seed)
            self.model_ = self._build()
        objective = _Objective(self, train_examples, dev_examples)
        self._start(self.model_, objective)
        checkpoints = None if folder is None else Path(folder) / "checkpoints"
        own = {name: value for name, value in dataclasses.asdict(self.settings).items() if name != "training"}
        result = train(
            self.model_, objective, self._training_settings(objective.lengths), folder=checkpoints, listeners=listeners,
            about=own,
        )  # fmt: skip
        self.model_.eval()
        return result

    def predict(self, inputs: Sequence[Any]) -> list[Answer]:
        """Return the answer to each input, in order: the transformer's, the baseline's or a mix, as `choice_` says."""
        self._check_fitted()
        return self._used(self._checked(inputs), self.choice_.share)

    def evaluate(self, examples: Examples, train_examples: Examples | None = None) -> Evaluation:
        """Compare the model's answers, and a cheap baseline's, with the true answers.

        Args:
            examples: With their true answers.
            train_examples: What the baseline is fitted to; after `fit` the training examples by default.
        """
        if not len(examples):
            raise ArgumentError("There are no examples to evaluate on.")
        self._check_fitted()
        figures, report = self._examined(examples)
        alone = self._measured(examples, 1.0) if self.choice_.name == "mix" else {}
        known = self._train if train_examples is None else train_examples
        name, baseline = self._baseline(known, examples)
        note = self._note(examples)
        remarks = (*report.remarks, *([note] if note else []), *self.remarks_)
        return Evaluation(
            self.name, len(examples), self.watched, self.goal, figures, baseline, name, note, uses=self.choice_.name,
            alone=alone, report=dataclasses.replace(report, remarks=remarks),
        )  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the trained task: `task.json`, and the model as safetensors with its own JSON."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._check_fitted()
        if self.settings.only != "baseline":
            self._save_model(self._fitted(), folder)
        shutil.rmtree(folder / BASELINE, ignore_errors=True)
        if self.baseline_ is not None:
            write_baseline(self.baseline_, folder / BASELINE)
        tensors = self._tensors() | ({} if self.seen_ is None else {SEEN: self.seen_})
        if tensors:
            _files.write(folder / TENSORS, save(tensors))
        description = {
            "task": self.name,
            "pretrained": type(self) is self.fine_tuned,
            "settings": dataclasses.asdict(self.settings),
            "choice": self.choice_.to_dict(),
            "aside": self.aside_,
            "remarks": self.remarks_,
            "state": self._state(),
        }
        text = json.dumps(description, ensure_ascii=False, indent=1)
        _files.write(folder / DESCRIPTION, text.encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a task that `save` wrote."""
        description = read_description(folder)
        if description["task"] != cls.name:
            raise ArgumentError(
                f"{folder} holds the task {description['task']!r}, not {cls.name!r}; "
                "`regard.tasks.load` finds the class."
            )
        kind: Any = cls.fine_tuned if description.get("pretrained") else cls
        task: Self = kind(kind.Settings.from_dict(_with_known_figure(description["settings"], cls.figures)))
        task._restore(description["state"])
        if (Path(folder) / TENSORS).exists():
            tensors = load_file(Path(folder) / TENSORS)
            task.seen_ = tensors.pop(SEEN, None)
            if tensors:
                task._restore_tensors(tensors)
        task.baseline_ = read_baseline(Path(folder) / BASELINE)
        task.choice_ = Choice.from_dict(description.get("choice", Choice().to_dict()))
        task.aside_ = bool(description.get("aside", False))
        task.remarks_ = tuple(description.get("remarks", ()))
        if task.settings.only != "baseline":
            task.model_ = task._load_model(task._place(Path(folder)))
            task.model_.eval()
        return task

    @torch.no_grad()
    def attention(self, one: Any) -> Attention:
        """Return the attention of the trained model on one input: the lazy weights of every layer, by name.

        >>> task = Task.load("runs/ner")  # doctest: +SKIP
        >>> task.attention("Ada Lovelace wrote").weights  # doctest: +SKIP
        """
        return self._attention(self._fitted(), self._checked([one])[0])

    def set_aside(self, examples: Any, part: str = "dev") -> tuple[Any, Any]:
        """Split examples into those to train on and those set aside for a part, by a digest of each.

        Examples of the same input stay together, and adding data moves none of the old ones (except texts that come to
        overlap with others).
        """
        return set_aside(examples, self._contents(examples), self.settings.dev_share, part)

    def _contents(self, examples: Any) -> list[bytes]:
        """Return what decides whether an example is set aside: equal for examples that belong together."""
        return [repr(example).encode("utf-8", errors="backslashreplace") for example in examples]

    def _going(self, groups: Iterable[Group], total: int) -> Iterator[Group]:
        """Yield groups of examples, and tell the listeners how many of them are done."""
        done = 0
        for group in groups:
            yield group
            done += len(group)
            self._tell(done, total)

    def _tell(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(Evaluating(done, total))

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_") and self.baseline_ is None:
            raise NotFittedError(f"{type(self).__name__} has learnt nothing yet; call fit or load first.")

    def _fitted(self) -> nn.Module:
        self._check_fitted()
        if not hasattr(self, "model_"):
            raise NotFittedError("This run kept the baseline alone; train without --only baseline for a transformer.")
        return self.model_

    def _training_settings(self, lengths: Sequence[int]) -> TrainingSettings:
        """Return the training settings, with the watched figure as metric.

        Small data sets get smaller steps, so that an epoch has more than one or two.
        """
        settings: TrainingSettings = self.settings.training
        most = max(SMALLEST_STEP, sum(lengths) // STEPS_AN_EPOCH)
        most = min(settings.batches.tokens_per_step or most, most)
        batches = dataclasses.replace(settings.batches, tokens_per_step=most)
        named = settings.evaluation.metric is not None or MACRO not in self.figures or self.watched == MACRO
        metric = self.watched if named else SELECTION
        judge = dataclasses.replace(settings.evaluation, metric=metric, goal=self.goal)
        return dataclasses.replace(settings, batches=batches, evaluation=judge)

    def _start(self, model: nn.Module, objective: _Objective) -> None:
        """Change a new model before it learns, if the task starts from another one."""
        if self._before is not None:
            own, old = self._state(), self._before._state()
            same = all(own[name] == old[name] for name in ("tags", "labels") if name in own)
            take_over(model, self._before._fitted(), same_labels=same)
            choose_layers(model, self._wanted.train_layers, freeze_embeddings=self._wanted.freeze_embeddings)

    def _known(self, name: str, learn: Callable[[], Learnt]) -> Learnt:
        """Return what the run that this one goes on from has learnt; without one, learn it."""
        if self._before is None:
            return learn()
        known: Learnt = getattr(self._before, name)
        return known

    def _place(self, folder: Path) -> Path:
        """Return where the model of a task's folder lies."""
        return folder / WEIGHTS

    def _save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the model into the task's folder."""
        model.save_pretrained(self._place(folder))  # type: ignore[operator]

    def _checked(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Return validated inputs for `_answers`; raise if they are wrong."""
        if isinstance(inputs, str):
            raise ArgumentError(f"predict takes {self.takes}; put the text into a list.")
        return inputs

    def _note(self, examples: Examples) -> str:
        """Return a remark on what of the examples the model does not see; empty if it sees all."""
        return ""

    def _examined(self, examples: Examples) -> tuple[dict[str, float], Report]:
        """Return the figures of what answers, and the report on its answers."""
        return self._measured(examples, self.choice_.share), Report()

    def _doubts(self, examples: Examples) -> list[str]:
        """Return remarks on the training examples, a sentence each."""
        return []

    def _advice(self, examples: Examples) -> Sequence[Advice]:
        """Return values for settings that may be left out, from the training examples and the budget."""
        return ()

    @abstractmethod
    def _learn(self, examples: Examples) -> None:
        """Learn vocabulary and labels from the training examples."""

    def _learn_labels(self, examples: Examples) -> None:
        """Learn the labels alone, if there are any: what starts from a pretrained model has its vocabulary."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return a model with fresh weights."""

    @abstractmethod
    def _load_model(self, folder: Path) -> nn.Module:
        """Return the model that was saved in a folder."""

    @abstractmethod
    def _encode(self, examples: Examples) -> tuple[list[int], Callable[[NDArray[np.int64], np.random.Generator], Any]]:
        """Return the length of each example, and a function that builds a batch from indices."""

    @abstractmethod
    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of a batch, and the number of tokens."""

    @abstractmethod
    def _answers(self, model: nn.Module, inputs: Sequence[Any]) -> list[Answer]:
        """Return the model's answers."""

    @abstractmethod
    def _attention(self, model: nn.Module, one: Any) -> Attention:
        """Return the attention of the model on one input."""

    @abstractmethod
    def _judge(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the model's figures on examples, including the main one."""

    @abstractmethod
    def _baseline(self, train_examples: Examples | None, examples: Examples) -> tuple[str, dict[str, float]]:
        """Return the name of the baseline and its figures on the examples; nothing if there is none and no data."""

    def _progress(self, model: nn.Module, dev_examples: Examples) -> dict[str, float]:
        """Return the figures on development examples during training, with those that only training needs."""
        return self._judge(model, dev_examples)

    def _fit_baseline(self, train_examples: Examples) -> Baseline | None:
        """Return the baseline that is saved with the task; None if it is fitted anew where it is needed."""
        return None

    def _used(self, inputs: Sequence[Any], share: float) -> list[Answer]:
        """Return answers that are `share` the transformer's and the rest the baseline's."""
        return self._answers(self._fitted(), inputs)

    def _measured(self, examples: Examples, share: float) -> dict[str, float]:
        """Return the figures of such answers."""
        return self._judge(self._fitted(), examples)

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """Return the learnt state besides the model, as JSON values."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Restore what `_state` returned."""

    def _tensors(self) -> dict[str, Tensor]:
        """Return the learnt state that is too large for JSON, as tensors."""
        return {}

    def _restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `_tensors` returned."""

    def settled_said(self) -> str:
        """Say what else than the share of the transformer development data chose; empty if nothing."""
        return ""

    def _shares(self) -> tuple[float, ...]:
        """Return the weights of the transformer that come into question."""
        if self.settings.only == "baseline":
            return (0.0,)
        if self.settings.only == "model" or self.baseline_ is None:
            return (1.0,)
        return SHARES if self.mixes else (0.0, 1.0)

    def _watched_part(self, dev_examples: Examples) -> Examples:
        """Return the development examples that each evaluation during training reads."""
        return dev_examples

    def _settle(self, dev_examples: Examples) -> None:
        """After training, choose what depends on the development examples: what answers, thresholds, temperature."""


class _Objective:
    """The objective of training, over the examples of one `fit`."""

    def __init__(self, task: Task[Any, Any], examples: Any, dev: Any) -> None:
        self.lengths: Sequence[int]
        self.lengths, self.batch = task._encode(examples)
        self.loss = task._loss
        self._task, self._dev = task, task._watched_part(dev)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the figures on the development examples."""
        return self._task._progress(model, self._dev)


def _with_known_figure(settings: dict[str, Any], figures: Mapping[str, str]) -> dict[str, Any]:
    """Return stored settings whose metric is a figure of the task.

    Older versions stored a metric and a goal that were never used; those are dropped.
    """
    judge = settings["training"]["evaluation"]
    known = judge["metric"] is None or judge["goal"] in (None, figures.get(judge["metric"]))
    decided = judge if known else {**judge, "metric": None, "goal": None}
    return {**settings, "training": {**settings["training"], "evaluation": decided}}


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `task.json` of a folder."""
    path = Path(folder) / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArgumentError(
            f"{folder} holds no finished task: {DESCRIPTION} is missing. `regard train` writes it when training ends."
        ) from None
    except (ValueError, OSError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}. Train again, or restore the file.") from error
    missing = {"task", "settings", "state"} - set(description)
    if missing:
        raise ArgumentError(f"{path} lacks {', '.join(sorted(missing))}; it was not written by `save`.")
    return description
