"""Catching calls of attention."""
