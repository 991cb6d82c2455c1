# Everything from a fresh clone: `make demo`. Needs Python 3.11 or later; another one than python3: `make PYTHON=... demo`.
# ARGS= goes to the command behind a target: `make demo ARGS="seed=1 root=/elsewhere"`, `make test ARGS="-k schedule"`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-slow test-slurm test-all bench figures reproduce lint hooks clean

PYTHON ?= python3
ARGS ?=
SCALE ?= micro
BIN := .venv/bin
READY := .venv/.ready
TWO := --numprocesses=2 --dist=loadgroup

# Reference data that some tests compare with; they are skipped where it is missing.
ifneq ($(wildcard ../shared/data),)
export REWARM_REFERENCE_DATA ?= $(abspath ../shared/data)
endif

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  ARGS="..." goes to the command behind a target; PYTHON=python3.12 is what a new .venv is made with'

install: $(READY)  ## .venv with the versions of requirements.lock; every target does it when needed

# The stamp comes last, so that an interrupted installation is taken up again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Rewarm needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true). Give one: make PYTHON=python3.11 ..." >&2; \
	    exit 2; }
	@echo "Installing requirements.lock into .venv (once; some minutes, mostly torch)" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## train the runs of sweeps/demo.yaml, draw their figures, compare with the committed ones
	$(BIN)/python -m harness -cd sweeps -cn demo $(ARGS)
	$(BIN)/python -m paper_figures --live --sweep demo --check demo $(filter-out -m --multirun,$(ARGS))

test: $(READY)  ## the fast tests, on two cores
	$(BIN)/python -m pytest $(TWO) $(ARGS)

test-slow: $(READY)  ## the slow tests alone, on two cores
	$(BIN)/python -m pytest $(TWO) -m slow -rs $(ARGS)

test-slurm: $(READY)  ## of these, those against a real SLURM, which they install (Debian, root), start and stop
	$(BIN)/python -m pytest -m slurm -rs $(ARGS)

test-all: $(READY)  ## all tests, on two cores
	$(BIN)/python -m pytest $(TWO) -m "" -rs $(ARGS)

bench: $(READY)  ## speed of training, planning, reading and fitting against what is used today, into docs/benchmarks.md
	$(BIN)/python -m benchmarks --page docs/benchmarks.md $(ARGS)

figures: $(READY)  ## the papers' figures from the committed tables, no training
	$(BIN)/python -m paper_figures $(ARGS)

reproduce: $(READY)  ## train committed tables anew and compare: SCALE=micro, a few runs; SCALE=mini, all, in hours
	$(BIN)/python -m paper_figures.reproduce $(SCALE) $(ARGS)

lint: $(READY)  ## format, ruff and mypy
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

hooks: $(READY)  ## run the linters before every commit
	$(BIN)/pre-commit install

clean:  ## remove .venv and caches; runs/ and figures/ stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
