"""The loop: learning, stopping, gradient accumulation, random numbers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from regard.backends import use_backend
from regard.backends.native import fp32
from regard.errors import ArgumentError
from regard.training import (
    Batches,
    Budget,
    CheckpointError,
    DivergedError,
    Ended,
    Evaluated,
    Evaluation,
    Event,
    Machine,
    Saved,
    Started,
    Stepped,
    train,
)
from regard.training.loop import moved

from .small import Copying, Worsening, digest, reader, settings


def test_it_learns() -> None:
    """The loss falls far below that of guessing, and the model is left with the best weights."""
    events: list[Event] = []
    model, task = reader(), Copying()
    result = train(model, task, settings(epochs=30), listeners=[events.append])
    assert result.finished
    assert result.stopped_by == "budget"
    figures = [event.figures["loss"] for event in events if isinstance(event, Evaluated)]
    assert min(figures) < 0.5 * figures[0]
    assert result.figures["loss"] == min(figures)
    assert task.evaluate(model)["loss"] == pytest.approx(min(figures))
    assert not model.training


def test_events() -> None:
    """Listeners hear of the start, each step, each evaluation and the end, in order."""
    events: list[Event] = []
    train(reader(), Copying(), settings(epochs=2), listeners=[events.append])
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [step.step for step in steps] == list(range(1, events[0].total_steps + 1))
    assert sum(step.tokens for step in steps) == 2 * sum(Copying().lengths)
    assert all(step.tokens_per_second > 0 for step in steps)
    assert sum(isinstance(event, Evaluated) for event in events) == 2


@pytest.mark.parametrize("at_once", [12, 40])
def test_accumulation_is_one_large_batch(at_once: int) -> None:
    """Many small passes change the weights by rounding only: every token weighs the same."""
    runs: list[list[Stepped]] = []
    for size in (at_once, 10_000):
        steps: list[Stepped] = []
        runs.append(steps)
        train(reader(), Copying(), settings(at_once=size), listeners=[
            lambda event, steps=steps: steps.append(event) if isinstance(event, Stepped) else None
        ])  # fmt: skip
    for parts, whole in zip(*runs, strict=True):
        assert parts.tokens == whole.tokens
        assert parts.loss == pytest.approx(whole.loss, rel=1e-4)
        assert parts.norm == pytest.approx(whole.norm, rel=1e-3)
    assert runs[0][0].norm == pytest.approx(runs[1][0].norm, rel=1e-5)


def test_random_numbers_are_the_runs_own() -> None:
    """Dropout depends on the run's seed alone, and the caller's generator is left as it was."""
    first, second = reader(0.3), reader(0.3)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(first, Copying(), settings())
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    train(second, Copying(), settings())
    assert digest(first) == digest(second)
    third = reader(0.3)
    train(third, Copying(), replace(settings(), batches=replace(settings().batches, seed=1)))
    assert digest(first) != digest(third)


def test_patience() -> None:
    """Training stops after so many evaluations without a better figure."""
    told = replace(settings(epochs=4), evaluation=Evaluation(evaluate_every=2, patience=3))
    result = train(reader(), Worsening(), told)
    assert result.stopped_by == "patience"
    assert (result.best_step, result.step) == (2, 8)
    late = replace(settings(epochs=50), evaluation=Evaluation(evaluate_every=2, patience=3))
    steps = train(reader(), Worsening(), late).step
    assert 0.25 * 50 * 7 <= steps < 0.3 * 50 * 7


def test_minutes() -> None:
    """A budget of time ends training, and the learning rate reaches its end with it."""
    events: list[Event] = []
    told = replace(settings(), budget=Budget(epochs=None, minutes=0.01))
    result = train(reader(), Copying(), told, listeners=[events.append])
    assert result.stopped_by == "budget"
    steps = [event for event in events if isinstance(event, Stepped)]
    assert steps[-1].lr < 0.1 * max(step.lr for step in steps)


def test_bfloat16_learns() -> None:
    """Under autocast the loss falls as well, and the weights stay in float32."""
    model, task = reader(), Copying()
    before = task.evaluate(model)["loss"]
    train(model, task, replace(settings(epochs=20), machine=Machine(device="cpu", precision="bf16")))
    assert task.evaluate(model)["loss"] < 0.7 * before
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_float32_is_multiplied_as_the_settings_say() -> None:
    """For the length of the run; "auto" leaves what surrounds it."""
    heard: list[str] = []
    for here, told in (("plain", "plain"), ("parts", "parts"), ("auto", "plain")):
        given = replace(settings(epochs=1), machine=Machine(device="cpu", fp32=here))  # type: ignore[arg-type]
        with use_backend(None, fp32="plain"):
            train(reader(), Copying(), given, listeners=[lambda event: heard.append(fp32())])
            assert fp32() == "plain"
        assert set(heard) == {told}
        heard.clear()
    assert fp32() == "auto"


def test_diverged(tmp_path: Path) -> None:
    """A loss that is no number stops training with the step's number; the checkpoints stay, and go on."""
    calls = 0

    def spoil(loss: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return loss * float("nan") if calls == 9 else loss

    with pytest.raises(DivergedError, match="loss of step 9 is nan"):
        train(reader(), Copying(spoil=spoil), settings(), folder=tmp_path)
    assert (tmp_path / "step-000000007").is_dir()
    healed, undisturbed = reader(), reader()
    train(healed, Copying(), settings(), folder=tmp_path)
    train(undisturbed, Copying(), settings())
    assert digest(healed) == digest(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal(tmp_path: Path, number: signal.Signals) -> None:
    """A signal finishes the step and saves; the next call ends where an undisturbed run ends."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    stopped = reader(0.2)
    result = train(stopped, Copying(), settings(), folder=tmp_path, listeners=[interrupt])
    assert result.stopped_by == number.name
    assert not result.finished
    assert signal.getsignal(number) is before
    resumed, undisturbed = reader(0.2), reader(0.2)
    events: list[Event] = []
    train(resumed, Copying(), settings(), folder=tmp_path, listeners=[events.append])
    train(undisturbed, Copying(), settings())
    assert events[0].step == result.step  # type: ignore[union-attr]
    assert digest(resumed) == digest(undisturbed)


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    """Called once more, training returns the same weights without a step."""
    first, second = reader(), reader()
    train(first, Copying(), settings(), folder=tmp_path)
    events: list[Event] = []
    train(second, Copying(), settings(), folder=tmp_path, listeners=[events.append])
    assert digest(first) == digest(second)
    assert not any(isinstance(event, Stepped | Saved) for event in events)


def test_keeps_newest_and_best(tmp_path: Path) -> None:
    """Of all checkpoints the newest two stay, and the best."""

    class Best(Copying):
        def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
            self.evaluations += 1
            return {"loss": 0.0 if self.evaluations == 1 else 1.0}

    result = train(reader(), Best(), settings(epochs=4), folder=tmp_path)
    steps = sorted(int(path.name[5:]) for path in tmp_path.glob("step-*"))
    assert len(steps) == 3
    assert steps[0] == result.best_step
    assert steps[-1] == result.step


def test_another_run(tmp_path: Path) -> None:
    """A folder of other data or settings is refused with what differs, and a locked one too."""
    train(reader(), Copying(), settings(epochs=1), folder=tmp_path)
    with pytest.raises(CheckpointError, match="other training data"):
        train(reader(), Copying(examples=50), settings(epochs=1), folder=tmp_path)
    other = replace(settings(epochs=1), batches=Batches(tokens_per_step=96, tokens_at_once=200, seed=5))
    with pytest.raises(CheckpointError, match="seed was 0 and is now 5"):
        train(reader(), Copying(), other, folder=tmp_path)
    with pytest.raises(CheckpointError, match="Another process trains"):
        train(reader(), Copying(), settings(epochs=2), folder=tmp_path, listeners=[
            lambda event: isinstance(event, Started) and train(reader(), Copying(), settings(), folder=tmp_path)
        ])  # fmt: skip


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (replace(settings(), evaluation=Evaluation(metric="f1", goal="max")), "'f1' is not among"),
        (replace(settings(), evaluation=Evaluation(metric="f1")), "'f1' without a goal"),
        (settings(at_once=3), "more than tokens_at_once=3"),
        (replace(settings(), machine=Machine(device="cpu", shard=True)), "start them with torchrun"),
    ],
)
def test_bad_settings(told: object, message: str) -> None:
    """Invalid settings are refused with an explanation."""
    with pytest.raises(ArgumentError, match=message):
        train(reader(), Copying(), told)  # type: ignore[arg-type]


def test_gradients_of_before_are_not_learnt_from() -> None:
    """What the caller's own backward pass has left in the model changes nothing."""
    first, second = reader(), reader()
    for weight in first.parameters():
        weight.grad = torch.ones_like(weight)
    train(first, Copying(), settings(epochs=1))
    train(second, Copying(), settings(epochs=1))
    assert digest(first) == digest(second)


def test_a_step_with_nothing_to_learn() -> None:
    """A step without any token has gradients of 0, and does not stop training."""

    class Silent(Copying):
        def loss(self, model: torch.nn.Module, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
            loss, count = super().loss(model, batch)
            return loss * 0.0, count * 0

    steps: list[Event] = []
    train(reader(), Silent(), settings(epochs=1), listeners=[steps.append])
    assert {event.loss for event in steps if isinstance(event, Stepped)} == {0.0}


def test_a_figure_that_is_no_number_is_never_the_best() -> None:
    """Where the first evaluation gives NaN, a later figure is the best all the same."""

    class Late(Copying):
        def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
            self.evaluations += 1
            return {"loss": float("nan") if self.evaluations == 1 else float(self.evaluations)}

    result = train(reader(), Late(), settings(epochs=3))
    assert result.figures == {"loss": 2.0}
    assert result.best_step == 2 * result.step // 3


class Named(NamedTuple):
    """A batch with names."""

    tokens: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Framed:
    """A batch as a dataclass."""

    tokens: torch.Tensor
    words: list[str]


def test_every_form_of_batch_is_moved() -> None:
    """Tensors reach the device out of named tuples and dataclasses too; what is no tensor stays."""
    batch = {"a": Named(torch.ones(2), torch.ones(1)), "b": Framed(torch.ones(3), ["x"])}
    found = moved(batch, torch.device("meta"))
    assert isinstance(found["a"], Named)
    assert found["a"].lengths.is_meta
    assert found["b"].tokens.is_meta
    assert found["b"].words == ["x"]


class Slow(Copying):
    """The same task; its second evaluation gets a signal, and would then take half a minute."""

    def evaluate(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Send the signal to this process."""
        found = super().evaluate(model)
        if self.evaluations == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(3000):
                time.sleep(0.01)
            raise AssertionError("the signal broke nothing off")
        return found


def test_a_signal_breaks_an_evaluation_off(tmp_path: Path) -> None:
    """The run stops at once and is saved; it goes on with that evaluation, and ends as if never stopped."""
    whole, stopped = reader(), reader()
    expected = train(whole, Copying(), settings(epochs=4), folder=tmp_path / "whole")
    first = train(stopped, Slow(), settings(epochs=4), folder=tmp_path / "stopped")
    assert first.stopped_by == "SIGTERM"
    events: list[Event] = []
    result = train(reader(), Copying(), settings(epochs=4), folder=tmp_path / "stopped", listeners=[events.append])
    assert isinstance(events[1], Evaluated)
    assert events[1].step == first.step
    assert sum(isinstance(event, Evaluated) for event in events) == 3
    assert (result.step, result.best_step, result.figures) == (expected.step, expected.best_step, expected.figures)


def test_a_signal_before_an_evaluation(tmp_path: Path) -> None:
    """A signal in the step before an evaluation leaves that out, and the next call makes it first."""
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stepped) and event.epoch == 1.0:
            os.kill(os.getpid(), signal.SIGINT)

    assert train(reader(), Copying(), settings(epochs=2), folder=tmp_path, listeners=[stop]).stopped_by == "SIGINT"
    assert not any(isinstance(event, Evaluated) for event in events)
    result = train(reader(), Copying(), settings(epochs=2), folder=tmp_path, listeners=[events.append])
    assert sum(isinstance(event, Evaluated) for event in events) == 2
    assert result.finished
