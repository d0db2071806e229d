"""Settings, the schedule, and the records of a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import ArgumentError
from regard.training import (
    Batches,
    Budget,
    Checkpoints,
    CsvLog,
    CurvePicture,
    Evaluation,
    Machine,
    Optimizer,
    TrainingSettings,
    train,
)
from regard.training.listeners import draw_curves, read_log, smoothed
from regard.training.schedule import learning_rate, progress, total_steps
from regard.training.settings import differences

from .small import Copying, reader, settings


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (Optimizer, "lr", 0.0), (Optimizer, "warmup", 1.0), (Optimizer, "final_lr", 1.5), (Optimizer, "beta1", 1.0),
        (Optimizer, "beta2", -0.1), (Optimizer, "eps", 0.0), (Optimizer, "weight_decay", -1.0),
        (Optimizer, "clip", -1.0), (Batches, "tokens_per_step", 0), (Batches, "tokens_at_once", 0),
        (Batches, "seed", -1), (Budget, "epochs", 0.0), (Budget, "steps", 0), (Budget, "minutes", -1.0),
        (Evaluation, "evaluate_every", 0), (Evaluation, "goal", "up"), (Evaluation, "patience", 0),
        (Checkpoints, "save_every", 0), (Checkpoints, "save_minutes", 0.0), (Checkpoints, "keep", 0),
        (Budget, "epochs", math.inf), (Budget, "minutes", math.nan), (Optimizer, "lr", math.inf),
        (Machine, "device", "tpu"), (Machine, "precision", "fp8"),
    ],
)  # fmt: skip
def test_bad_values(make: type, name: str, value: object) -> None:
    """Every field refuses what it cannot be, by its name."""
    with pytest.raises(ArgumentError, match=rf"{name} is {value!r}[;.].* must be"):
        make(**{name: value})


def test_no_budget() -> None:
    """Training that would never end is refused."""
    with pytest.raises(ArgumentError, match="one of epochs, steps, minutes"):
        Budget(epochs=None)


def test_there_and_back() -> None:
    """Settings survive JSON; an unknown part is named."""
    told = settings(epochs=2.5)
    assert TrainingSettings.from_dict(json.loads(json.dumps(told.to_dict()))) == told
    with pytest.raises(ArgumentError, match="no part 'optimiser'"):
        TrainingSettings.from_dict({"optimiser": {}})


def test_differences() -> None:
    """Settings that decide every step must not change when a run is resumed; the budget may."""
    old = settings()
    new = replace(old, optimizer=replace(old.optimizer, lr=1.0), budget=Budget(epochs=9))
    assert differences(old.to_dict(), new.to_dict()) == ["lr was 0.005 and is now 1.0"]


@given(st.floats(0, 1), st.floats(0, 0.9), st.floats(0, 1))
def test_learning_rate(done: float, warmup: float, final: float) -> None:
    """The rate never leaves 0 to lr, peaks after the warm-up, and ends where it should."""
    told = Optimizer(lr=3.0, warmup=warmup, final_lr=final)
    assert 0 <= learning_rate(done, told) <= 3.0 * (1 + 1e-12)
    assert learning_rate(warmup, told) == pytest.approx(3.0)
    assert learning_rate(1.0, told) == pytest.approx(3.0 * final)


def test_budget() -> None:
    """The nearest limit decides how much is used up."""
    assert total_steps(Budget(epochs=2, steps=100), steps_per_epoch=30) == 60
    assert total_steps(Budget(epochs=None, minutes=1), steps_per_epoch=30) is None
    assert progress(30, 60, 0, None) == 0.5
    assert progress(30, 60, 54, minutes=1) == 0.9
    assert progress(99, None, 120, minutes=1) == 1.0


def test_log_and_picture(tmp_path: Path) -> None:
    """A run that goes on leaves one line a step and figure, and the picture of it."""
    log, picture = tmp_path / "log.csv", tmp_path / "curves.png"
    short, long = settings(epochs=1), settings(epochs=3)
    train(reader(), Copying(), short, folder=tmp_path / "run", listeners=[CsvLog(log)])
    result = train(
        reader(), Copying(), long, folder=tmp_path / "run", listeners=[CsvLog(log), CurvePicture(log, picture, "loss")]
    )
    lines = read_log(log)
    assert [int(line[0]) for line in lines if line[2] == "train_loss"] == list(range(1, result.step + 1))
    assert [line[2] for line in lines].count("loss") == 3
    assert picture.stat().st_size > 5_000


def test_smoothed() -> None:
    """Running means are right from the first value, and pass over what is no number."""
    assert smoothed([2.0, 2.0, math.nan, 2.0]) == pytest.approx([2.0] * 4)
    assert smoothed([0.0, 1.0])[1] == pytest.approx(1 / 1.95)


@pytest.mark.parametrize("figures", [[0.998], [0.2, 1.0], [0.0], [0.4, 2.5], [0.2148, 0.2147]])
def test_curves_of_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: list[float]) -> None:
    """The axis of a share ends at what it can reach, and the legend lies beside the curves, not on a point."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    rows = [f"{step},1,train_loss,0.5,1" for step in (1, 2, 3)]
    rows += [f"{step + 2},1,f1,{figure},1" for step, figure in enumerate(figures)]
    (tmp_path / "log.csv").write_text("\n".join(["step,epoch,name,value,seconds", *rows]) + "\n")
    draw_curves(tmp_path / "log.csv", tmp_path / "curves.png", "f1")
    drawn[0].draw_without_rendering()
    loss, share = drawn[0].axes
    low, high = share.get_ylim()
    assert low <= min(figures) <= max(figures) <= high
    if max(figures) <= 1:
        assert (low >= 0, high <= 1) == (True, True)
        assert high - low > 0.04  # noise does not fill the picture
    else:
        assert high > max(figures)
    (legend,) = drawn[0].legends
    assert not legend.get_window_extent().overlaps(loss.get_window_extent())
