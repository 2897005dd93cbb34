# mlci: `make` alone lists the targets. Each one only calls a script or command that can be run by hand as well.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-dev demo test lint format lock pyz bench test-jenkins clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1 /' \
	  | awk '{t = $$1; $$1 = ""; printf "  make %-13s%s\n", t, $$0}'

setup: ## create .venv with mlci and mlci-admin; install python3-venv and Docker's engine if missing
	@sh tools/setup.sh

setup-dev:
	@sh tools/setup.sh --dev

demo: setup ## train, test, check and serve a model on 336,776 real flights, and ask it for a prediction
	@sh examples/flights/demo.sh

test: setup-dev ## lint, types, import rules, then all tests that need no Jenkins controller
	@sh tools/check.sh
	@printf '\n== pytest\n'
	@.venv/bin/python -m pytest

lint: setup-dev ## lint, types and import rules alone
	@sh tools/check.sh

format: setup-dev ## put the code into the one layout that lint asks for
	@.venv/bin/ruff check --quiet --fix-only . && .venv/bin/ruff format .

lock: setup-dev ## rewrite requirements*.txt from pyproject.toml (UPGRADE=1: newest versions)
	@sh tools/lock.sh

pyz: setup-dev ## rewrite resources/mlci/mlci.pyz, what travels in the Jenkins library, from stages/ and requirements.txt
	@.venv/bin/python tools/build_pyz.py

bench: setup-dev ## run every benchmark beside its peers; each ends with a line of JSON
	@for script in benchmarks/*.py; do [ -e "$$script" ] || continue; echo "== $$script"; .venv/bin/python "$$script" || exit 1; done

test-jenkins: setup-dev ## tests against a real Jenkins controller
	@.venv/bin/python -m pytest tests/e2e/jenkins

clean: ## remove caches and build products; .venv stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
