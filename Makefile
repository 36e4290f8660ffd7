PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: figures test check bench docs

figures: $(READY)
	$(VENV)/bin/python paper_figs.py --quick

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python benchmarks/accuracy.py
	$(VENV)/bin/python benchmarks/quadrature.py
	$(VENV)/bin/python benchmarks/bench_solve.py
	$(VENV)/bin/python benchmarks/bench_sweep.py
	$(VENV)/bin/python benchmarks/bench_simulate.py

docs: $(VENV)/.docs
	$(VENV)/bin/python -m sphinx -M html docs docs/_build -W --keep-going --fresh-env

$(VENV)/.docs: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	touch $@
