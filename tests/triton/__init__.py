"""The Triton backend: in the interpreter, and compiled for devices that are not here."""

import pytest

from tests.interpreted import MISSING

if MISSING:
    pytest.skip("Triton has no wheels for this system", allow_module_level=True)
