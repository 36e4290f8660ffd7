"""Analyses of learning curves and fixed points."""
