# Every target sets up what it needs; PYTHON=... picks the interpreter, ARGS=... passes options.
.DEFAULT_GOAL := help
.PHONY: help demo check test lint bench lock clean setup-demo setup-dev setup-senders externals

BIN := .venv/bin
CODE := $(wildcard src tests bench/*.py)
COMPILE = $(BIN)/uv --quiet pip compile --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(ARGS)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: setup-demo ## run the demo (ARGS="--help" for its options)
	@$(BIN)/tocsin demo $(ARGS)

check: lint ## lint, types, layers and the fast tests
	$(BIN)/pytest -m "not slow and not e2e" $(ARGS)

test: externals lint setup-senders ## everything that CI runs
	$(BIN)/pytest $(ARGS)

lint: setup-dev ## lint, types and import layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo

bench: setup-dev ## run each bench/*.py
	@for bench in $(wildcard bench/*.py); do \
		echo "== $$bench"; $(BIN)/python $$bench $(ARGS) || exit 1; \
	done

lock: setup-dev ## renew requirements/ (ARGS=--upgrade to move to new versions)
	$(COMPILE) pyproject.toml --extra agents --extra demo --extra server --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra demo --group setup -c requirements/dev.txt \
		-o requirements/demo.txt
	$(COMPILE) --group setup -c requirements/dev.txt -o requirements/bootstrap.txt
	$(COMPILE) --group senders -o requirements/senders.txt

clean: ## remove both .venv and all caches
	rm -rf .venv .venv.lock .venv-senders .venv-senders.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

setup-demo:
	@sh scripts/setup.sh demo

setup-dev:
	@sh scripts/setup.sh dev

setup-senders: setup-dev
	@sh scripts/setup.sh senders || { \
		echo "tests of senders are skipped: their libraries are not installed" >&2; \
		[ "$$CI" != true ]; }

externals:
	@sh scripts/externals.sh
