"""ListOps and the study of it: an independent evaluator, batches that change nothing, baselines that learn."""

import ast
import statistics

import pytest
import torch

from regard.corpora import nested_operations
from regard.errors import ArgumentError
from regard.models import SequenceClassifier, SequenceClassifierConfig
from regard.studies import LongRangeSettings, Study, long_range
from regard.studies._linear_heads import attend_linearly
from regard.studies._long_range import WORDS, Lists, answers, bag_of_words

NAMES = {
    "MIN": min,
    "MAX": max,
    "MED": lambda values: int(statistics.median(values)),
    "SM": lambda values: sum(values) % 10,
}


def evaluate(text: str) -> int:
    """Evaluate a list by way of Python's own parser: nothing of the generator is used."""
    for name in NAMES:
        text = text.replace(f"[{name}", f"['{name}',")
    tree = ast.literal_eval(text.replace(" ", ",").replace(",,", ",").replace(",]", "]"))

    def value(node: object) -> int:
        return NAMES[node[0]]([value(one) for one in node[1:]]) if isinstance(node, list) else node

    return value(tree)


@pytest.mark.parametrize("lengths", [(8, 30), (20, 100), (300, 600)])
def test_labels_are_what_the_lists_come_to(lengths: tuple[int, int]) -> None:
    """Labels agree with an independent evaluator; lengths, depth and arguments are within their limits."""
    split = nested_operations(size=60, lengths=lengths, depth=8, arguments=9, seed=3)
    texts = [example.text for part in (split.train, split.dev, split.test) for example in part]
    assert len(set(texts)) == len(texts) == 160
    for part in (split.train, split.dev, split.test):
        for example in part:
            assert str(evaluate(example.text)) == example.labels[0]
            tokens = example.text.split()
            assert lengths[0] <= len(tokens) <= lengths[1]
            depth = deepest = 0
            counts: list[int] = []
            for token in tokens:
                if counts and token != "]":
                    counts[-1] += 1
                if token.startswith("["):
                    counts.append(0)
                    depth += 1
                elif token == "]":
                    assert 2 <= counts.pop() <= 9
                    depth -= 1
                deepest = max(deepest, depth)
            assert depth == 0
            assert deepest <= 8


def test_the_seed_decides() -> None:
    """One seed gives one set of lists, another a different one."""
    first, again, other = (nested_operations(size=20, seed=seed).train for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "size is 3"),
        ({"lengths": (50, 20)}, "lengths is"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 1, "arguments": 5}, "allow 7 tokens"),
        ({"depth": 4, "arguments": 3, "lengths": (60, 80)}, "Widen lengths"),
    ],
)
def test_rules_that_cannot_be_kept(options: dict[str, object], message: str) -> None:
    """Impossible rules are refused, instead of drawing for ever."""
    with pytest.raises(ArgumentError, match=message):
        nested_operations(**options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lists() -> tuple[Lists, Lists]:
    """Some short lists to learn from and others."""
    split = nested_operations(size=500, lengths=(8, 40))
    return Lists.of(split.train), Lists.of(split.test)


@pytest.mark.parametrize("linear", [False, True])
def test_answers_do_not_depend_on_the_batch(lists: tuple[Lists, Lists], linear: bool) -> None:
    """Lists answered together with padding get the answers they get alone."""
    torch.manual_seed(0)
    model = SequenceClassifier(SequenceClassifierConfig(vocab_size=len(WORDS), num_labels=10, embed_dim=16)).eval()
    torch.nn.init.normal_(model.head.weight)
    for layer in model.encoder.layers:
        layer.self_attention.dropout = 0.0
    if linear:
        attend_linearly(model)
    test = lists[1]
    alone = torch.stack([model(one[None]).argmax(-1)[0] for one in test.tokens])
    assert len(alone.unique()) > 1
    assert torch.equal(answers(model, test, tokens=200), alone)
    assert torch.equal(answers(model, test), alone)


def test_counts_of_tokens_find_what_counts_tell() -> None:
    """The baseline learns a label that follows from counts, and is as good as its most frequent answer otherwise."""
    random = torch.Generator().manual_seed(0)
    tokens = tuple(torch.randint(6, 16, (20,), generator=random) for _ in range(300))
    told = Lists(tokens, torch.tensor([int((one == 8).sum() > 1) for one in tokens]))
    assert float((bag_of_words(told, told) == told.labels).float().mean()) > 0.9


def test_the_study_beside_its_baselines() -> None:
    """A tiny run has a row for each model and baseline, says what it saw, and one seed gives the same again."""
    settings = LongRangeSettings(examples=100, lengths=(8, 30), steps=3, embed_dim=16, tokens=256, num_layers=1)
    first, again = long_range(settings), long_range(settings)
    assert isinstance(first, Study)
    assert [row[0] for row in first.tables[0].rows][:2] == ["most frequent answer", "counts of tokens"]
    assert len(first.tables[0].rows) == 6
    assert [row[1] for row in first.tables[0].rows] == [row[1] for row in again.tables[0].rows]
    assert all(one["steps"] == 3 for one in first.data["models"])
    assert "does not compare" in first.reading[-1]


def test_minutes_end_a_training() -> None:
    """A limit on the clock ends the trainings without a number of steps."""
    settings = LongRangeSettings(
        examples=50, lengths=(8, 30), minutes=0.004, embed_dim=16, tokens=256, num_layers=1, positions=("none",)
    )
    study = long_range(settings)
    assert all(one["steps"] >= 1 for one in study.data["models"])
