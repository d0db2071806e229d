"""The Triton backend: in the interpreter, and compiled for devices that are not here."""
