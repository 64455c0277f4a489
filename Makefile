# What one can do here. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
PY := .venv/bin/python
CACHE := .cache
BASE := $(CACHE)/debian.tar
PLUGINS := $(CACHE)/cli-plugins
CLIENT ?= onggi

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/installed: pyproject.toml requirements.lock
	scripts/packages run
	python3 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(PY) scripts/isolate .venv/bin
	touch $@

install: .venv/installed ## .venv/bin/ with onggid, onggi, onggi-runtime and onggi-registry

$(BASE): scripts/base-image | .venv/installed
	scripts/packages test
	scripts/base-image $@

demo: .venv/installed $(BASE) ## build, ship, run, break, deploy, clean up; CLIENT=docker does it with docker's own command line
	scripts/packages test clients
	$(PY) -m demo --client $(CLIENT) --base $(BASE)

format: .venv/installed ## let ruff lay out the code
	.venv/bin/ruff format -q .

check: .venv/installed ## ruff, mypy, the layers of the rooms, tests that take seconds
	.venv/bin/ruff check -q .
	.venv/bin/ruff format -q --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m pytest -q tests/unit

$(PLUGINS)/docker-buildx $(PLUGINS)/docker-compose &:
	scripts/cli-plugins $(PLUGINS)

proto: .venv/installed ## regenerate the messages of BuildKit's protocol (src/onggi/build/buildkit/pb) from their .proto files
	scripts/packages proto
	protoc -I src --python_out=src --pyi_out=src src/onggi/build/buildkit/pb/*.proto

test: .venv/installed $(BASE) $(PLUGINS)/docker-buildx $(PLUGINS)/docker-compose ## everything: check, then the real kernel, real containers, real clients, faults, leak check
	scripts/packages test clients rootless
	$(MAKE) check
	$(PY) -m pytest -q tests/kernel tests/security tests/engine tests/clients tests/faults tests/rootless tests/fuzz

GUEST := $(CACHE)/guest
TESTS ?= $(shell sed 's/[[:space:]]*\#.*//' tests/guest/v2.list)
$(GUEST)/root.ext4: scripts/guest-image scripts/packages $(BASE)
	scripts/guest-image $(BASE) $(GUEST)

test-v2: .venv/installed $(GUEST)/root.ext4 ## tests on cgroup v2 and Debian's kernel, in a virtual machine: TESTS="tests/kernel …"
	scripts/packages guest
	scripts/guest pytest -q --timeout $(or $(TIMEOUT),600) -p no:cacheprovider --durations=20 --junit-xml=/run/job/junit.xml $(TESTS)

shapes: .venv/installed $(BASE) $(PLUGINS)/docker-buildx ## examples/ built through each door, run and asked: minutes; NAMES="redis …", SHAPES_PEER=unix://SOCKET
	scripts/packages test clients
	$(PY) -m tests.shapes --base $(BASE) $(NAMES)

bench: .venv/installed $(PLUGINS)/docker-buildx ## onggi beside dockerd and podman: a table of ratios (needs the reference engines, PEERS_ROOT)
	scripts/packages test clients
	$(PY) -m bench $(PARTS)

conformance: .venv/installed ## public suites against onggi-runtime: CRUN=, RUNTIME_TOOLS= checkouts of containers/crun, opencontainers/runtime-tools
	$(if $(RUNTIME_TOOLS)$(CRUN),,$(error name a checkout: CRUN= of containers/crun, RUNTIME_TOOLS= of opencontainers/runtime-tools))
	$(if $(CRUN),$(PY) scripts/conformance-crun $(CRUN))
	$(if $(RUNTIME_TOOLS),$(PY) scripts/conformance $(RUNTIME_TOOLS))

load: .venv/installed ## a thousand containers, restarts under load, ten thousand execs: minutes; ONGGI_LOAD=0.1 for a first look
	scripts/packages test clients
	$(PY) -m pytest -q -s tests/load

fuzz: .venv/installed ## coverage-guided fuzzing of one parser for a while: TARGET=dockerfile FOR=60
	[ -d .cache/atheris ] || .venv/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -t .cache/atheris -r fuzz/requirements.lock
	PYTHONPATH=.cache/atheris $(PY) -m fuzz $(or $(TARGET),dockerfile) -max_total_time=$(or $(FOR),60)

rows: .venv/installed ## which rows of the goal tables a test shows; writes docs/compatibility.md
	$(PY) scripts/rows

clean: ## what the targets made here
	rm -rf .venv $(CACHE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help install demo format check proto test test-v2 bench shapes conformance fuzz load rows clean
