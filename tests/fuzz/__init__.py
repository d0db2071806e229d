"""Random calls against a dense float64 reference; see `calls.py`. By hand for longer: `REGARD_FUZZ_MINUTES=60`."""
