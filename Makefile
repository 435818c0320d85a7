# Every target sets up what it needs on a bare machine: Python 3.13, and for the real broker Java 17 with Maven.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo up down test check bench clean build

UV := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
BIN := .venv/bin
SAM := $(UV) tool run --python 3.13 --from aws-sam-cli==1.170.0 sam
export UV SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION ?= us-east-1

help: ## Show what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  make demo PHOTOS=~/Pictures   your own folder;   make demo EXIT=1   stop at the end, exit 0 if all held"

demo: $(BIN)/ready ## Upload photos and copies of them, wait until searchable, search, draw the result
	$(BIN)/deeplens demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(EXIT),--exit)

up: $(BIN)/ready ## Start everything on this machine and show a live status; Ctrl-C stops it
	$(BIN)/deeplens up

down: $(BIN)/ready ## Stop what `make demo` left running
	$(BIN)/deeplens down

test: $(BIN)/ready ## Run all tests: unit, contract, integration and end to end, on real parts
	$(BIN)/python -m pytest $(ARGS)

check: $(BIN)/ready ## Lint, types, import direction, template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict layers/core/deeplens
	$(BIN)/mypy local functions/inference_endpoint
	$(SAM) validate --lint
	$(BIN)/python -m local.checks.template

bench: $(BIN)/ready ## Measure pipeline, search and cold start; writes .bench/*.json
	$(BIN)/deeplens bench

build: $(BIN)/ready ## Package the functions and layers for AWS
	$(SAM) build

clean: ## Stop the stack and remove its state, the environment and what was fetched
	-test -x $(BIN)/deeplens && $(BIN)/deeplens down
	rm -rf .deeplens .bench .aws-sam .venv .tools .mypy_cache .ruff_cache .pytest_cache

# The environment is rebuilt when the lock changes.
$(BIN)/ready: uv.lock pyproject.toml | $(if $(findstring .tools,$(UV)),.tools/uv/bin/uv)
	$(UV) sync --frozen --quiet
	@touch $@

.tools/uv/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null \
		|| { echo "Python 3.13 was not found as python3. Install it (pyenv install 3.13, or your package manager), or install uv."; exit 1; }
	python3 -m venv .tools/uv
	.tools/uv/bin/pip install --quiet uv
