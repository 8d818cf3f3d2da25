# `make help` lists what there is. Everything runs in .venv, which `make install` builds from the lock file.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := hack/requirements/dev.txt
INSTALLED := $(VENV)/.installed
# Each worker has a cluster of its own; a cluster that a kubeconfig names there is one of.
WORKERS ?= $(if $(KUBECONFIG),0,5)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start the project's programs hundreds of times: Python keeps what it compiled of them.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

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
demo: $(INSTALLED) ## Run the main job on the embedded development cluster (KEEP=1 leaves it up, UI=1 opens the web page)
	@$(BIN)/python -m hack.demo $(if $(KEEP),--keep) $(if $(UI),--ui)

.PHONY: test
test: $(INSTALLED) programs ## Lint, verify and run the tests (those of hack/devcluster if it has changed)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint verify verify-ui agent-tool compiled-tests
	@$(PYTEST) -m "not long" test $$($(BIN)/python -m hack.tested)

# Each worker would compile the tests' assertions itself.
.PHONY: compiled-tests
compiled-tests: $(INSTALLED)
	@$(BIN)/python -m pytest -q --collect-only test >/dev/null

.PHONY: test-unit
test-unit: $(INSTALLED) ## Run the tests that need no cluster, no browser and no process
	@$(PYTEST) test -m unit

.PHONY: test-long
test-long: $(INSTALLED) ## Run the long tests that `make test` leaves out: chaos, silent watches, the build of the image
	@$(PYTEST) test -m long

.PHONY: test-devcluster
test-devcluster: $(INSTALLED) ## Run the tests of the development cluster, and record that they pass
	@$(PYTEST) hack/devcluster/tests && $(BIN)/python -m hack.tested --record

# The real tool that `make test` runs; without it its tests are skipped.
.PHONY: agent-tool
agent-tool: $(INSTALLED)
	@$(BIN)/python -m hack.agents install --within 60 goose

.PHONY: test-ui
test-ui: $(INSTALLED) programs verify-ui ## Run the tests of the web page of `kubectl kubetask ui`, also in Chromium
	@$(BIN)/python -m pytest test/cli/ui

# Programs that some tests use: a browser, an SSH server, Git LFS, GnuPG. Without one of them its tests are skipped.
PROGRAMS := chromium:chromium sshd:openssh-server git-lfs:git-lfs gpg:gnupg bindfs:bindfs fusermount3:fuse3

.PHONY: programs
programs:
	@missing=""; for each in $(PROGRAMS); do \
		PATH="$$PATH:/usr/sbin" command -v "$${each%%:*}" >/dev/null || missing="$$missing $${each#*:}"; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo "Installing Debian's$$missing (once; about a minute)" && apt-get -qq update >/dev/null \
		&& DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $$missing fonts-dejavu-core >/dev/null; } \
		|| echo "Not installed, so their tests are skipped:$$missing"

ui/node_modules/.package-lock.json: ui/package-lock.json
	@cd ui && npm ci --silent
	@touch $@

.PHONY: ui
ui: ui/node_modules/.package-lock.json ## Build the web page of `kubectl kubetask ui` from ui/ (needs Node.js)
	@cd ui && npm run --silent check && npm run --silent build

.PHONY: verify-ui
verify-ui: ## Fail when the built web page is not up to date with ui/
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory verify-page; \
		else echo "Node.js is not installed: the built page is not compared with its source"; fi

.PHONY: verify-page
verify-page: ui/node_modules/.package-lock.json
	@built=$$(mktemp -d) && trap 'rm -rf "$$built"' EXIT && cd ui && npm run --silent check && node build.mjs "$$built" \
		&& diff -ru ../src/kubetask_controller/cli/ui/static "$$built" >/dev/null \
		|| { echo "src/kubetask_controller/cli/ui/static is not what ui/ builds: run make ui"; exit 1; }

.PHONY: test-nodes
test-nodes: $(INSTALLED) ## Run the integration tests on the nodes of the cluster that KUBECONFIG names
	@hack/node.sh $(TESTS)

.PHONY: coverage
coverage: $(INSTALLED) ## Fail when tests without a cluster execute less than 90 % of the reconcilers
	@$(BIN)/python -m pytest -q test/reconcilers --cov=kubetask_controller.reconcilers --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: chaos
chaos: $(INSTALLED) ## Run 200 tasks through a hundred schedules of kills, faults and deletions (half an hour)
	@KUBETASK_CHAOS=$${KUBETASK_CHAOS:-100} $(BIN)/python -m pytest test/integration/test_chaos.py

.PHONY: test-agents
test-agents: $(INSTALLED) ## Run the real agent tools against model servers on loopback (FEW=1 for a few cases of each)
	@$(BIN)/python -m hack.agents install
	@KUBETASK_AGENTS=1 $(BIN)/python -m pytest test/agents test/image -m "agents$(if $(FEW), and few)" --numprocesses=$(WORKERS)
	@$(if $(FEW),,$(BIN)/python -m hack.agents table)

SITE := build/docs

$(SITE)/.installed: hack/requirements/docs.txt
	@$(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

.PHONY: docs
docs: $(SITE)/.installed ## Build the documentation site into build/site; fail on a broken link or a missing page
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet
	@! grep -rlE '<(script|link|img|iframe)[^>]+(src|href)="(https?:)?//' build/site --include='*.html' \
		|| { echo "these pages request something from another host"; exit 1; }
	@echo "build/site/index.html: $$(find build/site -name index.html | wc -l) pages"

.PHONY: simulate
simulate: $(INSTALLED) ## Run the reconcilers through 100,000 schedules of faults in a simulated cluster (half an hour)
	@cd test && ../$(BIN)/python -m simulation.simulate $(or $(SCHEDULES),100000)

.PHONY: attack
attack: $(INSTALLED) ## Run the attacks of test/security, and count the attempts and those repelled
	@$(BIN)/python -m pytest -q -rN test/security $$($(BIN)/python test/support/security/attacks.py)

.PHONY: lint
lint: $(INSTALLED) lint-types lint-github ## Check style, types, layers, wording and workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYTHONPATH=. $(BIN)/lint-imports
	@$(BIN)/python -m hack.prose

.PHONY: lint-types
lint-types: $(INSTALLED)
	@$(BIN)/mypy

.PHONY: lint-github
lint-github: $(INSTALLED)
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
		$(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	@$(BIN)/zizmor --offline --no-progress --quiet .github

.PHONY: format
format: $(INSTALLED) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: generate
generate: $(INSTALLED) ## Write config/crd, docs/reference and other generated files
	@$(BIN)/python -m hack.generate

.PHONY: verify
verify: $(INSTALLED) ## Fail when generated files are not up to date
	@$(BIN)/python -m hack.generate --check

.PHONY: lock
lock: $(INSTALLED) ## Pin the newest allowed versions in the lock file
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-package kubetask-controller --no-emit-package devcluster --upgrade -o $(LOCK) hack/requirements/dev.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/runtime.txt pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/build.txt hack/requirements/build.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/supply.txt hack/requirements/supply.in
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade -o hack/requirements/docs.txt hack/requirements/docs.in

# The supply chain: inventory, licences, known vulnerabilities. Tools and shipped packages have separate environments.
SUPPLY := build/supply
SHIPPED := build/shipped

$(SUPPLY)/.installed: hack/requirements/supply.txt
	@$(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# As the Dockerfile builds /opt/kubetask, which is the same in all three images.
$(SHIPPED)/.installed: hack/requirements/runtime.txt pyproject.toml $(SUPPLY)/.installed $(INSTALLED)
	@rm -rf $(SHIPPED) dist && $(PYTHON) -m venv --without-pip $(SHIPPED)
	@$(SUPPLY)/bin/python -m pip --python $(SHIPPED)/bin/python install --quiet --require-hashes -r $<
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@$(SUPPLY)/bin/python -m pip --python $(SHIPPED)/bin/python install --quiet --no-deps --no-index dist/*.whl
	@touch $@

.PHONY: sbom
sbom: $(SHIPPED)/.installed ## Write dist/kubetask.cdx.json, the inventory of the wheel and of the images' Python (CycloneDX)
	@$(SUPPLY)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		-o dist/kubetask.cdx.json $(SHIPPED)/bin/python
	@echo "dist/kubetask.cdx.json: $$(grep -c '"bom-ref"' dist/kubetask.cdx.json) components"

.PHONY: licenses
licenses: $(SHIPPED)/.installed ## Write docs/licenses.md from the shipped packages
	@{ cat hack/licenses_head.md; $(SUPPLY)/bin/pip-licenses --python $(SHIPPED)/bin/python --format=markdown \
		--with-urls --no-version --ignore-packages kubetask-controller; } > docs/licenses.md

.PHONY: audit
audit: $(SUPPLY)/.installed ## Fail on a known vulnerability of a pinned package, and on a package that cannot be looked up
	@for file in runtime build dev supply docs; do echo "hack/requirements/$$file.txt"; \
		$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes -r hack/requirements/$$file.txt || exit 1; done

.PHONY: release
release: $(INSTALLED) ## Check, tag and build VERSION; .github/workflows/release.yml publishes the tag
	@$(BIN)/python -m hack.release tag $(VERSION)
	@$(BIN)/python -m hack.release build $(VERSION)

.PHONY: pin-base
pin-base: ## Pin the Dockerfile's base images to the current digests of their tags (needs docker and the registry)
	@set -e; cp Dockerfile build.Dockerfile; trap 'rm -f build.Dockerfile' EXIT; \
	for name in $$(sed -n 's/^ARG \([A-Z]*_IMAGE\)=.*/\1/p' Dockerfile); do \
		image=$$(sed -n "s/^ARG $$name=\([^@]*\).*/\1/p" Dockerfile); \
		digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}'); \
		[[ $$digest =~ ^sha256:[0-9a-f]{64}$$ ]]; \
		sed -i "s|^ARG $$name=.*|ARG $$name=$$image@$$digest|" build.Dockerfile; \
	done; cp build.Dockerfile Dockerfile; grep '^ARG [A-Z]*_IMAGE' Dockerfile
