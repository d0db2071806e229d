"""Tests of `regard.layers`."""
