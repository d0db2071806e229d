"""Set-up: the messages of `make` when it fails, and that every pinned package can be installed."""
