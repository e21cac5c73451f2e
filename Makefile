# Every target sets up what it needs in .venv, with plain pip, and then does its work. To be given where wanted:
#   PYTHON=python3.12   the interpreter that .venv is made with
#   PIP_ARGS=...        more words for every `pip install`
#   DISK_GB=...         the free disk to ask for, in place of the figures below
#   WORKERS=8           processes that tests run in
#   ARGS=...            more words for what the target runs

SUITABLE = import pip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c "$(SUITABLE)" 2>/dev/null && echo $$name && break; done)
INSTALL = install --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt
WORKERS ?= 2
PYTEST_ARGS = -n $(WORKERS) --dist worksteal --durations=10 --durations-min=5 $(ARGS)

.PHONY: demo test check bench lint serve clean

demo: .venv/demo
	.venv/bin/python training/demo.py $(ARGS)

test: .venv/all
	@.venv/bin/python tests/suite.py $(PYTEST_ARGS)

check: lint
	.venv/bin/pytest -m 'not slow' $(PYTEST_ARGS)

bench: .venv/all
	.venv/bin/python tests/benchmarks/train.py $(ARGS)
	.venv/bin/python tests/benchmarks/serve.py

lint: .venv/all
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

serve: .venv/demo
	.venv/bin/python serving/run.py $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The stamps. What `demo` installs has no torch; `all` adds to the same .venv.
.venv/demo: EXTRAS = jax,export,serving
.venv/demo: DISK_GB ?= 5
.venv/all: EXTRAS = jax,torch,tensorflow,export,serving,dev
.venv/all: DISK_GB ?= 12
.venv/demo .venv/all: pyproject.toml constraints.txt
	@"$(PYTHON)" -c "$(SUITABLE)" 2>/dev/null || { echo >&2 \
		"error: needs CPython 3.11, 3.12 or 3.13 with pip; install it and name it with PYTHON="; exit 1; }
	@free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	test "$$free" -ge $(DISK_GB) || { echo >&2 \
		"error: needs $(DISK_GB) GB of disk and $$free are free; make room, or say DISK_GB=$$free to try all the same"; exit 1; }; \
	echo "$$("$(PYTHON)" --version), $$free GB of disk free of $(DISK_GB) needed: installing into .venv"
	@test -x .venv/bin/pip || { "$(PYTHON)" -m venv --without-pip .venv && \
		"$(PYTHON)" -m pip --python .venv/bin/python $(INSTALL) pip; }
	.venv/bin/python -m pip $(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@
