# A signpost: `make` lists what there is. Nothing here is required; pip and pytest do the work.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
# Test workers times threads must not exceed the cores: two workers, one thread each.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install check format test test-fast test-all test-gpu demo demo-video measure docs dist clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## build .venv with everything for development (quick when up to date)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml runtime/pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e runtime -e '.[dev]'
	@touch $@

check: install ## lint and types
	$(BIN)/ruff check src tests tools benchmarks runtime
	$(BIN)/ruff format --check src tests tools benchmarks runtime
	$(BIN)/mypy

format: install ## lay out the code and sort imports
	$(BIN)/ruff check --fix-only --quiet src tests tools benchmarks runtime
	$(BIN)/ruff format src tests tools benchmarks runtime

test: install ## all tests that two cores finish in ten minutes
	$(PYTEST) -q -n $(WORKERS) --dist worksteal -m "not slow"

test-fast: install ## an answer within a minute
	$(PYTEST) -q -n $(WORKERS) --dist worksteal -m "not slow and not medium"

test-all: install ## slow tests too (training to a known score)
	$(PYTEST) -q -n $(WORKERS) --dist worksteal

test-gpu: install ## what a GPU has to show, on one
	$(PYTEST) -q -m gpu

demo: install ## train a small detector on drawn shapes and write a report
	$(BIN)/pagoda demo

demo-video: install ## train a small Detect-and-Track on walking figures, follow them, write a video
	$(BIN)/pagoda demo --video

measure: install ## sizes of files and functions, circles, what loading takes along
	$(BIN)/python tools/measure.py
	$(BIN)/python tools/measure_house.py

docs: $(DOCS_STAMP) ## these pages and a reference of all functions as a site in build/site; no network once installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

$(DOCS_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $@

dist: install ## wheels and source archives of both distributions in dist/
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python -m build --quiet --outdir dist runtime

clean: ## remove what builds and tests left behind (keeps .venv and runs)
	rm -rf build dist src/*.egg-info runtime/build runtime/src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests runtime -name __pycache__ -type d -prune -exec rm -rf {} +
