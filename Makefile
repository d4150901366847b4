# Every command of this project. `make help` lists them; CI runs the same ones.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What builds the environment: the first Python 3 found, unless one is named (make env PYTHON=python3.12).
ifeq ($(origin PYTHON),undefined)
PYTHON = $(or $(firstword $(foreach name,python3 python3.12 python3.11 python3.13 python3.14,$(shell command -v $(name)))),python3)
CURRENT = .venv/bin/python scripts/build_env.py $(1) --is-current 2>/dev/null ||
else
GIVEN = --given
endif
BUILD = $(CURRENT) '$(PYTHON)' scripts/preflight.py $(1) $(GIVEN)

BIN = .venv/bin
# Arguments for what is run: make demo ARGS='--flower-port 9000', make test ARGS='-x -k lease'.
ARGS =
# What `make bench` runs; one alone: make bench ONLY=demo
BENCHMARKS = throughput slow_provider sustained statements exchange scheduling bloat on_demand isolation soak scale_out \
	demo fairness
# What is tested: make test T=tests/storage
T =

.PHONY: help
help: ## list the commands
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12   builds with that Python      T=tests/storage   tests that alone"
	@echo "  ARGS='--flower-port 9000'  is handed on to demo, test   UPGRADE=1         with lock: newest versions"

.PHONY: env
env: ## build .venv from the lock files, for running
	@$(call BUILD,demo)

.PHONY: dev
dev: ## build .venv from the lock files, for working on the code
	@$(call BUILD,dev)

.PHONY: demo
demo: export EVERGRANT_STARTED_AT := $(shell date +%s)
demo: env ## start everything with simulated providers, until Ctrl-C
	@exec $(BIN)/evergrant up --demo $(ARGS)

.PHONY: test
test: dev ## run the test suite; it starts and stops its own servers
	@exec $(BIN)/python -m pytest $(T) $(ARGS)

.PHONY: check
check: dev ## lint, format, types, layers, locks, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.locks check
	$(BIN)/python -m scripts.check_migrations

.PHONY: bench
bench: dev ## run the benchmarks; results in benchmarks/results
	@set -e; for name in $(or $(ONLY),$(BENCHMARKS)); do $(BIN)/python -m benchmarks.$$name $(ARGS); done

.PHONY: conformance
conformance: dev ## play what providers' pages show against their definitions; ARGS='acme --file my.toml' plays one
	@$(BIN)/python -m scripts.conformance $(ARGS)
	@$(if $(ARGS),,$(BIN)/python -m pytest -q tests/conformance/test_authserver.py)

.PHONY: chaos
chaos: dev ## kill, freeze and starve everything for 16 minutes, and count what was lost
	@exec $(BIN)/python -m benchmarks.chaos $(ARGS)

.PHONY: fmt
fmt: dev ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: dev ## resolve the lock files anew from pyproject.toml
	$(BIN)/python -m scripts.locks build $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## remove .venv and caches; the data of .evergrant stays
	rm -rf .venv build dist evergrant.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
