"""What the benchmarks are made of: cases, PyTorch twins of them, timing, and rows of results."""
