# Two commands on a machine with python3:
#   make demo   runs the paper's rank dynamics and draws them into runs/demo
#   make test   runs the tests
# PYTHON=python3.12 chooses the interpreter (3.12, with its newer jax, is the recommended
# one). PINS="jax==0.10.0 jaxlib==0.10.0" installs those versions.

PYTHON ?= python3
PINS ?=
# Interpreters of `make release-check`; those that are not there are left out.
PYTHONS ?= python3.11 python3.12 python3.13
VENV := .venv
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
RUNTIME := $(VENV)/.runtime-$(VERSION)
DEVELOP := $(VENV)/.develop-$(VERSION)
DOCUMENT := $(VENV)/.document-$(VERSION)
BIN := $(VENV)/bin

.PHONY: help demo test test-all test-durable lint types coverage docs docs-test bench
.PHONY: release-check check-accelerators clean

help:
	@echo "make demo | test | test-all | test-durable | lint | types | coverage | docs |"
	@echo "     docs-test | bench | release-check | check-accelerators | clean"
	@echo "     [PYTHON=python3.12]"

demo: $(RUNTIME)
	$(BIN)/python -m sims.incremental_rank --out runs/demo
	@echo "look at runs/demo/dynamics.png"

test: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not durable and not browser"

# Slow studies too.
test-all: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not durable and not browser"

# Kills, signals, damaged folders, the long fuzz and whole commands.
test-durable: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m durable

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Public names of a wheel whose types are not known, and the share of those that are.
types: $(DEVELOP)
	$(BIN)/python -m tests.type_checks

# Lines and branches that `make test` does not reach.
coverage: $(DEVELOP)
	$(BIN)/python -m pip install --quiet --group coverage $(PINS)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not durable and not browser" --cov

# The wheel and the sdist into dist/, tried in an empty environment of each interpreter.
release-check:
	PYTHON="$(PYTHON)" PYTHONS="$(PYTHONS)" .ci/release-check

# Every program compiled for TPUs and GPUs that are not there, by compilers in environments
# of their own (3 GB).
check-accelerators: $(VENV)-tpu/.made $(VENV)-cuda/.made
	$(VENV)-tpu/bin/python -m benchmarks.ahead_of_time.check \
		--cuda-python $(VENV)-cuda/bin/python

$(VENV)-tpu/.made: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)-tpu
	$(VENV)-tpu/bin/python -m pip install --quiet -e ".[networks]" "jax[tpu]" $(PINS)
	touch $@

$(VENV)-cuda/.made: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)-cuda
	$(VENV)-cuda/bin/python -m pip install --quiet -e ".[networks]" \
		"jax[cuda12-local]" nvidia-cuda-nvcc-cu12 $(PINS)
	touch $@

# The site into site/: examples that changed are run, pages are built.
docs: $(DOCUMENT)
	$(BIN)/python -m docs.tools.gallery
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Examples, links, the site and reports in a browser, which is installed if it can be.
docs-test: docs
	CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m pytest -n 2 --dist worksteal -m browser

bench: $(RUNTIME)
	$(BIN)/python -m benchmarks.descent_step
	$(BIN)/python -m benchmarks.contraction
	$(BIN)/python -m benchmarks.ensemble
	$(BIN)/python -m benchmarks.sharded
	$(BIN)/python -m benchmarks.wide
	$(BIN)/python -m benchmarks.spectra
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.locality
	$(BIN)/python -m benchmarks.tables

# Another interpreter has another stamp, so it gets a fresh environment.
$(RUNTIME): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable '.[all]' $(PINS)
	touch $@

$(DEVELOP): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --group dev $(PINS)
	touch $@

$(DOCUMENT): $(DEVELOP)
	$(BIN)/python -m pip install --quiet --group docs $(PINS)
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-tpu $(VENV)-cuda build dist runs site .cache docs/figures/schemes .coverage* .pytest_cache .ruff_cache .hypothesis
