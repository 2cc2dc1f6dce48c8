# Everything runs in .venv, which `make` creates and repairs automatically; `make help` lists the targets.
BASE_PYTHON ?= python3
BIN := .venv/bin
KILLS ?= 200
PYTHON := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help env repro test test-gpu torture coverage mutants lint format docs bench ablations report disk lock architecture plots-page browser-runtime screenshots

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## create, repair or update .venv; TORCH=cpu (or cu130, ...) selects the torch variant, which is remembered
	@$(BASE_PYTHON) setup_env.py

repro: env ## run the pipeline, show what it made and what to try next; ARGS are passed to dvc repro (ARGS=train)
	@git rev-parse --git-dir >/dev/null || { \
	    echo "error: DVC needs a git repository, and $(CURDIR) is in none; clone it, or run: git init" >&2; exit 1; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro $(ARGS)
	@$(PYTHON) -m tinylm.cli.summary

# Two workers with one thread each keep a small machine's cores busy, so threads must not spin while they wait.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: env ## run the tests; ARGS='tests/model/test_transformer.py -k rope' runs some
	$(PYTEST) $(ARGS)

test-gpu: env ## run the tests that need a GPU, in about two minutes
	$(PYTHON) -m pytest tests/gpu $(ARGS)

torture: env ## run all fault injection and the longest tests: a run killed 200 times (KILLS=N: N times), killed sweeps, queues and processes
	TINYLM_KILLS=$(KILLS) $(PYTEST) -m torture $(ARGS)

coverage: env ## run all tests, including `make torture`, and show the branches of tinylm/ that none took
	TINYLM_KILLS=$(KILLS) $(PYTEST) -m "torture or not torture" --cov --cov-report=term-missing $(ARGS)

mutants: env ## mutate a module and show the changes that no test notices; ARGS=tinylm/experiments/significance.py
	nice $(PYTHON) tools/mutants.py $(ARGS)

lint: env ## check style, types, and the imports between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for system in win32 darwin; do $(BIN)/mypy --config-file tools/mypy_platforms.ini --platform $$system \
	    --cache-dir .mypy_cache/$$system tinylm stages setup_env.py || exit 1; done
	$(BIN)/lint-imports --no-logo

format: env ## fix the style automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

report: env ## write review/review.md, a summary for a pull request; ARGS='NAME --baseline main'
	$(PYTHON) -m tinylm review $(ARGS)

docs: env ## write the reference pages, and build the documentation into build/docs/; a broken link is an error
	$(PYTHON) -m tools.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: env ## run the benchmarks; ARGS are passed to them
	$(PYTHON) -m benchmarks $(ARGS)

ablations: env ## train presets/quick.yaml with one change at a time and write presets/ablations.md; ARGS='--budgets 4M --jobs 2'
	$(PYTHON) -m tools.ablations $(ARGS)

disk: env ## show what takes disk space and how to free it; ARGS=--remove-resume frees ended runs' resume checkpoints
	@$(PYTHON) -m tinylm disk $(ARGS)

# The dependencies of torch's CUDA build are in a file of their own, which only constrains versions and installs
# nothing, so a CPU-only installation does not get them. It also has the hashes of torch, which differ in other
# variants. This machine's UV_ settings must leave no trace in the locks.
lock: env ## update the pins after a change in pyproject.toml; ARGS=--upgrade upgrades all, ARGS='-P dvc' one
	grep -v '^torch==' requirements.lock | cat - requirements-cuda.lock > .venv/all.lock
	sed '/^managed = false/d' pyproject.toml > .venv/pyproject.toml # uv reads no groups of an unmanaged project
	env -u UV_FIND_LINKS -u UV_TORCH_BACKEND $(BIN)/uv pip compile .venv/pyproject.toml --extra pipeline --extra export \
	    --group .venv/pyproject.toml:dev --universal --python-version 3.11 --no-annotate --generate-hashes \
	    --custom-compile-command "make lock" --quiet --output-file .venv/all.lock $(ARGS)
	awk '/^[a-z]/ { torch = /^torch==/; cuda = /^(cuda-|nvidia-|triton)/ || torch } \
	    torch && /^torch/ { print $$1 > "requirements.lock" } \
	    /^#/ || cuda { print > "requirements-cuda.lock" } /^#/ || !cuda { print > "requirements.lock" }' .venv/all.lock

architecture: env ## draw docs/architecture.svg from the imports
	$(PYTHON) -m tools.architecture

plots-page: env ## rebuild the page of `dvc plots` (.dvc/plots_page.html); needs npm
	$(PYTHON) tools/plots_page.py

browser-runtime: env ## renew what runs exports for browsers (tinylm/export/static/vendor/); needs npm
	$(PYTHON) tools/browser_runtime.py

screenshots: env ## write docs/images/report.png and serve.png; needs the outputs of a run, and Chromium
	$(PYTHON) -m tools.screenshots
