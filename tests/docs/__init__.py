"""Tests of the documentation: examples run, links are valid."""
