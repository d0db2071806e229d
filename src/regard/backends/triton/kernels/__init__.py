"""Code in Triton's language. Imported at the first call; what starts it stands one folder up."""
