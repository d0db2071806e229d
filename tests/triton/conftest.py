"""On systems without Triton these modules cannot be imported, so they are not collected."""

from tests.interpreted import MISSING

collect_ignore_glob = ["test_*.py"] if MISSING else []
