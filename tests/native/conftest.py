"""What several tests of the kernel build."""

from __future__ import annotations

import pytest

from . import library
from .test_imitated import need
from .tiles import WIDE, Built, build


@pytest.fixture(params=library.ISAS)
def isa(request):
    """Forces one instruction set for a test."""
    assert library.LIB.regard_select_isa(request.param.encode()) == 0
    yield request.param
    library.LIB.regard_select_isa(None)


@pytest.fixture(scope="session", params=[False, True], ids=["plain vectors", "AVX-512"])
def imitated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the unit of tiles, imitated."""
    need("g++")
    if request.param and "avx512_bf16" not in library.ISAS:
        pytest.skip("needs a processor with AVX-512 and bfloat16")
    return Built(build(tmp_path_factory.mktemp("tiles"), *(WIDE if request.param else [])), request.param)
