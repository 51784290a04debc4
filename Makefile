# Everything a person or CI does with this project. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORK ?= both
FASTAPI_PORT ?= 8000
FLASK_PORT ?= 5000
# Where nothing keeps compiled files, each process that a test starts compiles the whole service.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help serve test proofs clients lab-faults lab-fuzz lab-soak lab-stack lab-cluster lab-planted faults fuzz soak stack-test lab cost load check lint types walls coverage openapi pin texts lock installs audit clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-11s %s\n", $$1, $$2 }'

serve: $(VENV)/.serve ## Start both front doors (FRAMEWORK=flask for one; FASTAPI_PORT=8010 FLASK_PORT=5010).
	@exec $(BIN)/twinauth serve --framework $(FRAMEWORK) --fastapi-port $(FASTAPI_PORT) --flask-port $(FLASK_PORT)

test: $(VENV)/.dev $(VENV)/.node ## Run every test of tests/, and say what was skipped.
	$(BIN)/pytest $(PARALLEL) tests

PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder --durations 20

proofs: $(VENV)/.dev ## A short round of everything in lab/; what measures time runs alone.
	$(BIN)/pytest $(PARALLEL) -m "not alone" lab
	$(BIN)/pytest -m alone lab

clients: build/clients/package-lock.json ## Bring the linters and generators that lab/clients tries the document with (needs npm).

build/clients/package-lock.json: lab/clients/package-lock.json
	@command -v npm >/dev/null || { echo "make clients needs npm: apt-get install nodejs npm" >&2; exit 1; }
	@mkdir -p build/clients
	cp lab/clients/package.json build/clients
	cp lab/clients/package-lock.json $@
	cd build/clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || { rm -f package-lock.json; exit 1; }

# The long rounds: so many minutes for each search, each fault, each soak (make lab-fuzz MINUTES=60).
LONG = AUTH_TEST_LAB_MINUTES=$(MINUTES) $(BIN)/pytest -o faulthandler_timeout=0 -o timeout=0

lab-faults: MINUTES ?= 1
lab-faults: $(VENV)/.dev ## Break databases and doors for a minute each way, and check the history (MINUTES=1).
	$(LONG) lab/faults

lab-fuzz: MINUTES ?= 10
lab-fuzz: $(VENV)/.dev ## Search both front doors for differences, on both databases (MINUTES=10).
	$(LONG) lab/fuzz

lab-soak: MINUTES ?= 10
lab-soak: $(VENV)/.dev ## Mixed load at both doors: nothing may grow (MINUTES=10).
	$(LONG) lab/soak

lab-stack: $(VENV)/.dev ## Bring the stack up and down with Docker, and break parts of it on the way (twenty-five minutes).
	AUTH_TEST_DOCKER=1 $(BIN)/pytest -o faulthandler_timeout=0 -o timeout=0 lab/stack

lab-cluster: $(VENV)/.dev ## Kill the leader of a PostgreSQL cluster under load, and count what was lost (docs/guides/postgres.md).
	$(BIN)/python -m lab.cluster trial

lab-planted: $(VENV)/.dev ## Plant one fault after another, and see which tests see it (PLANTED='--list').
	$(BIN)/python -m lab.planted_faults $(PLANTED)

faults fuzz soak: %: lab-%
stack-test: lab-stack
lab: lab-cluster

cost: $(VENV)/.dev ## What each operation costs, and what 100 million users would need (COST='--again --whoamis 5').
	$(BIN)/python -m benchmarks.cost $(COST)

load: $(VENV)/.dev ## What each door answers a second, and how fast (LOAD='--against FILE' fails where FILE was a quarter better).
	$(BIN)/python -m benchmarks.load $(LOAD)

check: lint types walls coverage proofs ## What CI runs.

lint: $(VENV)/.dev ## Style.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Types.
	$(BIN)/mypy

walls: $(VENV)/.dev ## Who may import whom.
	$(BIN)/lint-imports

coverage: $(VENV)/.dev $(VENV)/.node ## make test, with branch coverage of the core and both front doors.
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=term --cov-fail-under=95 tests

openapi: $(VENV)/.dev ## Write the snapshot of the OpenAPI document.
	AUTH_PUBLIC_URL=http://127.0.0.1:8000 $(BIN)/twinauth openapi > tests/contract/openapi.json

pin: ## Name the base images by digest, as their tags stand in the registry now (needs Docker and a network).
	@deploy/image/pin

texts: $(VENV)/.dev ## Bring the catalogues up to date with the templates; new entries wait for their translation.
	$(BIN)/pybabel -q extract -F core/mail/texts/babel.cfg --no-location --sort-output --omit-header -o $(VENV)/texts.pot core/mail/texts
	$(BIN)/pybabel -q update -i $(VENV)/texts.pot -o core/mail/texts/locale/de.po -l de --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 120

lock: $(VENV)/.dev ## Resolve the dependencies anew, with hashes.
	$(UV) --extra fastapi --extra flask --extra docs -o requirements/serve.txt pyproject.toml requirements/build.in
	$(UV) -c requirements/serve.txt --all-extras -o requirements/dev.txt pyproject.toml requirements/build.in
	$(UV) -c requirements/serve.txt --extra fastapi -o requirements/image-fastapi.txt pyproject.toml
	$(UV) -c requirements/serve.txt --extra flask -o requirements/image-flask.txt pyproject.toml
	$(UV) -c requirements/serve.txt --no-deps -o requirements/image-docs.txt requirements/docs.in
	$(UV) -c requirements/serve.txt -o requirements/image-build.txt requirements/build.in

UV = $(BIN)/uv pip compile $(LOCK)
LOCK := --quiet --universal --only-binary :all: --python-version 3.11 --generate-hashes --upgrade --custom-compile-command "make lock"

installs: $(VENV)/.dev ## Install both locks in fresh environments, with the oldest pip and with the newest (lab/installs).
	@lab/installs/run $(BIN)/python

audit: $(VENV)/.dev ## Licences, a bill of materials in build/, and known vulnerabilities (asks pypi.org).
	@mkdir -p build
	PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o build/sbom.json requirements/serve.txt
	$(BIN)/pip-licenses --packages $(SERVED) --with-urls --format=csv --output-file=build/licences.csv --allow-only="$(LICENCES)"
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements/dev.txt >build/audit.txt 2>&1 \
		&& cat build/audit.txt \
		|| { tail -n 20 build/audit.txt; ! grep -qE "could not be audited|ConnectionError|ConnectTimeout|ServiceError" build/audit.txt \
			|| echo "make audit: the vulnerability service cannot be reached, or does not know a package: this says nothing of vulnerabilities." >&2; exit 1; }

# What is installed to serve, and the licences that it may have.
SERVED = $(shell sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements/serve.txt)
LICENCES := 0BSD;Apache Software License;Apache-2.0;Apache-2.0 OR BSD-2-Clause;Apache-2.0 OR BSD-3-Clause;BSD License;BSD-2-Clause;BSD-3-Clause;ISC;ISC License (ISCL);LGPL-3.0-only;MIT;MIT License;MIT OR Apache-2.0;MIT-0;Mozilla Public License 2.0 (MPL 2.0);PSF-2.0;The Unlicense (Unlicense)

clean: ## Remove what the targets above made, but no data.
	rm -rf $(VENV) tests/clients/node/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*

# What an environment needs is made again when the lock, a project or the interpreter changes; the script says what is
# missing for it, in one line.
INSTALL = @requirements/install $(PYTHON) $(VENV)

$(VENV)/.serve: requirements/serve.txt requirements/install pyproject.toml $(VENV)/bin/python
	$(INSTALL) requirements/serve.txt -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/install pyproject.toml verifier/pyproject.toml $(VENV)/bin/python
	$(INSTALL) requirements/dev.txt -e . -e ./verifier
	@touch $@

# Client libraries of Node, for the tests that ask them. Where there is no npm, or no network, those are skipped.
$(VENV)/.node: tests/clients/node/package-lock.json $(VENV)/.dev
	@if command -v npm > /dev/null && npm ci --prefix $(<D) --ignore-scripts --no-audit --no-fund --silent; then touch $@; fi

$(VENV)/bin/python:
