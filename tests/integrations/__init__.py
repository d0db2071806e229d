"""Other libraries on regard."""
