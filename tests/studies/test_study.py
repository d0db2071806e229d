"""Common parts of studies: tables, progress, files from which the picture can be redrawn, checked settings."""

from __future__ import annotations

import dataclasses
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regard.errors import ArgumentError, DataError
from regard.studies import STUDIES, Study, StudySettings, Table, load, redraw
from regard.studies._drawing import panels, smooth
from regard.studies._fit import Examples, Training, fit
from regard.studies._study import deviation, mean, part, silent


def same_picture(study: Study, folder: Path) -> None:
    """Save a study and check that its JSON file draws the picture beside it, to the bit."""
    paths = study.save(folder)
    stream = BytesIO()
    redraw(paths[0]).savefig(stream, format="png", dpi=160)
    assert stream.getvalue() == paths[1].read_bytes()


def line(data: dict) -> object:
    """Draw a line."""
    figure, axes = panels(1, 1)
    axes[0, 0].plot(data["heights"])
    return figure


def study(heights: list[float]) -> Study:
    """Return a small result."""
    table = Table("Heights", ("name", "height"), tuple((f"n{i}", h) for i, h in enumerate(heights)))
    return Study("scaling", "How high?", {"seed": 3, "size": "quick"}, (table,), ("High.",), {"heights": heights}, line)


def test_files_hold_all(tmp_path: Path) -> None:
    """Four files are written; the JSON is the result, the Markdown names table, reading and picture."""
    paths = study([1.0, 2.5]).save(tmp_path / "made")
    assert [path.suffix for path in paths] == [".json", ".png", ".svg", ".md"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    values = json.loads(paths[0].read_text())
    assert values["data"] == {"heights": [1.0, 2.5]}
    assert values["settings"]["seed"] == 3
    text = paths[3].read_text()
    assert "| n1 | 2.5 |" in text
    assert "- High." in text
    assert "(scaling.png)" in text
    again = study([1.0, 2.5]).save(tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_no_number_is_refused(tmp_path: Path) -> None:
    """NaN is not valid JSON: saving fails and leaves no unreadable file."""
    with pytest.raises(ValueError, match="JSON"):
        study([float("nan")]).save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [("{", DataError, "cannot be read"), ("[]", DataError, "NAME.json"), ('{"name": "scalin"}', ArgumentError, "mean")],
)
def test_other_files_are_refused(tmp_path: Path, content: str, error: type, message: str) -> None:
    """A file that no study wrote is refused with its path and what to give instead."""
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(error, match=message):
        redraw(path)
    with pytest.raises(DataError, match="nowhere"):
        load(tmp_path / "nowhere.json")


def test_table() -> None:
    """A table has a cell for each column; numbers are aligned to the right, words to the left."""
    table = Table("T", ("word", "number"), (("a", 1000), ("long", None)))
    assert table.text().splitlines() == ["word  number", "a      1,000", "long"]
    with pytest.raises(ArgumentError, match="2 columns"):
        Table("T", ("a", "b"), ((1,),))


@pytest.mark.parametrize(("name", "value"), [("size", "small"), ("seed", -1)])
def test_settings_of_all_are_checked(name: str, value: object) -> None:
    """Each study takes a seed and a size, and says what they may be."""
    for entry in STUDIES.values():
        assert issubclass(entry.settings, StudySettings)
        with pytest.raises(ArgumentError, match=name):
            entry.settings(**{name: value})
        assert entry.settings().size == "quick"
        json.dumps(dataclasses.asdict(entry.settings()))


def test_figures_over_seeds() -> None:
    """Mean and deviation are the usual ones; a single seed has no deviation."""
    values = [0.5, 0.75, 0.9]
    assert mean(values) == pytest.approx(np.mean(values))
    assert deviation(values) == pytest.approx(np.std(values, ddof=1))
    assert deviation([0.5]) == 0


def test_smooth_keeps_the_mean() -> None:
    """Means over stretches have the mean of all, and lie in their middle."""
    steps, means = smooth(list(map(float, range(1, 81))), points=8)
    assert len(means) == 8
    assert mean(means) == pytest.approx(40.5)
    assert steps == means
    assert smooth([5.0, 7.0]) == ([1.0, 2.0], [5.0, 7.0])


def test_fit_keeps_the_last_weights_and_counts_evaluations() -> None:
    """The model ends with the weights of its last step, whatever the figures; progress reaches 1; seeds decide."""

    def run(seed: int) -> tuple[nn.Module, list[float], list[dict[str, float]], float]:
        torch.manual_seed(0)
        model, seen, told = nn.Linear(2, 1), [], []
        examples = Examples(
            [1] * 8,
            lambda indices, random: torch.from_numpy(random.normal(size=(len(indices), 2)).astype(np.float32)),
            lambda model, x: ((model(x)[:, 0] - x.sum(1)).square().sum(), torch.tensor(len(x))),
            lambda model: seen.append(model.weight.detach().clone()) or {"worse": float(len(seen))},
        )
        training = Training(6, lr=0.1, tokens=4, evaluate_every=2)
        course = fit(model, examples, training, seed, part(lambda share, text: told.append(share), 0.0, 0.5), "x")
        assert torch.equal(model.weight, seen[-1])
        assert course.steps == [2, 4, 6]
        return model, course.losses, course.figures, told[-1]

    first, again, other = run(0), run(0), run(1)
    assert first[2] == [{"worse": 1.0}, {"worse": 2.0}, {"worse": 3.0}]
    assert first[3] == 0.5
    assert first[1] == again[1]
    assert first[1] != other[1]
    silent(1.0, "nobody hears")
