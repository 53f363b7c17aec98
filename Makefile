# Every target sets up what it needs, once: .venv is rebuilt only when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runs
READY  := $(VENV)/.ready
LOWEST := .venv-lowest

# where the lowest versions of the dependencies are met: pint and ucumvert; torch's transforms and torchdiffeq; cvxpy and clarabel;
# safetensors; typer and rich, and its live view; matplotlib; threadpoolctl; hypothesis and scipy; pandas and xarray; torch's optimisers
LOWEST_TESTS := tests/physics/test_units.py tests/hybrid/solve/test_solvers.py tests/stability/search/test_gain.py \
  tests/exchange/bundle/test_bundle.py tests/homeostat/test_door.py tests/homeostat/test_follow_view.py tests/homeostat/test_pictures.py tests/hybrid/test_threads.py \
  tests/learned/test_laws.py tests/examples/test_cpeptide.py tests/training/people/test_frames.py tests/training/test_fit.py

.PHONY: help setup demo test test-slow test-lowest bench docs lint types clean

help:
	@echo "make demo       train, certify, calibrate and save the theophylline twin (writes runs/theophylline);"
	@echo "                the second demo: $(BIN)/homeostat demo c-peptide (writes runs/c-peptide)"
	@echo "make test       lint, types and every fast test"
	@echo "make test-slow  the tests that run whole demos"
	@echo "make test-lowest  the tests that meet a dependency, with the lowest version of each (.venv-lowest, 5 GB where torch brings CUDA)"
	@echo "make bench      ours and the peers side by side (writes runs/bench); QUICK=--quick for a first look"
	@echo "make docs       the site, notebooks run, every link followed (writes runs/docs)"
	@echo "make clean      remove what the other targets made"

$(RUNS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "homeostat needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(READY): $(RUNS)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(READY)

# no more than it needs: the picture is there sooner
demo: $(RUNS)
	$(BIN)/homeostat demo
	@echo "The second demo, three quarters of a minute, shows what a learned part is for: $(BIN)/homeostat demo c-peptide"

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m benchmarks $(QUICK)

# two passes read and write in two processes; a warning, a cell that fails and a link that leads nowhere are errors
docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	rm -rf runs/docs runs/.doctrees
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -q -W --keep-going -j 2 -c docs/site -d runs/.doctrees . runs/docs
	$(BIN)/python docs/site/links.py runs/docs

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

# neighbours share what a file sets up once: each process begins with half of the files, and takes from the other's end
test: lint types
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -m slow -n 2

# rebuilt from nothing: what a newer pin left there would be no lowest version
$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[frames]' pytest pytest-xdist hypothesis
	@touch $@

test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest -n 2 --dist worksteal $(LOWEST_TESTS)

clean:
	rm -rf $(VENV) $(LOWEST) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
