# The habits of the project. Every target installs what it needs first, so each works on a bare machine
# with python3 (3.11 or newer) and its venv module.

PYTHON ?= python3
# More options for pip. On a machine without a GPU this saves gigabytes:
#   make setup PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.diorama-installed

# Tests side by side, in the order of their files; see tests/conftest.py for what stays together.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.PHONY: setup demo studio test test-fast lint bench train

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_ARGS) -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/diorama render assets/examples/demo.yaml --out out/demo

studio: $(STAMP)
	$(BIN)/python app.py

test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-fast: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.attention
	$(BIN)/python -m benchmarks.scenes
	$(BIN)/python -m benchmarks.layout
	$(BIN)/python -m benchmarks.reuse
	$(BIN)/python -m benchmarks.estimate
	$(BIN)/python -m benchmarks.deferred
	$(BIN)/python -m benchmarks.layered
	$(BIN)/python -m benchmarks.dubbing
	$(BIN)/python -m benchmarks.studio --seconds 30
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.rows
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.finetune

train: $(STAMP)
	$(BIN)/diorama train assets/papercut/train.yaml
