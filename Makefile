PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
IMAGES := $(VENV)/.images
AVX512 := 'from numpy._core._multiarray_umath import __cpu_dispatch__ as known, __cpu_features__ as has; \
	print(*[name for name in known if has[name] and ("512" in name or name == "X86_V4")])'

CORE := learning_curves alignment pepita_versus_afa phase_diagram
PICTURES := learning_curves natural_images depth continual_learning merged_models
OF_PAGES := $(addprefix pictures/,training_scripts differences claims conventions) \
	../examples/target_projection

.PHONY: figures all-figures paper picture explore test test-all test-portable test-explorer check \
	bench bench-device docs

COMPILING := figures all-figures paper picture explore test test-all test-portable test-explorer

# What JAX compiles is kept in the environment for later runs, without diffrax's checks, for whose sake
# it would not be kept.  Not for benchmarks, which count compilation.
$(COMPILING): export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/$(VENV)/compiled
$(COMPILING): export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
$(COMPILING): export EQX_ON_ERROR := off

# The figures that show what this is for, on small networks.
figures: $(READY)
	$(VENV)/bin/python paper_figs.py --quick --only $(CORE)

all-figures: $(IMAGES)
	$(VENV)/bin/python paper_figs.py --quick --jobs 2

# All figures at full size.
paper: $(IMAGES)
	$(VENV)/bin/python paper_figs.py

# Curves by sliders, in a browser on this machine.
explore: $(VENV)/.explore
	$(VENV)/bin/python -m figures.explorer

test: $(TOOLS)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m "not long"

test-all: $(TOOLS)
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

# The pictures of the README and of docs/inputs.md, docs/depth.md and docs/tasks.md, and those
# that pages draw by scripts of their own.
picture: $(IMAGES)
	$(VENV)/bin/python paper_figs.py --only $(PICTURES)
	cp $(PICTURES:%=out/%.png) docs/
	cd docs && for page in $(OF_PAGES); do ../$(VENV)/bin/python $$page.py || exit; done

# A part of the tests as on a processor without AVX-512.
test-portable: $(TOOLS)
	NPY_DISABLE_CPU_FEATURES="$$($(VENV)/bin/python -c $(AVX512))" OPENBLAS_CORETYPE=Haswell \
	XLA_FLAGS=--xla_cpu_max_isa=AVX2 $(VENV)/bin/python -m pytest -n 2 \
	tests/odes/test_quadrature.py tests/odes/test_averages.py tests/odes/test_drift.py \
	tests/odes/test_known_answers.py tests/odes/test_end_of_learning.py tests/test_round_trip.py

# The explorer in Chromium, which has to be installed.
test-explorer: $(VENV)/.browser
	$(VENV)/bin/python -m pytest tests/explorer_in_chromium.py

check: $(TOOLS)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python benchmarks/accuracy.py
	$(VENV)/bin/python benchmarks/quadrature.py
	$(VENV)/bin/python benchmarks/bench_solve.py
	$(VENV)/bin/python benchmarks/bench_sweep.py
	$(VENV)/bin/python benchmarks/bench_simulate.py

# On the GPU of this machine.
bench-device: $(READY)
	$(VENV)/bin/python benchmarks/bench_device.py

# The pages, which load nothing from elsewhere: they are read without the internet, too.
docs: $(VENV)/.docs
	$(VENV)/bin/python -m sphinx -M html docs docs/_build -W --keep-going --fresh-env
	! grep -rE '<(script|link|img)[^>]*(src|href)="(https?:)?//' docs/_build/html --include='*.html'

$(VENV)/.explore: $(READY)
	$(INSTALL) '.[explore]'
	touch $@

$(VENV)/.browser: $(READY)
	$(INSTALL) '.[explore,browser]'
	touch $@

$(VENV)/.docs: $(READY)
	$(INSTALL) '.[docs]'
	touch $@

INSTALL = $(PYTHON) -m venv $(VENV) && $(VENV)/bin/python -m pip install --quiet --no-compile \
	--disable-pip-version-check --config-settings editable_mode=compat --editable

$(READY): setup.cfg pyproject.toml
	$(INSTALL) .
	touch $@

# With scikit-learn, which has the photographs and the digits of one figure.
$(IMAGES): setup.cfg pyproject.toml
	$(INSTALL) '.[examples]'
	touch $(READY) $@

$(TOOLS): setup.cfg pyproject.toml
	$(INSTALL) '.[test,dev]'
	touch $(READY) $@
