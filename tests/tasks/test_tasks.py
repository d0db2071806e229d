"""Every task has the same interface: fit, predict, evaluate, save, load, attention."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard.corpora import Document
from regard.errors import ArgumentError, RegardError
from regard.tasks import TASKS, NotFittedError, Task, load
from regard.tasks._classes import best_threshold
from regard.tasks._evidence import Evidence
from regard.training import Budget, Evaluated, Evaluating, Evaluation

from .small import CASES, PAIRS, TAGGED, Case

EVERY = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Task[Any, Any]]:
    """Every task, fitted once."""
    found = {}
    for name, case in CASES.items():
        found[name] = case.task(case.settings()).fit(case.train, case.test)
    return found


def reaches(case: Case, value: float) -> bool:
    """Whether a headline figure reaches the case's target."""
    return value >= case.better if case.task.figures[case.task.headline] == "max" else value <= case.better


@EVERY
def test_it_learns(fitted: dict[str, Task[Any, Any]], name: str) -> None:
    """After a second of training the headline figure reaches its target, and there is a baseline."""
    case = CASES[name]
    evaluation = fitted[name].evaluate(case.test)
    assert reaches(case, evaluation.figures[case.task.headline]), str(evaluation)
    assert set(evaluation.baseline) == set(evaluation.figures) == set(case.task.figures)
    assert evaluation.count == len(case.test)
    text = str(evaluation)
    assert "model" in text
    assert evaluation.baseline_name in text


@EVERY
def test_the_watched_figure_decides(name: str) -> None:
    """Another figure of the task can be watched, in its own direction; an unknown one and a wrong goal are refused."""
    case = CASES[name]
    other = next(figure for figure in case.task.figures if figure != case.task.headline)
    heard: list[Any] = []

    def told(metric: str | None, goal: Any = None) -> Any:
        training = dataclasses.replace(
            case.settings().training, budget=Budget(epochs=None, steps=4), evaluation=Evaluation(2, metric, goal)
        )
        return case.settings(training=training)

    task = case.task(told(other)).fit(case.train, case.test, listeners=[heard.append])
    values = [event.figures[other] for event in heard if isinstance(event, Evaluated)]
    best = max(values) if case.task.figures[other] == "max" else min(values)
    assert task.training_.figures[other] == best
    assert task.evaluate(case.test).headline == other
    assert case.task(told(None)).watched == case.task.headline
    with pytest.raises(ArgumentError, match=rf"no figure '{other}x'. Did you mean '{other}'"):
        case.task(told(f"{other}x"))
    wrong = "min" if case.task.figures[other] == "max" else "max"
    with pytest.raises(ArgumentError, match=f"goal is '{wrong}', and of {other}"):
        case.task(told(other, wrong))


def test_a_metric_that_decided_nothing_is_forgotten(fitted: dict[str, Task[Any, Any]], tmp_path: Path) -> None:
    """Files of older versions have a metric and goal that were never used; they are ignored."""
    fitted["ner"].save(tmp_path)
    file = tmp_path / "task.json"
    values = json.loads(file.read_text("utf-8"))
    for old in ({"metric": "loss", "goal": "min"}, {"metric": "f1", "goal": "min"}):
        values["settings"]["training"]["evaluation"].update(old)
        file.write_text(json.dumps(values), "utf-8")
        assert load(tmp_path).watched == "f1"
        assert load(tmp_path).settings.training.evaluation.goal is None


@EVERY
def test_saved_and_loaded(fitted: dict[str, Task[Any, Any]], name: str, tmp_path: Path) -> None:
    """A task that is read back gives the same answers and figures, its baseline too."""
    case, task = CASES[name], fitted[name]
    task.save(tmp_path)
    again = load(tmp_path)
    assert type(again) is case.task
    assert again.settings == task.settings
    assert again.predict(case.inputs) == task.predict(case.inputs)
    alone = again.evaluate(case.test)
    assert alone.figures == task.evaluate(case.test).figures
    if task.baseline_ is None:  # a language model's is fitted again
        assert alone.baseline == {}
        assert "not at hand" in str(alone)
        alone = again.evaluate(case.test, case.train)
    assert alone.baseline == task.evaluate(case.test).baseline


@EVERY
def test_attention(fitted: dict[str, Task[Any, Any]], name: str) -> None:
    """The weights of every layer are available for one input, with its number of tokens."""
    task, case = fitted[name], CASES[name]
    seen = task.attention(case.inputs[0])
    assert seen.weights
    for where, weights in seen.weights.items():
        queries, keys = weights.shape[-2:]
        sizes = (len(seen.tokens), len(seen.source)) if seen.source else (len(seen.tokens),)
        assert queries in sizes, where
        assert keys in sizes, where
        torch.testing.assert_close(weights.dense().sum(-1), torch.ones(weights.shape[:-1]), rtol=0, atol=1e-4)
    if seen.grid:
        assert seen.grid[0] * seen.grid[1] == len(seen.tokens)


@EVERY
def test_same_seed_same_model(name: str) -> None:
    """Two fits with the same seed give the same weights; the caller's random numbers are untouched."""
    case = CASES[name]
    settings = case.settings()
    short = dataclasses.replace(settings, training=dataclasses.replace(settings.training, budget=Budget(steps=3)))
    torch.manual_seed(1)
    first = case.task(short).fit(case.train, case.test).model_.state_dict()
    torch.manual_seed(2)
    expected = torch.random.get_rng_state()
    second = case.task(short).fit(case.train, case.test).model_.state_dict()
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


@EVERY
def test_goes_on_in_a_folder(name: str, tmp_path: Path) -> None:
    """A run that was stopped half-way ends with the same weights as one that was not."""
    case = CASES[name]
    settings = case.settings()

    def limited(steps: int, folder: Path | None) -> Task[Any, Any]:
        training = dataclasses.replace(settings.training, budget=Budget(epochs=None, steps=6))
        task = case.task(dataclasses.replace(settings, training=training))
        stop: list[Any] = []
        if steps < 6:

            def interrupt(event: Any) -> None:
                if type(event).__name__ == "Stepped" and event.step == steps:
                    raise KeyboardInterrupt

            stop = [interrupt]
        with contextlib.suppress(KeyboardInterrupt):
            task.fit(case.train, case.test, folder=folder, listeners=stop)
        return task

    limited(4, tmp_path)
    resumed, undisturbed = limited(6, tmp_path), limited(6, None)
    for key, tensor in undisturbed.model_.state_dict().items():
        assert torch.equal(tensor, resumed.model_.state_dict()[key]), key
    assert load(tmp_path).name == case.task.name


@pytest.mark.parametrize("name", TASKS)
def test_unfitted(name: str, tmp_path: Path) -> None:
    """A task that was not fitted says so."""
    task = TASKS[name]()
    for call in (lambda: task.predict(["x"]), lambda: task.save(tmp_path), lambda: task.attention("x")):
        with pytest.raises((NotFittedError, RegardError), match=r"call fit or load first|Pictures"):
            call()


@pytest.mark.parametrize("name", TASKS)
def test_bad_values(name: str) -> None:
    """Empty data and settings of another task are refused."""
    task, other = TASKS[name], TASKS["ner" if name != "ner" else "sentiment"]
    with pytest.raises(ArgumentError, match="no training examples"):
        task().fit([])
    with pytest.raises(ArgumentError, match=f"it takes {task.Settings.__name__}"):
        task(other.Settings())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no field 'width'"):
        task.Settings.from_dict({**dataclasses.asdict(task.Settings()), "width": 3})


def test_development_examples_are_set_aside() -> None:
    """Without development examples a share is set aside, the same each time, equal examples together."""
    case = CASES["ner"]
    task = case.task(case.settings())
    kept, aside = task.set_aside(TAGGED * 2)
    assert not set(kept) & set(aside)
    assert len(kept) + len(aside) == 2 * len(TAGGED)
    assert task.set_aside(TAGGED * 2) == (kept, aside)
    task.fit(case.train)
    assert len(task.dev_) < 0.2 * len(case.train)
    with pytest.raises(ArgumentError, match="too few to set 10% of them aside"):
        case.task(case.settings()).fit(TAGGED[:1])


def test_a_string_is_no_list(fitted: dict[str, Task[Any, Any]]) -> None:
    """A text in place of a list of texts is refused, not read letter by letter."""
    for name in ("ner", "sentiment", "summarization", "language_modeling"):
        with pytest.raises(ArgumentError, match="put the text into a list"):
            fitted[name].predict("red")


def test_entities(fitted: dict[str, Task[Any, Any]]) -> None:
    """Entities have their label, their place and their text."""
    sentence = fitted["ner"].predict(["dr ada went to oslo"])[0]
    assert [(found.label, found.start, found.stop, found.text) for found in sentence.entities] == [
        ("person", 1, 2, "ada"), ("place", 4, 5, "oslo"),
    ]  # fmt: skip
    assert fitted["ner"].predict([""])[0].tags == ()


def test_words_are_hidden_in_training() -> None:
    """The set share of rarer words is unknown in a batch, the most frequent never; letters and tags stay."""
    case = CASES["ner"]
    task = case.task(case.settings(hide_words=0.5))
    task._learn(case.train)
    _, batch = task._encode(case.train)
    words, characters, lengths, tags = batch(np.arange(200), np.random.default_rng(0))
    common = task.words_["and"]
    assert common == 2
    whole, _, _, _ = task._encode(case.train)[1](np.arange(200), np.random.default_rng(1))
    assert int((words[:, 5] == common).sum()) == 200
    rare = torch.arange(words.shape[1]) != 5
    hidden = float((words == 1)[:, rare].float().mean())
    assert 0.4 < hidden < 0.6
    assert not torch.equal(words, whole)
    assert int((characters[:, 1] > 1).sum()) > 0
    assert int((tags == task.tags_.index("B-person")).sum()) == 200
    assert lengths.tolist() == [8] * 200


def test_mentions_of_a_word_are_marked(tmp_path: Path) -> None:
    """With `repeats` a second mention of an unknown word has another input, also in a loaded task."""
    case = CASES["ner"]
    training = dataclasses.replace(case.settings().training, budget=Budget(epochs=None, steps=3))
    for repeats in (False, True):
        task = case.task(case.settings(repeats=repeats, training=training, positions="none"))
        task.fit(case.train[:40], case.test).save(tmp_path)
        model = load(tmp_path).model_
        assert model.config.repeats == repeats
        words, characters, lengths = task._stack([task._numbers(("bo", "ub", "ob", "ob"))])
        assert words.unique().tolist() == [1]
        if repeats:
            torch.nn.init.normal_(model.repeats.first)
        scores = model(words, lengths, characters=characters)[0]
        assert torch.allclose(scores[2], scores[3]) != repeats  # the first of two, and the other


def test_several_labels(fitted: dict[str, Task[Any, Any]]) -> None:
    """Where texts have several labels, so have the answers; probabilities are of each by itself."""
    answer = fitted["several"].predict(["the oslo was bad indeed"])[0]
    assert set(answer.labels) == {"negative", "sure"}
    assert set(answer.probabilities) == {"negative", "positive", "sure"}
    one = fitted["sentiment"].predict(["the oslo was bad indeed"])[0]
    assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_pictures_of_another_size(fitted: dict[str, Task[Any, Any]]) -> None:
    """Pictures must have the size of those trained on; grey ones may come without channels."""
    task = fitted["image_classification"]
    pixels = CASES["image_classification"].train.pixels
    for one, other in zip(task.predict(pixels[:2, :, :, 0]), task.predict(pixels[:2]), strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    with pytest.raises(RegardError, match="bring them to its size"):
        task.predict(np.zeros((1, 9, 8, 1), np.uint8))
    with pytest.raises(RegardError, match="do not stack"):
        task.predict([np.zeros((9, 8), np.uint8), np.zeros((8, 8), np.uint8)])


def test_a_task_of_another_kind(fitted: dict[str, Task[Any, Any]], tmp_path: Path) -> None:
    """The wrong class, a folder without a task, and a broken description are told apart."""
    fitted["ner"].save(tmp_path)
    with pytest.raises(ArgumentError, match="holds the task 'ner', not 'sentiment'"):
        TASKS["sentiment"].load(tmp_path)
    with pytest.raises(ArgumentError, match=r"task\.json is missing"):
        load(tmp_path / "nowhere")
    (tmp_path / "task.json").write_text("{")
    with pytest.raises(ArgumentError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(ArgumentError, match="lacks settings, state, task"):
        load(tmp_path)


def test_language_model_windows() -> None:
    """Every token of a text but the first is judged once, whatever the text's length."""
    case = CASES["language_modeling"]
    task = case.task(case.settings())
    for length in (2, 5, 31, 32, 33, 34, 48, 49, 64, 100, 1000):
        row = np.arange(length)
        judged = [int(token) for tokens, new in task._windows(row) for line in tokens for token in line[-new:]]
        assert sorted(judged) == list(range(1, length)), length


def test_a_part_of_the_development_text() -> None:
    """Training judges at most `dev_limit` tokens, spread evenly, and says so; another text is judged whole."""
    case = CASES["language_modeling"]
    task = case.task(case.settings(dev_limit=200, context=32))
    row = np.arange(5000)
    judged = [int(token) for tokens, new in task._windows(row, 200) for line in tokens for token in line[-new:]]
    assert judged == (task._judged(5000, 200) + 1).tolist()
    assert len(set(judged)) == len(judged) == 192
    assert min(judged) < 500
    assert max(judged) > 4500
    text = [Document("a", "ab" * 3000)]
    heard: list[Any] = []
    training = dataclasses.replace(case.settings().training, budget=Budget(epochs=None, steps=2))
    task = case.task(case.settings(dev_limit=200, context=32, training=training))
    task.fit(text, [Document("b", "ab" * 1000)], listeners=[heard.append])
    told = [event for event in heard if isinstance(event, Evaluating)]
    assert {event.total for event in told} == {192}
    assert told[-1].done == 192
    assert "judged on 192 of 2,000 tokens" in task.evaluate(task.dev_).note
    assert task.evaluate([Document("c", "ab" * 1000)]).note == ""
    assert abs(task.evaluate(task.dev_).figures["bits_per_byte"] - task.evaluate(text).figures["bits_per_byte"]) < 0.1


@pytest.mark.parametrize("name", CASES)
def test_every_evaluation_says_how_far_it_is(fitted: dict[str, Task[Any, Any]], name: str) -> None:
    """Whoever listens hears of the last example, in an evaluation and in a prediction."""
    case, heard = CASES[name], []
    task = copy.copy(fitted[name])
    task.listeners = (heard.append,)
    task.evaluate(case.test)
    assert heard[-1].done == heard[-1].total > 0
    heard.clear()
    task.predict(case.inputs)
    assert heard[-1] == Evaluating(len(case.inputs), len(case.inputs))


def test_development_examples_of_pairs() -> None:
    """While training, targets are written for `dev_limit` sources, spread evenly."""
    case = CASES["translation"]
    task = case.task(case.settings(dev_limit=5))
    assert task._watched_part(list(range(50))) == [0, 10, 20, 30, 40]
    assert case.task(case.settings(dev_limit=0))._watched_part(list(range(50))) == list(range(50))


def test_summary_beside_the_first_words() -> None:
    """The baseline of summaries is the first words, a fifth more than a summary has."""
    case = CASES["summarization"]
    task = case.task(case.settings())
    name, figures = task._baseline(PAIRS[:100], PAIRS[:10])
    assert name.startswith("first ")
    assert set(figures) == {"rouge_1", "rouge_2", "rouge_l"}


def test_evidence_comes_from_other_texts() -> None:
    """A training text's own label is not in its evidence; a new text has the counts of all."""
    rows = [[5, 6 + i % 2, 9] for i in range(200)]
    targets = np.array([[1, 0] if i % 2 else [0, 1] for i in range(200)], np.float32)
    evidence, own = Evidence.learnt(rows, targets, vocab_size=20)
    assert evidence.width == 6
    whole = evidence.of([[5, 6, 9], [11, 12]])
    assert np.abs(whole[0][0]).max() < 0.1  # token 5 says nothing
    assert whole[0][1][1] > 3 > -3 > whole[0][1][0]  # token 6 says the second label
    assert not whole[1].any()
    only = [*rows, [15, 16, 17], [15, 16, 18]]
    two = np.concatenate([targets, np.array([[1, 0], [0, 1]], np.float32)])
    _, own = Evidence.learnt(only, two, vocab_size=20)
    assert own[-1][0][0] < 0 < own[-1][0][1] or own[-1][0][0] > 0 > own[-1][0][1]
    assert (own[-1][0][0] > 0) != (two[-1][0] > 0) or (own[-2][0][0] > 0) != (two[-2][0] > 0)
    many = [[20 + i, 700 + i] for i in range(600)]
    three = np.concatenate([np.tile(targets, (3, 1)), two[-2:]])
    _, own = Evidence.learnt([*many, [15, 16], [15, 16]], three, vocab_size=2000)
    assert not own[-1].any()  # copies, which overlap, are counted together
    again = Evidence.from_tensors(evidence.tensors(), 20)
    assert all(np.array_equal(a, b) for a, b in zip(again.of(rows), evidence.of(rows), strict=True))


def test_thresholds() -> None:
    """The threshold with the best F1 is taken, the lowest of equals."""
    shares = torch.tensor([0.05, 0.2, 0.3, 0.6])
    assert best_threshold(shares, torch.tensor([False, False, True, True])) == pytest.approx(0.20, abs=0.021)
    assert best_threshold(shares, torch.tensor([False, True, True, True])) == pytest.approx(0.10)


def test_entities_are_swapped() -> None:
    """An entity's place is taken by another of its label; tags and all other words stay."""
    case = CASES["ner"]
    task = case.task(case.settings(hide_words=0.0, swap_entities=1.0))
    task._learn(case.train)
    _, batch = task._encode(case.train)
    words, _, _, tags = batch(np.arange(200), np.random.default_rng(0))
    plain = case.task(case.settings(hide_words=0.0, swap_entities=0.0))
    plain._learn(case.train)
    before, _, _, same = plain._encode(case.train)[1](np.arange(200), np.random.default_rng(0))
    assert torch.equal(tags, same)
    outside = tags == 0
    assert torch.equal(words[outside], before[outside])
    people = {task.words_[one.words[1]] for one in case.train}
    assert set(words[:, 1].tolist()) <= people
    assert 0.5 < float((words[:, 1] != before[:, 1]).float().mean()) < 1


@EVERY
def test_attention_asks_the_model_where_it_is(fitted: dict[str, Task[Any, Any]], name: str) -> None:
    """Inputs are moved to the model's device, for which "meta" stands here."""
    task = copy.copy(fitted[name])
    task.model_ = copy.deepcopy(task.model_).to("meta")
    seen: list[str] = []

    def look(*given: Any, **more: Any) -> Any:
        every = [one for one in (*given, *more.values()) for one in (one if isinstance(one, tuple) else (one,))]
        seen.extend(one.device.type for one in every if isinstance(one, torch.Tensor))
        raise StopIteration

    task.model_.register_forward_pre_hook(lambda _, args, settings: look(*args, **settings), with_kwargs=True)
    if hasattr(task, "_search"):  # looks for the best text first
        task._search = look
    with pytest.raises(StopIteration):
        task.attention(CASES[name].inputs[0])
    assert seen
    assert set(seen) == {"meta"}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@EVERY
def test_others_may_read_what_the_umask_lets_them(fitted: dict[str, Task[Any, Any]], name: str, tmp_path: Path) -> None:
    """A saved task has the modes that any new file has: a colleague or a server can load it."""
    before = os.umask(0o022)
    try:
        fitted[name].save(tmp_path / "task")
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.rglob("*") if file.is_file()}
    assert "task.json" in modes
    assert set(modes.values()) == {"0o644"}, modes
