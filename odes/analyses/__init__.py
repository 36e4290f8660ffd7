"""What learning curves and fixed points tell."""
