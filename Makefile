# tubepilot: `make demo` shows the whole path from flight log to flight, `make test` runs the tests.
# Both make their own environment in .venv with the versions of requirements.lock; nothing else is needed than
# Python 3.11 or newer with its venv module, gcc and make.

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := workstation,sim,dev
BASE_PYTHON ?= $(shell command -v python3.11 || command -v python3)
NEWER := import sys; sys.exit(sys.version_info < (3, 11))

export JAX_PLATFORMS ?= cpu
export PYTHONUNBUFFERED := 1

.PHONY: help demo bundle test test-all check types package lock clean

help:
	@echo "make demo    verify the bundle that comes along -> flash -> sim-fc -> fly -> report, into demo/"
	@echo "make demo FROM_SCRATCH=1   collect -> train -> certify -> export first"
	@echo "make bundle  make the bundle that comes along anew, from the commit that is checked out"
	@echo "make test    the tests"
	@echo "make test-all  the tests and the slow ones: long attacks, long training"
	@echo "make check   ruff, strict mypy on the on-board parts, packaging"
	@echo "make lock    write requirements.lock anew from the newest versions that pyproject.toml allows"
	@echo "make clean   remove the environment and everything that was built"

$(STAMP): pyproject.toml requirements.lock
	@if [ -z "$(BASE_PYTHON)" ] || ! "$(BASE_PYTHON)" -c "$(NEWER)"; then \
	  echo "tubepilot needs Python 3.11 or newer; found: '$(BASE_PYTHON)' $$($(BASE_PYTHON) --version 2>&1)." >&2; \
	  echo "Install it, or name it: make BASE_PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi
	@$(PY) -m pip --version >/dev/null 2>&1 || "$(BASE_PYTHON)" -m venv $(VENV) || { \
	  echo "python -m venv failed; on Debian and Ubuntu install the package python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock setuptools
	$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[$(EXTRAS)]"
	@touch $@

demo: $(STAMP)
	$(PY) benchmarks/demo.py --out demo $(if $(FROM_SCRATCH),--from-scratch)

bundle: $(STAMP)
	$(PY) benchmarks/demo.py --bundle-only

# What needs real time runs alone; the rest shares the cores.
test: $(STAMP)
	$(PY) -m pytest -q -n 2 --dist loadfile --durations=15 -m "not realtime and not slow"
	$(PY) -m pytest -q --durations=5 -m "realtime and not slow"

test-all: $(STAMP)
	$(PY) -m pytest -q -n 2 --dist loadfile --durations=15 -m "not realtime"
	$(PY) -m pytest -q --durations=5 -m realtime

check: $(STAMP) types package
	$(PY) -m ruff check .

# The four folders are parts of one import name; mypy sees them as such through links of those names.
types: $(STAMP)
	@mkdir -p build/types/tubepilot
	@for part in train export runtime firmware_bridge; do ln -sfn ../../../$$part build/types/tubepilot/$$part; done
	$(PY) -m mypy

# What a user gets: only tubepilot/ may land in site-packages.
package: $(STAMP)
	@rm -rf build/wheel build/site build/lib
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w build/wheel .
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target build/site build/wheel/tubepilot-*.whl
	@found=$$(ls build/site | grep -v -e '^bin$$' -e '\.dist-info$$'); if [ "$$found" != tubepilot ]; then \
	  echo "site-packages would get: $$found; only tubepilot/ is allowed" >&2; exit 1; fi
	@echo "package: only tubepilot/ lands in site-packages, $$(du -sk build/site/tubepilot | cut -f1) KiB"

# Exact versions of everything that is tested, without hashes or hosts; pyproject.toml keeps the ranges.
lock:
	rm -rf build/lock && "$(BASE_PYTHON)" -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip setuptools
	build/lock/bin/pip install --quiet -e ".[$(EXTRAS)]"
	build/lock/bin/pip freeze --all --exclude pip --exclude-editable > requirements.lock

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
