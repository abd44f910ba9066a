# Two commands: `make tables` (the smoke sweep and its tables) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Bytecode is written where it is first imported, or each of the many processes of a sweep or a test
# run would compile torch and Lightning anew, which takes as long as all the rest of its start.
unexport PYTHONDONTWRITEBYTECODE
# Without --no-compile pip would compile each of 20,000 files, most of which nobody imports.
QUIETLY := install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Two processes: a test file stays in one of them, and no test uses more than a core. Files in their
# own order: those of few and long tests come first, or one process would wait for them in the end.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: install tables test lint check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	"tsdtp needs Python 3.11 to 3.13, this is %d.%d; choose one by make PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip $(QUIETLY) torch
	$(BIN)/python -m pip $(QUIETLY) -e '.[dev]'
	touch $(STAMP)

tables: install
	$(BIN)/tsdtp sweep sweep=smoke

test: install
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint
	$(BIN)/tsdtp validate
	$(PYTEST) tests/unit tests/contract -m "not slow and not slurm"

clean:
	rm -rf $(VENV) build dist *.egg-info
