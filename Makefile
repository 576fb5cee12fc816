# Every target sets up what it needs; the second time that is quick. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Python tests run side by side, in as many processes as there are cores, but in few enough for 8 GB.
# `make test-python WORKERS=0` runs them in one, which a debugger needs.
WORKERS ?= logical
PYTEST := python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal --durations 10
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format test-rust test-python test-ray test-lowest docs picture bench bench-accuracy bench-cluster bench-fhe bench-service fuzz wheel clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.built  ## Train, prove, compile and predict on encrypted rows of real data
	@$(BIN)/cipherfit demo

test: lint test-rust test-python  ## Everything that must hold: lints, Rust and Python tests

lint: $(VENV)/.dev  ## Formats, clippy, ruff, mypy, and the stubs against the module
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest cipherfit._core

format: $(VENV)/.dev  ## Rewrite the sources in the house format
	cargo fmt --all
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

test-rust:  ## Rust tests: naive oracle, properties, exhaustive enumeration
	cargo test --workspace --quiet

test-python: $(VENV)/.dev  ## Python tests, with real keys on small circuits
	$(BIN)/$(PYTEST)

# The versions are as old as pyproject.toml allows, on the oldest Python that the machine has.
OLDEST_PYTHON ?= $(shell python3.10 -c "" 2>/dev/null && command -v python3.10 || command -v $(PYTHON))
LOWEST := .venv-lowest

test-ray: $(VENV)/.dev  ## Encrypted rows on a cluster of Ray's, of two processes
	@$(PIP) --no-build-isolation --editable '.[dev,ray]'
	$(BIN)/python -m pytest tests/ray_cluster.py

test-lowest:  ## Python tests with the oldest versions that are allowed
	@test -x $(LOWEST)/bin/python || $(OLDEST_PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check maturin
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-lowest.txt --no-build-isolation --editable '.[plot,design,test]'
	$(LOWEST)/bin/$(PYTEST)

docs: $(VENV)/.dev  ## Build the documentation as a site, which needs no network to read
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "open $(abspath docs/_build/index.html)"

picture: $(VENV)/.built  ## Draw the README's picture anew, and print what the README shows
	@$(BIN)/cipherfit demo --output docs/images

bench: $(VENV)/.dev  ## Accuracy and latency end to end, simulation against its peers, the core's benchmarks
	$(BIN)/python benches/end_to_end.py
	$(BIN)/python -m pytest benches/simulation.py --benchmark-only --benchmark-columns=min,median,rounds
	$(BIN)/python benches/turns.py
	$(BIN)/python benches/threads.py
	$(BIN)/python benches/rows.py
	$(BIN)/python benches/bfv.py
	cargo bench --workspace --quiet

bench-accuracy: $(VENV)/.dev  ## Accuracy over data sets, seeds and bit budgets (hours; resumes)
	$(BIN)/python benches/accuracy.py

bench-cluster: $(VENV)/.dev  ## Encrypted rows by one and two workers of each back end, against plans
	$(BIN)/python benches/cluster.py

bench-fhe: $(VENV)/.dev  ## Encrypted rows of trained networks; OPTIONS='--mnist FILE --concrete-ml PYTHON' for all
	$(BIN)/python benches/fhe.py $(OPTIONS)

bench-service: $(VENV)/.dev  ## What the service adds to encrypted runs, and how fifty tenants share it
	$(BIN)/python benches/service.py
	$(BIN)/python benches/tenants.py

fuzz: $(VENV)/.dev  ## The property tests with many more cases, and a million hostile requests
	PROPTEST_CASES=20000 cargo test --workspace --quiet --release
	HYPOTHESIS_PROFILE=fuzz $(BIN)/$(PYTEST) tests/fhe/test_types.py
	HYPOTHESIS_PROFILE=fuzz $(BIN)/$(PYTEST) -m "not fhe"
	$(BIN)/python tests/assault.py

# Zig's linker has the symbols of old systems: manylinux2014 is glibc 2.17, of 2012.
wheel: $(VENV)/.python  ## Build a release wheel for glibc 2.17 on into dist/, and check it
	@$(PIP) 'maturin[zig]'
	rm -f dist/*.whl
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/maturin build --release --zig \
		--compatibility manylinux2014 --out dist
	@$(BIN)/python .ci/check_wheel.py dist/*.whl

clean:  ## Remove all that was built or installed here
	rm -rf $(VENV) $(LOWEST) docs/_build docs/api/generated docs/gallery target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
	find python -name '*.so' -delete

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
		|| { echo "cipherfit needs Python 3.10, 3.11 or 3.12: set PYTHON=python3.11, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.python pyproject.toml constraints.txt $(RUST_SOURCES)
	@echo "Installing dependencies and building the Rust core (a few minutes the first time)"
	@$(PIP) maturin
	@$(PIP) --no-build-isolation --editable '.[plot]'
	@touch $@

$(VENV)/.dev: $(VENV)/.built
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@
