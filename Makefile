# Everything a new clone needs: `make demo` and `make test` create .venv, install into it and run.
PYTHON ?= python3
OUT ?= runs/demo
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test lint format clean

help:
	@echo "make demo [OUT=DIR]   the whole chain, about 5 minutes on 2 cores; ends in OUT/report.html"
	@echo "make test             the tests, under 15 minutes on 2 cores"
	@echo "make lint             format, lint, types, import order"
	@echo "make install          only create .venv and install"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("armillary needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing. Install: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PYTHON="$(PYTHON)" sh tools/install.sh $(BIN)/python
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/armillary demo --out $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_imports.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache
