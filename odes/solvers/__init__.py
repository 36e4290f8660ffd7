"""Solvers of the equations: single curves, sweeps, JAX functions, sample paths, fluctuations."""
