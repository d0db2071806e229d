"""One table of cases, run by every backend against one oracle."""
