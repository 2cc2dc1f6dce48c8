# Everything runs in .venv, which `make` creates and repairs by itself; `make help` lists the targets.
BASE_PYTHON ?= python3
BIN := .venv/bin
KILLS ?= 200
PYTHON := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help env repro test test-gpu torture coverage mutants lint format bench report disk lock architecture plots-page

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## create, repair or update .venv; TORCH=cpu (or cu130, ...) chooses the variant of torch once
	@$(BASE_PYTHON) setup_env.py

repro: env ## run the pipeline and show what came out; ARGS='train' and other words go to dvc repro
	@git rev-parse --git-dir >/dev/null || { \
	    echo "error: DVC needs a git repository, and $(CURDIR) is in none; clone it, or run: git init" >&2; exit 1; }
	$(BIN)/dvc repro $(ARGS)
	@$(PYTHON) -m tinylm.cli.summary

# One thread for each of the two workers, and none that spins while it waits: the cores of a small machine are taken.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: env ## run the tests; ARGS='tests/model/test_transformer.py -k rope' runs some
	$(PYTEST) $(ARGS)

test-gpu: env ## run on this machine's GPU what must hold there, in about two minutes
	$(PYTHON) -m pytest tests/gpu $(ARGS)

torture: env ## faults and kills in full: a run killed 200 times (KILLS=N for another number), sweeps, queues, processes
	TINYLM_KILLS=$(KILLS) $(PYTEST) -m torture $(ARGS)

coverage: env ## run all tests, those of `make torture` too, and show which branches of tinylm/ none took
	TINYLM_KILLS=$(KILLS) $(PYTEST) -m "torture or not torture" --cov --cov-report=term-missing $(ARGS)

mutants: env ## change a module in small ways and show what no test notices; ARGS=tinylm/experiments/significance.py
	nice $(PYTHON) tools/mutants.py $(ARGS)

lint: env ## check style, types, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: env ## mend the style where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

report: env ## write review/review.md, a summary for a pull request; ARGS='NAME --baseline main'
	$(PYTHON) -m tinylm review $(ARGS)

bench: env ## run the benchmarks; ARGS go to them
	$(PYTHON) -m benchmarks $(ARGS)

disk: env ## what takes the disk, and how to get it back; ARGS=--remove-resume removes states of ended runs
	@$(PYTHON) -m tinylm disk $(ARGS)

# What torch's CUDA build takes stands in a file of its own, which constrains and installs nothing: so a CPU-only
# installation stays free of it. There are torch's hashes, too, which other variants do not have.
# UV_ settings of this machine must not leave a trace.
lock: env ## renew the pins after a change in pyproject.toml; ARGS=--upgrade moves all, ARGS='-P dvc' one
	grep -v '^torch==' requirements.lock | cat - requirements-cuda.lock > .venv/all.lock
	env -u UV_FIND_LINKS -u UV_TORCH_BACKEND $(BIN)/uv pip compile pyproject.toml --extra dev --universal \
	    --python-version 3.11 --no-annotate --generate-hashes --custom-compile-command "make lock" --quiet \
	    --output-file .venv/all.lock $(ARGS)
	awk '/^[a-z]/ { torch = /^torch==/; cuda = /^(cuda-|nvidia-|triton)/ || torch } \
	    torch && /^torch/ { print $$1 > "requirements.lock" } \
	    /^#/ || cuda { print > "requirements-cuda.lock" } /^#/ || !cuda { print > "requirements.lock" }' .venv/all.lock

architecture: env ## draw docs/architecture.svg from the imports
	$(PYTHON) -m tools.architecture

plots-page: env ## renew the page of `dvc plots` (.dvc/plots_page.html); needs npm
	$(PYTHON) tools/plots_page.py
