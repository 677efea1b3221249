# make lab        make the environment if needed and open JupyterLab on your copy of the first chapter, in my_notebooks/
# make test       make the environment if needed and run the tests in two processes (no GPU, no download)
# make torture    damaged files, wrong arguments, kills and buttons in any order: minutes
# make mutants    change the package in one place at a time, in copies, and see whether the tests notice: hours
# make notebooks  run every chapter again and keep its figures; some of them: ARGS="04"
# make readme     write the table of methods into README.md again, from their records
# make site       the course as pages in build/site that open from disk; some chapters: ARGS="03"
# make handout    the exercises as a page to print, and with their solutions, in build/handout; ARGS="03"
# make slides     the chapters as slides to show and to print, in build/slides; some chapters: ARGS="03"
# make record     train every method on the small recipes for the chapters; what is in data/runs stays: hours
# make bench      measure what we claim to be fast; also ARGS="--quick", ARGS="losses", ARGS="page" and, on a GPU, ARGS="gpu"
# make clean      remove the environment and the caches

# Any Python from 3.11 on, and where its environment goes.
PYTHON ?= python3
VENV ?= .venv
# JupyterLab: the port (the next free one if it is taken), no to print the address instead of opening a window, and
# the folder to show; a reader's copies of the chapters go into its my_notebooks/.
PORT ?= 8888
BROWSER ?= yes
ROOT ?= $(CURDIR)
# More for the command behind a target, as in make test ARGS="-k focal".
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ltviz-installed

# Threads that wait for work soon sleep: JupyterLab, a training run and the tests share few cores (ltviz/__init__.py).
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 3000

.PHONY: help lab test torture mutants notebooks readme site handout slides record bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

lab: $(READY)
	@"$(BIN)/python" -m tools.start --root "$(ROOT)" --port $(PORT) $(if $(filter no,$(BROWSER)),--no-browser)

test: $(READY)
	@echo "ltviz: running the tests that need no GPU, no browser and no downloaded data"
	@"$(BIN)/python" -m pytest --numprocesses 2 --dist loadfile \
	    -m "not realdata and not browser and not slow and not gpu and not postgres" $(ARGS)

torture: $(READY)
	@echo "ltviz: damaged files, wrong arguments, kills, and buttons pressed in any order; this takes minutes"
	@"$(BIN)/python" -m pytest -m slow $(ARGS)

mutants: $(READY)
	@echo "ltviz: installing mutmut into $(VENV), if it is not there"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --editable ".[mutants]"
	@"$(BIN)/python" -m tools.mutants $(ARGS)

notebooks: $(READY)
	@echo "ltviz: running every chapter from top to bottom and keeping its figures"
	@"$(BIN)/python" -m tools.notebooks $(ARGS)

readme: $(READY)
	@"$(BIN)/python" -m tools.readme $(ARGS)

site: $(READY)
	@echo "ltviz: drawing the explorers of the chapters and of every method; minutes the first time"
	@"$(BIN)/python" -m tools.site $(ARGS)

handout: $(READY)
	@"$(BIN)/python" -m tools.site.handout $(ARGS)

slides: $(READY)
	@"$(BIN)/python" -m tools.site.slides $(ARGS)

record: $(READY)
	@echo "ltviz: training what is not in data/runs yet"
	@"$(BIN)/python" -m tools.record $(ARGS)

bench: $(READY)
	@echo "ltviz: measuring what we claim to be fast; other work on this machine disturbs that"
	@"$(BIN)/python" -m tools.benchmark $(ARGS)

# Runs again when the lists change. The stamp is written last, so an interrupted installation is taken up again.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "ltviz needs Python 3.11 or newer; '$(PYTHON)' says: $$("$(PYTHON)" --version 2>&1 | tail -n 1)."; \
	    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' has no venv module with pip. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x "$(BIN)/python" || { echo "ltviz: making the environment in $(VENV)"; "$(PYTHON)" -m venv "$(VENV)"; }
	@echo "ltviz: installing the packages into $(VENV) (several GB with PyTorch; minutes the first time)"
	@"$(BIN)/python" -m pip install --disable-pip-version-check \
	    --constraint constraints.txt --editable ".[test]"
	@touch "$@"
	@echo "ltviz: the environment is ready"

clean:
	rm -rf "$(VENV)" build *.egg-info .pytest_cache .ruff_cache
	find ltviz tests tools notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
