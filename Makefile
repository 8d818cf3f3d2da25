# `make help` lists what there is. Everything runs in .venv, which `make install` builds from the lock file.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := hack/requirements/dev.txt
INSTALLED := $(VENV)/.installed
# Each worker has a cluster of its own; a cluster that a kubeconfig names there is one of.
WORKERS ?= $(if $(KUBECONFIG),0,3)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(INSTALLED): $(LOCK) pyproject.toml hack/devcluster/pyproject.toml
	@echo "Installing into $(VENV) (once; about half a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . -e hack/devcluster
	@touch $@

.PHONY: install
install: $(INSTALLED) ## Build .venv from the lock file

.PHONY: demo
demo: $(INSTALLED) ## Run the main job on the embedded development cluster (KEEP=1 leaves it up)
	@$(BIN)/python -m hack.demo $(if $(KEEP),--keep)

.PHONY: test
test: $(INSTALLED) ## Lint, verify and run every test
	@$(MAKE) --no-print-directory lint verify
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

.PHONY: chaos
chaos: $(INSTALLED) ## Drive a run of 200 tasks through a hundred schedules of kills, faults and deletions (half an hour)
	@KUBETASK_CHAOS=$${KUBETASK_CHAOS:-100} $(BIN)/python -m pytest test/integration/test_chaos.py

.PHONY: lint
lint: $(INSTALLED) ## Style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## Bring the code into its style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: generate
generate: $(INSTALLED) ## Write config/crd from the models
	@$(BIN)/python -m hack.generate

.PHONY: verify
verify: $(INSTALLED) ## Fail when generated files differ from what the code would write
	@$(BIN)/python -m hack.generate --check

.PHONY: lock
lock: $(INSTALLED) ## Pin the newest allowed versions in the lock file
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-package kubetask-controller --no-emit-package devcluster --upgrade -o $(LOCK) hack/requirements/dev.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/runtime.txt pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/build.txt hack/requirements/build.in
