# What there is to do. `make` alone prints it.

.DEFAULT_GOAL := help
.PHONY: help demo up down status doctor compose-up compose-down test test-compose bench check docs lock venv

ifeq ($(OS),Windows_NT)
  $(error Headrace needs Linux or macOS. On Windows, run it in WSL (wsl --install); with Docker Desktop, make compose-up works there, too)
endif

BIN := .venv/bin
SET_UP := test -x $(BIN)/headrace || { echo 'Headrace is not set up here yet; `make up` does that.' >&2; exit 3; };

help: ## Print this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: venv ## Set everything up, run the main job on real Kafka, Spark and Airflow, and print its report
	@$(BIN)/headrace demo

up: venv ## Start Kafka and Airflow, and leave them running
	@$(BIN)/headrace up

down: ## Stop all of it
	@$(SET_UP) $(BIN)/headrace down

status: ## Show what runs, where, and where the login is
	@$(SET_UP) $(BIN)/headrace status

doctor: ## Check everything that is needed
	@$(SET_UP) $(BIN)/headrace doctor

compose-up: ## Start the same in containers, with a Spark cluster (needs Docker)
	@docker/up

compose-down: ## Stop the containers; what they keep stays
	@docker compose down

test: venv ## Set everything up and run all tests but those of the containers
	@$(BIN)/pytest -n 4

test-compose: venv ## Run the tests of the containers (needs Docker; takes about a quarter of an hour)
	@$(BIN)/pytest tests/compose

bench: venv ## Measure Headrace beside other programs; FLINK=1 fetches and measures Flink, too (takes about an hour)
	@PYTHONPATH=.:tests/integration:tests/headrace/verify $(BIN)/python tests/bench/throughput.py $(if $(FLINK),--flink)

check: venv ## Check style, types and locks
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/uv pip check --quiet --python $(BIN)/python
	@$(BIN)/python -m headrace.local.install.requirements --check
	@$(BIN)/python -m headrace.schemas --check

docs: venv ## Write the generated documentation anew
	@$(BIN)/python -m headrace.schemas

lock: venv ## Bring the locks up to date with pyproject.toml, keeping what is pinned
	@$(BIN)/python -m headrace.local.install.requirements

# Python 3.11 is what everything is tested with.
venv: ## Set up .venv, and nothing else
	@for python in python3.11 python3.12 python3.13 python3 python3.14; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
	    exec $$python headrace/local/install/bootstrap.py; \
	  fi; \
	done; \
	echo "Headrace needs Python 3.11 to 3.14 with its venv module (on Debian and Ubuntu: apt install python3-venv); found: $$(python3 --version 2>&1)." >&2; \
	exit 3
