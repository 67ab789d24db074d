# `make lab` opens the notebooks, `make test` proves that everything works.
# Both build the virtual environment from nothing when it is missing or older than pyproject.toml.

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
CANDIDATES := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python

.PHONY: help lab test lint notebooks pictures weights bench

help:
	@echo "make lab                  open JupyterLab with the first notebook"
	@echo "make test                 every check and every test"
	@echo "make lint                 the checks alone: style, types, floors, notebooks up to date"
	@echo "make notebooks            notebooks/*.ipynb from notebooks/src/*.py"
	@echo "make pictures             docs/images from the synthetic scene"
	@echo "make weights NAME=...     build one checkpoint (without NAME: list them)"
	@echo "make bench                timings, in a real browser too"

$(READY): pyproject.toml
	@if ! $(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null; then \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or newer found: install one, or name it with 'make PYTHON=/path/to/python3 ...'." >&2; \
	    exit 1; \
	  fi; \
	  echo "Building $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --editable '.[dev]'
	@touch $@

lab: $(READY)
	$(BIN)/sartutor lab

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python notebooks/build.py --check

notebooks: $(READY)
	$(BIN)/python notebooks/build.py

pictures: $(READY)
	$(BIN)/python docs/images/build.py

weights: $(READY)
	$(BIN)/python -m sartutor.learn.recipes $(NAME)

bench: $(READY)
	$(BIN)/python -m bench
