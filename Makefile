# Every target sets up $(VENV) by itself and keeps it as long as pyproject.toml does not change.
#
#   make test TESTS=tests/actors PYTEST_ARGS="-x -k retry"
#   make test PYTHON=python3.13 VENV=.venv-3.13

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?=
TESTS ?=
# Test processes side by side; each test has folders of its own. One more than processors, since tests wait now and then.
JOBS ?= $(shell expr $$(nproc) + 1)
PYTEST_ARGS ?=
# Seconds that `make fuzz` goes on.
FUZZ_SECONDS ?= 60
API_EXAMPLES ?= 200
# How long `make torture` and `make load` go on, how often `make cycle` does it, and what they draw their decisions from.
MINUTES ?= 5
SEED ?= 1
RUNS ?= 100
PLOT ?=
# Set, `make torture` starts containers, too: it needs an engine.
CONTAINERS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo api vendor pages test torture cycle actors trees schedules load fuzz lint format bench bench-peers performance dist clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(STAMP) ## index Python's standard library while two workers and the supervisor are killed
	$(BIN)/python examples/index_stdlib.py

# Not `python -m pytest`: that puts the root on sys.path, where actors/ is a package of that name.
test: $(STAMP) ## run the tests; TESTS= picks some, PYTEST_ARGS= passes options on
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(PYTEST_ARGS) $(TESTS)

api: $(STAMP) ## let Schemathesis make API_EXAMPLES= requests of each of the API's operations
	API_EXAMPLES=$(API_EXAMPLES) API_TIMEOUT=7200 $(BIN)/pytest -q tests/supervisor/web/api/test_openapi.py

fuzz: $(STAMP) ## bytes from nowhere for FUZZ_SECONDS= from SEED= on, and damaged files; guided by coverage if atheris is there
	$(BIN)/python tests/torture/fuzz.py --seconds $(FUZZ_SECONDS) --seed $(SEED)
	UNDERSTUDY_FUZZ=200 $(BIN)/pytest --timeout 1200 -q tests/storage/file/test_page_check.py -k damaged

torture: $(STAMP) ## kill storms for MINUTES= from SEED= on, CONTAINERS=1 with such, then every crash point, and power loss 1,000 times
	$(BIN)/python tests/torture/storm.py --minutes $(MINUTES) --seed $(SEED) $(if $(CONTAINERS),--containers --pace 0.2)
	POWER_ROUNDS=5 POWER_CUTS=1000 SEED=$(SEED) $(BIN)/pytest --numprocesses $(JOBS) --dist worksteal --timeout 1200 -q \
	    tests/torture/test_crash_points.py tests/torture/test_event_crash_points.py tests/torture/test_tie_crash_points.py \
	    tests/torture/test_power_loss.py

cycle: $(STAMP) ## chains of actors exact, RUNS= times from SEED= on, while processes die at the points of a message's way
	$(BIN)/python tests/torture/cycle.py --runs $(RUNS) --seed $(SEED)

actors: $(STAMP) ## 10,000 rests of an actor against its sender, and 100,000 rows of storage
	UNDERSTUDY_RESTS=10000 UNDERSTUDY_ROWS=100000 $(BIN)/pytest -q --timeout 1200 tests/scenarios/test_actors.py \
	    -k "between_rest_and_work or large_storage"

trees: $(STAMP) ## kill the supervisor RUNS= times in restarts of supervision trees, from two seeds
	UNDERSTUDY_TREE_ROUNDS=$(RUNS) $(BIN)/pytest -q --timeout 3600 tests/scenarios/test_trees.py -k dies_in_restarts

schedules: $(STAMP) ## 100,000 schedules that are not due: memory, and processor time over a minute
	UNDERSTUDY_SCHEDULES=100000 UNDERSTUDY_IDLE=60 $(BIN)/pytest -q --timeout 600 tests/torture/test_many_schedules.py

load: $(STAMP) ## mixed load for MINUTES=: nothing may grow; PLOT=file.png draws it (needs matplotlib)
	$(BIN)/python tests/torture/load.py --minutes $(MINUTES) --seed $(SEED) $(if $(PLOT),--plot $(PLOT))

lint: $(STAMP) ## ruff, formatting, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## measure this machine against the floors; BENCH_ARGS="--only latency" picks
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

bench-peers: $(STAMP) ## the same, and against other task runners, which this installs
	$(BIN)/python benchmarks/peers/install.py
	$(BIN)/python benchmarks/run.py --peers $(BENCH_ARGS)

performance: $(STAMP) ## measure everything, and write docs/PERFORMANCE.md anew
	$(BIN)/python benchmarks/peers/install.py
	$(BIN)/python benchmarks/run.py --page $(BENCH_ARGS)

vendor: ## fetch the scripts of others that the dashboard uses, from npm; they must be what is committed
	.ci/vendor

pages: $(STAMP) ## every page of the dashboard, all themes and widths by axe-core, and the pictures of docs/dashboard.md anew
	UNDERSTUDY_PAGES=1 UNDERSTUDY_PICTURES=1 $(BIN)/pytest -q --timeout 300 tests/supervisor/web/dashboard

dist: $(STAMP) ## build the sdist and the wheel into dist/
	$(BIN)/python -m build

clean: ## remove everything that is not source, virtual environments included
	rm -rf .venv* .node build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -not -path './.typing/*' -prune -exec rm -rf {} +

# The first Python that answers: a pyenv shim may be on PATH and yet refuse to run.
$(STAMP): pyproject.toml
	@python="$(PYTHON)"; \
	for candidate in $${python:-python3.13 python3.12 python3.11 python3}; do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        found=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "no Python 3.11 or newer with venv found ($${python:-python3.13 python3.12 python3.11 python3});" \
	        "install one, or name one: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	if [ -n "$$python" ] || [ ! -x $(BIN)/python ] || ! $(BIN)/python -c ''; then \
	    echo "setting up $(VENV) with $$($$found --version)"; \
	    $$found -m venv --clear $(VENV); \
	fi
	@echo "installing Understudy and what its tests need into $(VENV); this may take half a minute"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
