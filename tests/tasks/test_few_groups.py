"""A small set of texts of one pattern is learnt: evidence that is left out in groups would point the other way."""

import dataclasses

from regard.tasks import Sentiment

from .small import CASES


def test_texts_of_one_pattern_are_learnt() -> None:
    """The transformer alone is right on texts that it has not seen."""
    case = CASES["sentiment"]
    task = Sentiment(dataclasses.replace(case.settings(), only="model")).fit(case.train, case.test)
    assert task.evaluate(case.test).figures["accuracy"] > 0.9
