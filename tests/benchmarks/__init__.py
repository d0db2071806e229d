"""The measurements: that they run."""
