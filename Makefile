# Everything happens in .venv, which is made from requirements.lock on first use. `make PYTHON=python3.11 ...` picks the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv train test slow check bounds lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The stamp carries a checksum of what is installed, so a checkout that touches only times installs nothing.
STAMP := .venv/installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

export RAY_USAGE_STATS_ENABLED := 0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0

help:  ## show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

venv: $(STAMP)  ## make .venv and install the exact versions of requirements.lock
$(STAMP):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	rm -f .venv/installed-*
	touch $@

train: venv  ## train the default run, compare it with the rules, say where the logs are
	$(BIN)/edge-rllib train run/quickstart

test: check  ## all checks and all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

slow: venv bounds  ## the slow tests: learning, Ray clusters, wheels
	$(BIN)/python -m pytest -m slow

check: venv  ## ruff, mypy, layers, size budget
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -s tests/packaging/test_size_budget.py

bounds: venv  ## the tests of worlds with every array access checked
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -q -m "not slow" --ignore=tests/packaging

lock:  ## write requirements.lock anew from the newest versions that pyproject.toml allows
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip setuptools
	build/lock/bin/python -m pip install --quiet -e ".[cluster,dev,lunar,onnx,testbed,traces]"
	head -n 1 requirements.lock > build/lock/requirements.lock
	build/lock/bin/python -m pip freeze --all --exclude-editable --exclude pip --exclude edge-rllib | sed -E '/^#/d; s/\+cpu$$//' >> build/lock/requirements.lock
	mv build/lock/requirements.lock requirements.lock

clean:  ## remove .venv, caches and builds; results stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
