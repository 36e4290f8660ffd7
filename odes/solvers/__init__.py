"""Learning curves: one, many side by side, as a JAX function, as sample paths; and scatter."""
