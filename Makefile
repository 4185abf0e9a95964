# Assay: `make` lists the verbs. Only Python 3.11 or newer, a C compiler and make are assumed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
NAME ?=
ARGS ?=
WORKERS ?= auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
BASE := $(VENV)/.assay-base
DEV := $(VENV)/.assay-dev
DOCS := $(VENV)/.assay-docs

.PHONY: help install install-dev native sanitize demo demo-network test lint docs bench experiment vectors wheel extras torture clean browser

help:
	@echo "make demo      install into $(VENV), record, audit, tamper, certify and verify two models"
	@echo "make native    build the C kernels beside their sources, if they changed"
	@echo "make sanitize  test the C kernels under the address and undefined-behaviour sanitizers"
	@echo "make demo-network  a ledger, a node, thirteen verifiers and four submissions"
	@echo "make test      install with the development tools and run every test"
	@echo "make lint      ruff, mypy --strict, import contracts"
	@echo "make docs      build the documentation into site/, any warning is an error"
	@echo "make bench     run every benchmark; NAME=record runs one; each prints one JSON object last"
	@echo "make experiment NAME=table2: run an experiment of a paper, ours beside the paper's; ARGS=--tiny takes seconds"
	@echo "make vectors   write the test vectors again"
	@echo "make wheel     build the wheel, install it alone and use it"
	@echo "make extras    install the wheel with each extra, or NAME=torch; TORCH=2.14.1 takes another version; slow"
	@echo "make torture   the long versions: 100 kills, 10,000,000 mutated inputs"
	@echo "make clean     remove build outputs and caches, keep $(VENV) and runs/"
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter; PIP_ARGS=... is handed to pip; WORKERS=1 runs the tests one by one."

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "expected Python 3.11 or newer, found $$($(PYTHON) --version 2>&1); try make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt hatch_build.py | $(BIN)/python
	@echo "installing into $(VENV); the first time this fetches PyTorch"
	$(PIP) -e '.[torch,data,node]'
	@touch $@

$(DEV): $(BASE)
	$(PIP) -e '.[torch,data,node,dev]'
	@touch $@

$(DOCS): $(DEV)
	$(PIP) -e '.[torch,data,node,dev,docs]'
	@touch $@

install: $(BASE)

install-dev: $(DEV)

native: | $(BIN)/python
	@$(BIN)/python -m tools.native_build

sanitize: $(DEV)
	tools/check_native.sh $(BIN)/python

demo: $(BASE) native
	$(BIN)/python -m assay demo

demo-network: $(BASE) native
	$(BIN)/python -m assay demo network

test: $(DEV) native browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The tests of the report look at it in a real browser; on Debian and Ubuntu it is installed if it is missing.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	       && apt-get update -qq && apt-get install -y -qq chromium fonts-dejavu-core >/dev/null; } \
	  || { echo "expected the command chromium, which the tests of the report use; install it and try again"; exit 2; }

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS)
	$(BIN)/python -m tools.reference --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(DEV) native
ifeq ($(NAME),)
	@status=0; for file in $$(grep -l __main__ benchmarks/*.py); do \
	  echo "== $$file"; PYTHONPATH=. $(BIN)/python $$file || status=1; done; exit $$status
else
	PYTHONPATH=. $(BIN)/python benchmarks/$(NAME).py
endif

experiment: $(DEV) native
	PYTHONPATH=. $(BIN)/python experiments/$(NAME)/run.py $(ARGS)

vectors: $(DEV)
	@for file in tools/*_vectors.py; do \
	  echo $$file; $(BIN)/python -m tools.$$(basename $$file .py) || exit 1; done

wheel: $(DEV)
	tools/check_wheel.sh $(BIN)/python

extras: $(DEV)
	tools/check_extras.sh $(BIN)/python $(NAME)

torture: $(DEV) native browser
	ASSAY_TORTURE=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m torture

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/assay/kernels/native/*.so
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
