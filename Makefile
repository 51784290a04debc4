# Everything a person or CI does with this project. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORK ?= both

.PHONY: help serve test check lint types walls contract coverage lock openapi clean

help: ## List the targets.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-10s %s\n", $$1, $$2 }'

serve: $(VENV)/.serve ## Start both front doors (FRAMEWORK=fastapi or flask for one).
	@exec $(BIN)/twinauth serve --framework $(FRAMEWORK)

test: $(VENV)/.dev ## Run every test.
	$(BIN)/pytest

check: lint types walls coverage ## What CI runs.

lint: $(VENV)/.dev ## Style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Types.
	$(BIN)/mypy

walls: $(VENV)/.dev ## Who may import whom.
	$(BIN)/lint-imports

coverage: $(VENV)/.dev ## Every test, with branch coverage of the core and both front doors.
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=95

openapi: $(VENV)/.dev ## Write the snapshot of the OpenAPI document.
	$(BIN)/twinauth openapi > tests/contract/openapi.json

lock: $(VENV)/.dev ## Resolve the dependencies anew, with hashes.
	$(BIN)/uv pip compile $(LOCK) --extra fastapi --extra flask -o requirements/serve.txt pyproject.toml requirements/build.in
	$(BIN)/uv pip compile $(LOCK) --all-extras -o requirements/dev.txt pyproject.toml requirements/build.in

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --upgrade --custom-compile-command "make lock"

clean: ## Remove what the targets above made, but no data.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*

# pip refuses anything whose hash is not in the lock; the project itself is built by the locked hatchling.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements/serve.txt pyproject.toml | $(VENV)/bin/python
	@$(INSTALL) --require-hashes -r requirements/serve.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml verifier/pyproject.toml | $(VENV)/bin/python
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL) --no-deps --no-build-isolation -e . -e ./verifier
	@touch $@
