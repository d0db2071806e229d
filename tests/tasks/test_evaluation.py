"""What an evaluation says of itself."""

import pytest

from regard.tasks import Evaluation


@pytest.mark.parametrize(("count", "says"), [(1, "ner on 1 example (test)"), (1200, "ner on 1,200 examples (test)")])
def test_first_line(count: int, says: str) -> None:
    """One example is not many."""
    found = Evaluation("ner", count, "f1", "max", {"f1": 0.5}, {}, "", data="test")
    assert str(found).splitlines()[0] == says
