"""Confidence: probabilities of entities and labels, and the temperature that makes them true."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from regard.tasks import NamedEntities, Sentiment, Verdict
from regard.tasks._calibration import cooled, label_temperature, right_temperature
from regard.tasks._chains import Chains, continues

from .small import CASES

TAGS = ["O", "B-x", "I-x"]


def chains() -> Chains:
    """Return two sentences of 4 and 2 words."""
    torch.manual_seed(0)
    return Chains(torch.randn(2, 4, 3), torch.tensor([4, 2]), torch.randn(3), torch.randn(3, 3), torch.randn(3))


def weights(some: Chains, row: int) -> dict[tuple[int, ...], float]:
    """Return the probability of every tag sequence of a sentence, by enumeration."""
    length = int(some.lengths[row])
    found = {}
    for tags in itertools.product(range(3), repeat=length):
        score = some.start[tags[0]] + some.end[tags[-1]] + sum(some.scores[row, i, tag] for i, tag in enumerate(tags))
        found[tags] = float((score + sum(some.between[a, b] for a, b in itertools.pairwise(tags))).exp())
    return {tags: one / sum(found.values()) for tags, one in found.items()}


def test_the_chance_of_an_entity_is_a_sum_over_sequences() -> None:
    """The probability of an entity is that of all tag sequences that have exactly it; enumeration agrees."""
    some = chains()
    best = some.best()
    for row in (0, 1):
        every = weights(some, row)
        assert tuple(best[row]) == max(every, key=lambda tags: every[tags])
        for start, stop in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4)):
            if stop > int(some.lengths[row]):
                continue
            tags = [[1] * 4, [1] * 4]
            tags[row][start:stop] = [1, *[2] * (stop - start - 1)]
            wanted = sum(
                p
                for one, p in every.items()
                if list(one[start:stop]) == tags[row][start:stop] and (stop == len(one) or one[stop] != 2)
            )
            assert some.chances([(row, start, stop)], tags, continues(TAGS)) == [pytest.approx(wanted, abs=1e-6)]


def test_mixing_and_cooling() -> None:
    """A mix with share 1 is the first; a temperature changes no best sequence."""
    some, torch_other = chains(), chains()
    assert torch.equal(some.mixed(torch_other, 1.0).scores, some.scores)
    assert some.cooled(3.0).best() == some.best()


def test_the_temperature_undoes_a_wrong_one() -> None:
    """Logits that are three times too large get a temperature of three, both for one label and for several."""
    torch.manual_seed(0)
    logits = torch.randn(4000, 3)
    one = torch.nn.functional.one_hot(torch.distributions.Categorical(logits=logits).sample(), 3)
    assert label_temperature(3 * logits, one, several=False) == pytest.approx(3, rel=0.15)
    several = (torch.rand(4000, 3) < logits.sigmoid()).float()
    assert label_temperature(3 * logits, several, several=True) == pytest.approx(3, rel=0.15)
    chances = torch.rand(4000)
    right = torch.rand(4000) < chances
    bold = (3 * chances.logit()).sigmoid()
    assert right_temperature(lambda t: (bold.logit() / t).sigmoid(), right)[1] == pytest.approx(3, rel=0.15)
    assert 0.2 < label_temperature(logits[:3] * 0 + torch.eye(3), torch.eye(3), several=False) < 1  # three examples
    shares = logits.softmax(-1)
    assert torch.allclose(cooled(cooled(shares, 2.0, several=False), 0.5, several=False), shares, atol=1e-5)


def fitted(name: str) -> Any:
    """Return a fitted task."""
    return CASES[name].task(CASES[name].settings()).fit(CASES[name].train, CASES[name].test)


def test_entities_have_a_confidence() -> None:
    """Found entities carry a probability, given ones none."""
    task = fitted("ner")
    assert isinstance(task, NamedEntities)
    known, strange = task.predict(["dr ada went to oslo", "dr grog went to oslo"])
    assert all(one.confidence > 0.8 for one in known.entities)
    assert len(strange.confidences) == len(strange.entities)
    assert type(known)(known.words, known.tags).entities[0].confidence is None


def test_label_smoothing_caps_nothing_and_silence_is_not_sure() -> None:
    """Where every answer is right the confidence goes above what label smoothing allows; an empty text has none."""
    task = fitted("sentiment")
    assert isinstance(task, Sentiment)
    sure, empty, strange = task.predict(["the oslo was fine", "", "\u4f60\u597d"])
    assert sure.confidence > 1 - task.settings.label_smoothing / 2
    assert empty.confidence == strange.confidence == pytest.approx(0.5)
    several = fitted("several").predict([""])[0]
    assert several.confidence == pytest.approx(1 / 8)


def test_the_confidence_of_several_labels_is_that_of_the_set() -> None:
    """With one label it is its probability, with several the product over all labels."""
    assert Verdict(("a",), {"a": 0.7, "b": 0.3}).confidence == 0.7
    assert Verdict(("a",), {"a": 0.7, "b": 0.2}, several=True).confidence == pytest.approx(0.56)
    assert Verdict((), {"a": 0.1, "b": 0.2}, several=True).confidence == pytest.approx(0.72)
