# Every target works as the first command after a clone: it sets up .venv by itself, once.
# `make test FROM=wheel` tests the built wheel in place of the source tree; CI does.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
TASK ?= ner
DATA ?=
TUTORIALS ?= small
FROM = source

VENV := .venv
BIN := $(VENV)/bin
RUN := OMP_NUM_THREADS=1 $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

# What `make docs` puts into the pages of the tutorials. Outputs are kept until a tutorial or the package changes.
ifeq ($(filter small full off,$(TUTORIALS)),)
$(error TUTORIALS=$(TUTORIALS): it is `small` (outputs of a short training, some three minutes), `full` or `off`)
endif

# What has been done to .venv, as files: its packages; which regard it holds; the library in src/.
SETUP := $(VENV)/.setup
SOURCE := $(VENV)/.source
WHEEL := $(VENV)/.wheel
NATIVE := $(VENV)/.native

LIBRARY := $(wildcard CMakeLists.txt) $(shell find csrc -type f 2>/dev/null)
PACKAGE := $(shell find src -type f -not -name '*.pyc' -not -name '*.so' -not -name '*.dylib')

ifeq ($(FROM),wheel)
READY := $(WHEEL)
else ifeq ($(FROM),source)
READY := $(SOURCE) $(NATIVE)
else
$(error FROM=$(FROM): it is `source` (the tree, as you edit it) or `wheel` (built and installed))
endif

.PHONY: help setup demo test check bench docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## set up .venv with everything that the tests need, and nothing else

demo: $(READY) ## train on code of this machine (or DATA=file.conll), and show what it attends to
	$(BIN)/regard demo $(TASK) $(if $(DATA),--data $(DATA)) $(ARGS)

test: $(READY) ## run all tests (ARGS="-k masks" for some)
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

check: $(READY) ## ruff, mypy --strict, and the rules of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(RUN) -m pytest tests/architecture

bench: $(READY) ## measure speed and memory against PyTorch's own attention
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY) ## build build/docs/index.html, run its examples, follow its links (TUTORIALS=full|off)
	@rm -rf build/docs
	@echo "Building the pages; tutorials: $(TUTORIALS) (small runs them in some three minutes, off leaves outputs out)."
	REGARD_DOCS_TUTORIALS=$(TUTORIALS) REGARD_TUTORIAL_BUDGET=$(TUTORIALS) \
	  $(RUN) -m sphinx -q -W --keep-going docs build/docs
	REGARD_SITE=build/docs $(RUN) -m pytest tests/docs $(ARGS)

clean: ## remove .venv and everything built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src -name '*.so' -o -name '*.dylib' | xargs rm -f

$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "regard needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV): PyTorch and the tools, minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch scikit-build-core
	$(PIP) --no-build-isolation -e '.[dev]'
	@rm -f $(SOURCE) $(WHEEL)
	@touch $@

$(SOURCE): $(SETUP)
	$(PIP) --no-build-isolation --no-deps -e .
	@rm -f $(WHEEL)
	@touch $@

$(WHEEL): $(SETUP) $(PACKAGE) $(LIBRARY)
	@rm -rf dist
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip --disable-pip-version-check wheel -q \
	  --no-build-isolation --no-deps -w dist .
	$(PIP) --no-deps --force-reinstall dist/regard-*.whl
	@rm -f $(SOURCE)
	@touch $@

# Without a compiler the work goes on and the next call tries again; an error in csrc/ stops it.
$(NATIVE): $(SETUP) $(LIBRARY)
	@rm -f src/regard/backends/native/libregard_native.*
	@if PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release; then \
	  $(BIN)/cmake --build build/native && $(BIN)/cmake --install build/native --prefix src && touch $@; \
	else \
	  echo "The native kernel was not built: it needs a C++17 compiler (Debian: apt install g++)."; \
	  case "$$REGARD_REQUIRE" in \
	    *native*) echo "REGARD_REQUIRE=native makes this an error."; exit 1;; \
	    *) echo "Going on without it, on PyTorch's own attention, which is slower.";; \
	  esac; \
	fi
