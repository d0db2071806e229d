"""Tests of `regard.recordings`."""
