# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Every process of Ray imports torch, Ray and MLflow: three times as fast when they are compiled, also where
# PYTHONDONTWRITEBYTECODE forbids Python to do it. pip does it on one core. What does not compile are templates.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/(tests?|testing|examples|rllib)/' $(VENV)/lib || true

.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-all fuzz hosts kills lint docs bench weights results images ui clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.dev  ## Create .venv with marey, its pinned dependencies and the development tools

demo: $(VENV)/.runtime  ## Run the whole workflow on built-in videos: two trained networks in five to ten minutes
	@$(BIN)/marey demo

# Order matters for time alone: tests/conftest.py puts the longest chain of tests first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: $(VENV)/.dev  ## Run the tests: real Ray, MLflow and videos (about 15 minutes on two cores)
	@$(PYTEST) -m 'not campaign and not long'

test-quick: $(VENV)/.dev  ## Run only the tests that need neither Ray nor MLflow (under 3 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m quick -n 2 --dist worksteal

test-all: $(VENV)/.dev  ## Run the tests, short campaigns, and the wheel in fresh environments (up to an hour)
	@code=0; $(PYTEST) -m 'not campaign and not long' || code=$$?; $(PYTEST) -m 'campaign and not long' && exit $$code

fuzz: $(VENV)/.dev  ## Read 2,000 damaged videos, lists and recipes each, 300 datasets (4 minutes; FUZZ=20000 for more)
	@$(BIN)/python tests/fuzz $(FUZZ)
	@PYTHONPATH=.:tests/helpers $(BIN)/python tests/fuzz/datasets.py 300

hosts: $(VENV)/.dev  ## Work on hosts that are lost, cut off, and taken away, and on Slurm: as root (45 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests/cluster/test_host_trainings.py tests/cluster/test_host_jobs.py tests/cluster/test_slurm.py

kills: $(VENV)/.dev  ## Prepare, train and search while processes and nodes are killed at random (KILLS=100 for more)
	@OMP_NUM_THREADS=1 PYTHONPATH=.:tests/helpers $(BIN)/python tests/kills $(if $(KILLS),--preparations $(KILLS) --trainings $(KILLS) --sweeps $(KILLS))

lint: $(VENV)/.dev  ## Check style, types and spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/codespell

docs: $(VENV)/.docs  ## Build the documentation site into build/docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs build/docs
	@echo 'open build/docs/index.html'

bench: $(VENV)/.dev  ## Measure speed and memory; print the tables of docs/results.md
	@$(BIN)/python tests/bench

weights: $(VENV)/.dev  ## Train three networks by 1, 2, 3, 4 workers and under kills; print the sha256 of their weights
	@OMP_NUM_THREADS=1 PYTHONPATH=.:tests/helpers $(BIN)/python tests/results/same_weights.py

results: $(VENV)/.dev  ## Train every network and ablation for docs/results.md (hours; resumes where it stopped)
	@$(BIN)/python tests/results --cells tests/results/cells --report docs/results.md

IMAGES := marey
images:  ## Build the container images marey:cpu and marey:cuda, by docker (IMAGES=registry/name TORCH_INDEX=... DECORD=0)
	@docker info > /dev/null 2>&1 || { echo 'docker does not answer here: run make images on a machine where docker info works.' >&2; exit 2; }
	docker build --file cluster/images/Dockerfile --build-arg TORCH=cpu --build-arg TORCH_INDEX --build-arg DECORD --tag $(IMAGES):cpu .
	docker build --file cluster/images/Dockerfile --build-arg TORCH=cuda --build-arg DECORD --tag $(IMAGES):cuda .

ui: $(VENV)/.runtime  ## Open the MLflow UI on this machine
	@$(BIN)/marey ui

clean:  ## Remove the environment and caches; marey-work and its runs are kept
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The runtime alone is a minute faster to install than the tools beside it, and is all the demo needs.
# torch comes first and alone: its CPU build is then what the others find.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("marey needs Python 3.11 or newer; name one with make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo 'No venv module: apt-get install python3-venv, then run make again.' >&2; exit 2; }
	@echo 'Installing the pinned dependencies into $(VENV) (a minute or two) ...'
	@$(PIP) torch
	@$(PIP) -e .
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { echo 'OpenCV does not load: apt-get update && apt-get install -y libgl1 libglib2.0-0, then run make again.' >&2; exit 2; }
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(PIP) -e '.[dev]'
	@$(COMPILE)
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	@$(PIP) -e '.[docs]'
	@touch $@
