# Two commands on a bare machine: `make demo` and `make test`. Python 3.11+, make, a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCE ?= simulated
DEMO ?= demo
PYTEST := $(BIN)/python -m pytest -q --durations=15
SPREAD := -n logical --maxprocesses 4 --dist loadfile
BESIDE := s3 or faults
ALONE := ray or deepspeed or alone
ELSEWHERE := gpu or rgw or slow
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

# All but Ceph: fast + moto + some rounds of each fault; then Ray and DeepSpeed, which use all cores
# by themselves.
test: test-fast
	$(PYTEST) $(SPREAD) -m "($(BESIDE)) and not ($(ALONE) or $(ELSEWHERE))" tests
	$(PYTEST) -m "($(ALONE)) and not ($(ELSEWHERE))" tests

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
