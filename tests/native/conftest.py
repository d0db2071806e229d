"""The instruction sets of this machine, each forced in turn."""

import pytest

from tests.native import library


@pytest.fixture(params=library.ISAS)
def isa(request):
    """Forces one instruction set for a test."""
    assert library.LIB.regard_select_isa(request.param.encode()) == 0
    yield request.param
    library.LIB.regard_select_isa(None)
