"""Rules about the code as a whole: floors, names, lengths, imports."""
