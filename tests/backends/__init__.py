"""Tests of what lies in `regard.backends`."""
