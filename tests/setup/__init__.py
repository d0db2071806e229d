"""Setting up: what `make` says where it cannot go on, and that every pin can be installed as it is."""
