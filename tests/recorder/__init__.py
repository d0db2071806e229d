"""Tests of `regard.recorder`."""
