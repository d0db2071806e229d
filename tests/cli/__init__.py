"""Tests of the command `regard`."""
