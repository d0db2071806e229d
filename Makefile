# Every target works as the first command after a clone: it sets up .venv by itself, once, with what it needs.
# `make test FROM=wheel` tests the built wheel in place of the source tree; CI does.
# `make test TORCH=2.14.1` tests with another PyTorch, in an environment of its own.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
TASK ?= ner
DATA ?=
TUTORIALS ?= small
FROM = source
TORCH ?=
MINUTES ?= 10
JUPYTERLAB := 4.6.6

VENV := .venv$(if $(TORCH),-torch-$(TORCH))
BIN := $(VENV)/bin
RUN := OMP_NUM_THREADS=1 $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q --no-deps

# What `make docs` puts into the pages of the tutorials. Outputs are kept until a tutorial or the package changes.
ifeq ($(filter small full off,$(TUTORIALS)),)
$(error TUTORIALS=$(TUTORIALS): it is `small` (outputs of a short training, some three minutes), `full` or `off`)
endif

# What has been done, as files: the packages of each purpose (run, develop, release) in .venv; which regard it holds; the library in src/.
TO_RUN := $(VENV)/.run
TO_DEVELOP := $(VENV)/.develop
TO_RELEASE := $(VENV)/.release
SOURCE := $(VENV)/.source
WHEEL := $(VENV)/.wheel
NATIVE := build/native/.made

LIBRARY := $(wildcard CMakeLists.txt) $(shell find csrc -type f 2>/dev/null)
PACKAGE := $(shell find src -type f -not -name '*.pyc' -not -name '*.so' -not -name '*.dylib')

ifeq ($(FROM),wheel)
REGARD := $(WHEEL)
else ifeq ($(FROM),source)
REGARD := $(SOURCE) $(NATIVE)
else
$(error FROM=$(FROM): it is `source` (the tree, as you edit it) or `wheel` (built and installed))
endif

.NOTPARALLEL:
.PHONY: help setup demo test fuzz check bench docs oracles lab wheels clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(TO_DEVELOP) $(REGARD) ## set up .venv with everything that the tests need

demo: $(TO_RUN) $(REGARD) ## train on code of this machine (or DATA=file.conll), and show what it attends to
	$(BIN)/regard demo $(TASK) $(if $(DATA),--data $(DATA)) $(ARGS)

test: $(TO_DEVELOP) $(REGARD) ## run all tests (ARGS="-k masks" for some; TORCH=2.14.1 with that PyTorch)
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

fuzz: $(TO_DEVELOP) $(REGARD) ## compare random calls with float64 for MINUTES (10 unless given)
	REGARD_FUZZ_MINUTES=$(MINUTES) $(RUN) -m pytest -q tests/fuzz $(ARGS)

check: $(TO_DEVELOP) $(REGARD) ## ruff, mypy --strict, and the rules of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(RUN) -m pytest tests/architecture

bench: $(TO_RUN) $(REGARD) ## measure speed and memory against PyTorch's own attention
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(TO_DEVELOP) $(REGARD) ## build build/docs/index.html, run its examples, follow its links (TUTORIALS=full|off)
	@rm -rf build/docs
	@echo "Building the pages; tutorials: $(TUTORIALS) (small runs them in some three minutes, off leaves outputs out)."
	REGARD_DOCS_TUTORIALS=$(TUTORIALS) REGARD_TUTORIAL_BUDGET=$(TUTORIALS) \
	  $(RUN) -m sphinx -q -W --keep-going docs build/docs
	REGARD_SITE=build/docs $(RUN) -m pytest tests/docs $(ARGS)

oracles: ## write anew what packages that exist only as source answer (tests/oracles/*.json)
	tests/oracles/make $(PYTHON)

# It brings some 90 packages that nothing else needs, so they stay out of .venv.
lab: ## JupyterLab in an environment of its own, build/lab, for the tests that drive it
	$(PYTHON) -m venv build/lab
	build/lab/bin/python -m pip --disable-pip-version-check install -q jupyterlab==$(JUPYTERLAB)
	@echo "REGARD_LAB=build/lab/bin/python make test ARGS=tests/browser/test_lab.py"

wheels: $(TO_RELEASE) ## write dist/: the source and the wheels for x86-64 and 64-bit Arm, checked
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/wheels.py
	@echo "tools/try_wheels installs each into an empty environment and runs it, the Arm one emulated."

clean: ## remove .venv and everything built
	rm -rf .venv .venv-torch-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src -name '*.so' -o -name '*.dylib' | xargs rm -f

# The first two also put the source tree into .venv, and what develops also runs.
$(TO_RUN) $(TO_DEVELOP) $(TO_RELEASE): pyproject.toml constraints.txt tools/environment.py
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) tools/environment.py $(VENV) $(patsubst .%,%,$(@F)) $(if $(TORCH),--torch $(TORCH))
	@$(if $(filter $(TO_RELEASE),$@),,rm -f $(WHEEL) && touch $(SOURCE) $(TO_RUN))
	@touch $@

$(SOURCE): | $(TO_RUN)
	$(PIP) --no-build-isolation -e .
	@rm -f $(WHEEL)
	@touch $@

$(WHEEL): $(PACKAGE) $(LIBRARY) | $(TO_RUN)
	@rm -rf build/wheel
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip --disable-pip-version-check wheel -q \
	  --no-build-isolation --no-deps -w build/wheel .
	$(PIP) --force-reinstall build/wheel/regard-*.whl
	@rm -f $(SOURCE)
	@touch $@

# Without a compiler the work goes on and the next call tries again; an error in csrc/ stops it.
$(NATIVE): $(LIBRARY) | $(TO_RUN)
	@rm -f src/regard/backends/native/libregard_native.*
	@echo "Building the native kernel: some two minutes on two cores, once."
	@if PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release; then \
	  $(BIN)/cmake --build build/native && $(BIN)/cmake --install build/native --prefix src && touch $@; \
	else \
	  echo "The native kernel was not built: it needs a C++17 compiler (Debian: apt install g++)."; \
	  case "$$REGARD_REQUIRE" in \
	    *native*) echo "REGARD_REQUIRE=native makes this an error."; exit 1;; \
	    *) echo "Going on without it, on PyTorch's own attention, which is slower.";; \
	  esac; \
	fi
