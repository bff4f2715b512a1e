# The project's verbs. CI runs `make check test`, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: run demo test check bench bench-blocklists bench-logs bench-console eval eval-seeds reference lock neighbours kill-drill

# What `python -m venv` needs on a bare Debian; a machine that already has it installs nothing.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || ($(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

run: $(VENV)/.run
	$(BIN)/penstock run --sandbox

demo: $(VENV)/.run
	$(BIN)/penstock demo

neighbours:
	tests/install-neighbours

test: $(VENV)/.dev neighbours
	$(BIN)/pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy

reference: $(VENV)/.dev
	$(BIN)/python -m penstock.cli.reference docs/reference

# Fifty times `kill -9` on a reader of a growing, rotated log (the test does so four times), and three hundred times on
# what carries suspensions to a panel that fails (the test: thirty times).
kill-drill: $(VENV)/.dev
	PENSTOCK_KILLS=50 $(BIN)/pytest -n 0 --timeout 1800 tests/workers/test_feedback.py -k killed
	PENSTOCK_KILLS=300 $(BIN)/pytest -n 0 --timeout 1800 tests/workers/test_enforcement_faults.py

bench: $(VENV)/.dev neighbours
	$(BIN)/python -m bench.main --out docs/bench.md

bench-blocklists: $(VENV)/.dev neighbours
	$(BIN)/python -m bench.blocklists --out docs/bench/blocklists.md

bench-logs: $(VENV)/.dev
	$(BIN)/python -m bench.logs --out docs/bench/logs.md

# Needs some 30 GB of disk and an hour; CI does not run it.
bench-console: $(VENV)/.dev neighbours
	$(BIN)/python -m bench.console --out docs/bench/console.md
	$(BIN)/python -m bench.console --postgres --out docs/bench/console-postgres.md

eval: $(VENV)/.dev
	$(BIN)/python -m penstock.cli.report docs/evaluation.md

# Needs ten minutes; CI does not run it.
eval-seeds: $(VENV)/.dev
	$(BIN)/python -m bench.seeds

lock:
	uv pip compile -q --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 --extra build --extra fast --extra scale pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 --all-extras pyproject.toml -o requirements-dev.lock
