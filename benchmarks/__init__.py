"""Speed and memory against PyTorch's own attention, as ratios. Run `python -m benchmarks`."""
