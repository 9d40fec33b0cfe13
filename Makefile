# The two commands of a newcomer: `make run` and `make test`. Each does all the set-up it needs, once.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Debian and Ubuntu split venv from Python: one that cannot make an environment (no ensurepip) is passed over.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)

.PHONY: run test check format setup clean
run: setup  ## the whole chain on this machine: data to served model
	@$(BIN)/lavaflow run tiny

# Two processes, a file of tests in one of them; PYTEST_ARGS="-n 0" does all in one. A process that dies ends
# the run: with another in its place pytest-xdist 3.8 waits for ever.
test: setup  ## every test (unit, local Ray, S3 server, whole chain)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(PYTEST_ARGS)

check: setup  ## lint, format, types, floors: what CI runs before the tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: setup
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

setup: $(STAMP)

# torch first and by its exact version: where a CPU build of it is at hand pip takes that one, while a range
# would pull several GB of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lavaflow needs a Python from 3.11 to 3.14 with venv on the PATH (on Debian and Ubuntu: apt install python3-venv), or make PYTHON=/path/to/python3 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing lavaflow and its pinned dependencies into $(VENV) (about two minutes, once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0 2>&1 | grep -v '^WARNING: Location' || true
	@$(BIN)/python -W ignore -c 'import torch' || { echo "torch could not be installed; run $(BIN)/pip install torch==2.13.0 to see why"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 | grep -v '^WARNING: Location' || true
	@$(BIN)/python -c 'import ray, deepspeed, mlflow, pytest' >/dev/null 2>&1 || { echo "the install is not complete; run $(BIN)/pip install -c constraints.txt -e '.[dev]' to see why"; exit 1; }
	@touch $@

clean:  ## removes what runs left here (store, registry), not the environment
	rm -rf .lavaflow
