# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests start hundreds of processes, which would each compile the same modules.
export PYTHONDONTWRITEBYTECODE :=
# Dagster's SQLite waits for the disk at every event. What a test writes need not outlive a power
# cut, so it is in memory where there is room for it.
ROOMY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 {print "/dev/shm"}')
test test-slow test-services: export TMPDIR := $(or $(ROOMY),$(TMPDIR),/tmp)
INSTALLED := $(VENV)/.installed

.PHONY: help install demo real ui test test-slow test-services test-real test-vllm fuzz lint docs docs-serve bench bench-gpu calibrate clean-demo

help:
	@echo "make demo       set up, and run three traits through the whole graph on the model that ships"
	@echo "make real       four traits on a small pretrained model (downloaded once); writes docs/results.md"
	@echo "make ui         open Dagster on 127.0.0.1:3000 over the same instance"
	@echo "make test       set up, lint, check types, run the tests that take less than a second"
	@echo "make test-slow  those that take longer: whole runs, killed processes, waits"
	@echo "make test-services  tests with a daemon, a browser, Ray, Postgres, S3; .ci/run installs them"
	@echo "make test-real  tests with that pretrained model"
	@echo "make test-vllm  tests with vLLM on the CPU, in an environment that is built once (3 GB)"
	@echo "make fuzz       look for files and answers that crash a command; minutes"
	@echo "make lint       only lint, types and the order of imports"
	@echo "make docs       build the documentation site into build/site; warnings are errors"
	@echo "make docs-serve serve it on 127.0.0.1:8000"
	@echo "make bench      measure, and write benchmarks/results.json"
	@echo "make calibrate  simulate traits that exist and that do not; write docs/calibration.md"
	@echo "make bench-gpu  one trait, capture and generation on a GPU, into a file that names it"

install: $(INSTALLED)

# constraints.txt pins the tested set, so that torch is not replaced by a build for other hardware.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "traitvec needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/traitvec run --experiment demo --traits all

# TRAITVEC_MODEL=… takes another model; its results do not replace those in the docs.
TRAITVEC_MODEL ?=
real: install
ifeq ($(TRAITVEC_MODEL),)
	$(BIN)/python -m benchmarks.real.model
	$(BIN)/traitvec trust smollm2
	$(BIN)/traitvec run --experiment smollm2 --traits all
	$(BIN)/python -m benchmarks.real.page
else
	$(BIN)/traitvec trust smollm2
	$(BIN)/traitvec run --experiment smollm2 --traits all --model '$(TRAITVEC_MODEL)'
	$(BIN)/python -m benchmarks.real.page --into build/results.md
endif

ui: install
	$(BIN)/traitvec ui

# One process more than there are cores: some tests wait for servers.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
HERE := not services and not real and not vllm
test: install lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow and $(HERE)'

test-slow: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'slow and $(HERE)'

# A file at a time per process: many start servers once for all their tests. Ray is large, and
# only these tests need it.
test-services: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m services

test-real: install
	$(BIN)/python -m pytest -m real

# Where vLLM cannot be installed, the tests are skipped with the reason. For a GPU, set
# TRAITVEC_VLLM_PYTHON to the Python of an environment with vLLM for CUDA. On the CPU two engines run
# at a time, 3 GB each; one engine takes a whole GPU.
test-vllm: install
	env "$$($(BIN)/python tools/vllm_environment.py)" $(BIN)/python -m pytest -rs \
		-n $(if $(TRAITVEC_VLLM_PYTHON),0,2) --dist loadgroup -m vllm tests/vllm

# The suite runs a few fixed examples of the same; TRAITVEC_FUZZ_EXAMPLES is how many per test.
fuzz: install
	$(BIN)/python -m pytest --hypothesis-profile=fuzz -n auto tests/fuzz

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(VENV)/.installed-docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-docs
	$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8000

bench: install
	$(BIN)/python benchmarks/bench.py

calibrate: install
	$(BIN)/python -m benchmarks.calibrate.run

bench-gpu: install
	$(BIN)/python benchmarks/gpu.py

# What git ignores there is what the stages made.
clean-demo:
	git clean -fdXq experiments/demo
