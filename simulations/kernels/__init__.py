"""What kernels for GPUs are made of: random numbers by counter, and functions entry by entry."""
