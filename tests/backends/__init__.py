"""Tests of the single backends; what all of them must do stands in `tests/conformance`."""
