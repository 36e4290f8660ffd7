"""Averages over one input: in closed form, over quadrature nodes, and differentiably."""
