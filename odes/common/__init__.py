"""Shared by theory, networks and figures: states, checks, schedules, grids, storage."""
