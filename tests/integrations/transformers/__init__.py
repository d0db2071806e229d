"""Hugging Face models of many families, small and with random weights: no download."""
