# DELLA-Merging: everything a user runs. `make help` lists the targets and the variables.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON  ?= $(shell command -v python3.11 || command -v python3)
DEVICE  ?= auto
EXPERTS ?= tiny
SWEEP   ?= main_table
JUDGE   ?= rules
SELECT  ?= dev
LAUNCHER ?= local
WORKERS ?= $(if $(filter local,$(LAUNCHER)),,4)
ARGS    ?=
SEEDS   ?= 0
VENV    := .venv
PY      := $(VENV)/bin/python
FAMILIES = $(sort $(basename $(notdir $(wildcard configs/experts/*.yaml))))
ENGINE  ?= $(shell cat $(VENV)/engine 2>/dev/null || echo vllm)
CACHE    = DELLA_CACHE=$(CURDIR)/.work/cache
FAMILY   = experts=$(EXPERTS) $(filter experts.% paths.%,$(ARGS))
CHOSEN   = experts=$(EXPERTS) judge=$(JUDGE) engine=$(ENGINE) select=$(SELECT)

.PHONY: help setup reproduce test checks experts sweep status sync tables bench clean peers lint

help: ## list the targets and the variables
	@echo "targets:"; grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s'|'
	@echo "variables, as in make reproduce EXPERTS=tiny:"
	@printf '  %-9s %s\n' EXPERTS "family of experts, a file of configs/experts ($(EXPERTS)): $(FAMILIES)" \
	  ARGS "further options, as in ARGS=\"judge.max_cost=50 hydra.launcher.partition=gpu\"; --help of each script lists its own" \
	  SWEEP "which sweep, a file of configs/sweep ($(SWEEP))" JUDGE "judge of AlpacaEval, a file of configs/judge ($(JUDGE))" \
	  SELECT "where hyperparameters are chosen: dev, or test as the paper did ($(SELECT))" \
	  ENGINE "what generates: vllm or hf ($(ENGINE))" SEEDS "training seeds for make experts, as 0,1,2 ($(SEEDS))" \
	  LAUNCHER "who runs a sweep's workers, a file of configs/hydra/launcher: local or slurm ($(LAUNCHER))" \
	  WORKERS "how many processes or jobs a sweep has (local: one per core; a cluster: 4)" \
	  DEVICE "which environment to install: cpu, cuda or auto ($(DEVICE))" PYTHON "the Python 3.11 to build it with ($(PYTHON))"

setup: $(VENV)/ready-$(DEVICE) ## install the environment into .venv (seconds when it is there)

$(VENV)/ready-$(DEVICE): $(wildcard requirements/*.txt requirements/*.sh)
	@requirements/install.sh $(VENV) $(PYTHON) $(DEVICE)

reproduce: setup ## make the experts, run the main table's sweep, print Table 1 beside the paper's
	@$(MAKE) experts
	@$(MAKE) sweep $(if $(filter local,$(LAUNCHER)),,ARGS='$(ARGS) wait=true')
	@$(MAKE) tables

experts: setup ## make the family of experts, or fetch it from the hub (what is there is checked)
	@$(PY) -m scripts.experts $(FAMILY) seeds=[$(SEEDS)] $(filter pin=%,$(ARGS))

sweep: setup ## run one sweep; done runs are skipped
	@$(PY) -m scripts.run -m sweep=$(SWEEP) hydra/launcher=$(LAUNCHER) $(CHOSEN) $(if $(WORKERS),workers=$(WORKERS)) $(filter-out pin=%,$(ARGS))

status: setup ## how far a sweep is, who works on it, the time left (exit code 1: runs failed)
	@$(PY) -m scripts.status sweep=$(SWEEP) $(CHOSEN) $(filter-out pin=% hydra.%,$(ARGS))

sync: setup ## send what sweeps mirrored offline to W&B
	@$(PY) -m scripts.sync $(filter paths.% tracking.% dry=%,$(ARGS))

tables: setup ## print and write the tables and figures of a sweep
	@$(PY) -m scripts.report sweep=$(SWEEP) $(CHOSEN) $(filter-out pin=% hydra.%,$(ARGS))

test: setup peers ## the test suite, heavy tests at small counts
	@$(CACHE) OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile

lint: setup ## format, lint and types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

checks: setup peers lint ## lint, types and every test, the long ones too; writes a dated report
	@mkdir -p .work/checks
	@$(CACHE) OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -m 'full or not full' 2>&1 | tee .work/checks/$$(date +%F).txt

peers: .venv-mergekit/ready ## mergekit in an environment of its own: what tests and benchmarks compare with

.venv-mergekit/ready: requirements/mergekit.txt requirements/install_mergekit.sh
	@$(MAKE) setup
	@requirements/install_mergekit.sh .venv-mergekit $(VENV) $(PYTHON)

bench: setup peers ## merges beside mergekit, engines side by side: time and memory (hours; goes on where it was stopped)
	@$(PY) -m scripts.bench
	@$(PY) -m scripts.bench_engines

clean: ## remove caches and working records (not the environment, not the experts)
	@rm -rf .work/records .work/wandb .work/cache .work/hydra .work/slurm .work/search outputs multirun .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
