"""Curves by sliders, in the browser: ``python -m figures.explorer``, or ``make explore``.

``page.py`` is the page, a marimo notebook; all else is plain functions.  ``choices.py`` has what
can be chosen, ``curves.py`` computes it, ``views.py`` draws it, and ``scripts.py`` writes the
script that does the same.
"""
