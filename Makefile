# Two commands on a bare machine: `make demo` and `make test`. Python 3.11+, make, a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCE ?= simulated
DEMO ?= demo
PYTEST := $(BIN)/python -m pytest -q
SPREAD := -n logical --maxprocesses 4 --dist loadfile
NOT_BESIDE := ray or s3 or deepspeed or faults or alone
WEIGHTS := build/weights

.PHONY: install demo test test-fast test-s3 test-faults lint bench weights clean

install: $(STAMP)

# One pip call: a second one may undo the pins of the first.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/ecgtwin demo --source $(SOURCE) --out $(DEMO) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fast: $(STAMP)
	$(PYTEST) $(SPREAD) tests

# All but Ceph: fast + Ray + DeepSpeed + moto + some rounds of each fault. Those that start processes
# have the machine for themselves.
test: test-fast
	$(PYTEST) -m "($(NOT_BESIDE)) and not (gpu or rgw or slow)" tests

# The same S3 tests against Ceph RGW from Debian packages (root, once: apt-get).
test-s3: $(STAMP)
	scripts/rgw.sh -- $(PYTEST) -m "s3 or rgw" tests

test-faults: $(STAMP)
	ECGTWIN_FAULT_ROUNDS=50 ECGTWIN_FUZZ_ROUNDS=20 $(PYTEST) -m faults tests

# Ours against the published way of sampling, and the rates of this machine; docs/benchmarks.md.
bench: $(STAMP)
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.gpu

# The shipped weights, from nothing: about an hour and a half on two cores.
weights: $(STAMP)
	scripts/weights.sh $(WEIGHTS)

clean:
	rm -rf build demo .pytest_cache .mypy_cache .ruff_cache
