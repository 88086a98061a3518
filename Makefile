# make demo: see it work.  make test: lint, types and tests.  make ui: compare runs in MLflow.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: demo install test lint types tests format ui clean

demo: install
	$(BIN)/rerankbench

# Made anew only when what it is made from changed.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

test: lint types tests

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

tests: install
	$(BIN)/pytest

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: install
	$(BIN)/rerankbench-ui

clean:
	rm -rf $(VENV) outputs multirun mlartifacts mlflow.db*
