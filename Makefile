# make demo    chat with the example agent at http://127.0.0.1:8000/
# make react   a chat page in React over the same runtime, at http://127.0.0.1:8000/
# make test    everything, end to end included
# make check   formatting, lint, types, who may import whom, and the TypeScript package
# make bench   the benchmark
# make format  put the code into shape
# make machine   many more random conversations against their reference
# make chaos     kill, freeze and restart everything under load and judge what came of it: KILLS=1000 CHAOS_STORE=sqlite|postgres
# make planted   plant bugs that break a promise, and tell what finds each of them
# make behaviour   write docs/behaviour.md anew
# make clean   remove what make made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

HOST ?= 127.0.0.1
PORT ?= 8000
STORE ?= sqlite:///demo.db
REACT_STORE ?= sqlite:///react.db
# One more than cores: the tests of servers and browsers wait for others most of the time.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
MACHINE_EXAMPLES ?= 1000
MACHINE_SEED ?= random
KILLS ?= 1000
CHAOS_STORE ?=
SEED ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	if command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then command -v $$name; break; fi; done)

.PHONY: help demo react test check bench machine chaos planted format behaviour clean

help:
	@grep -E '^# make ' Makefile | cut -c3-

demo: .make/app
	@echo "chatrt: open http://$(HOST):$(PORT)/ (Ctrl-C ends it; the chats are kept in $(STORE))"
	@exec $(BIN)/chatrt serve examples/01_demo.py:app --host $(HOST) --port $(PORT) --store $(STORE)

react: .make/app .make/react
	@echo "chatrt: open http://$(HOST):$(PORT)/ (Ctrl-C ends it; the chats are kept in $(REACT_STORE))"
	@exec $(BIN)/chatrt serve examples/13_react/server.py:app --host $(HOST) --port $(PORT) --store $(REACT_STORE)

test: .make/dev .make/npm .make/client .make/react
	@npm --prefix client test --silent
	@$(BIN)/pytest -n $(WORKERS)

check: .make/dev .make/client
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	npm --prefix client run check --silent

machine: .make/dev
	@MACHINE_EXAMPLES=$(MACHINE_EXAMPLES) MACHINE_SEED=$(MACHINE_SEED) $(BIN)/pytest tests/machine -n $(WORKERS)

chaos: .make/dev
	@KILLS=$(KILLS) STORE=$(CHAOS_STORE) SEED=$(SEED) $(BIN)/python -m tests.faults.chaos

planted: .make/dev
	@$(BIN)/python -m tests.faults.planted

bench: .make/dev
	@for name in $(filter-out __% serve_% scale_%,$(basename $(notdir $(wildcard tests/bench/*.py)))); do \
		$(BIN)/python -m tests.bench.$$name; done

format: .make/dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

behaviour: .make/dev
	@$(BIN)/python -m tests.behaviour.table

clean:
	rm -rf .venv .make artefacts build dist tests/e2e/node_modules client/node_modules client/dist \
		examples/13_react/node_modules examples/13_react/dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find chatrt tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: once, and again when what is needed has changed

.make/venv:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed and none was found" >&2; exit 1; }
	@mkdir -p .make
	@echo "make: a virtual environment with $(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "make: venv failed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

.make/app: .make/venv pyproject.toml constraints.txt
	@echo "make: installing chatrt"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

.make/dev: .make/app pyproject.toml constraints.txt
	@echo "make: installing what tests and checks need"
	@$(PIP) install --constraint constraints.txt --group dev
	@touch $@

.make/client: client/package-lock.json client/tsconfig.json client/tsconfig.build.json $(shell find client/src -type f)
	@command -v npm >/dev/null || { echo "make: Node.js 20 and npm are needed (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	@mkdir -p .make
	@echo "make: building the TypeScript client"
	@npm ci --prefix client --ignore-scripts --no-audit --no-fund --loglevel=error
	@npm --prefix client run build --silent
	@touch $@

.make/npm: tests/e2e/package.json tests/e2e/package-lock.json
	@command -v npm >/dev/null || { echo "make: Node.js 20 and npm are needed (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	@mkdir -p .make
	@echo "make: installing the npm packages of the end-to-end tests"
	@npm ci --prefix tests/e2e --no-audit --no-fund --loglevel=error
	@touch $@

REACT := examples/13_react
REACT_SOURCES := $(wildcard $(REACT)/*.json $(REACT)/*.ts $(REACT)/*.html $(REACT)/public/* $(REACT)/src/*.ts* $(REACT)/src/*/*)
.make/react: .make/client $(REACT_SOURCES)
	@echo "make: building the React example"
	@npm ci --prefix $(REACT) --no-audit --no-fund --loglevel=error
	@npm run --prefix $(REACT) --silent build
	@touch $@
