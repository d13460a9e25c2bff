# Two commands: `make demo` shows Lavra at work, `make test` passes every test. Both set up all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS ?=
STUDY ?= yes
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check format constraints chromium clean

demo: $(VENV)/installed
	$(BIN)/lavra demo $(if $(DOCS),"$(DOCS)") $(if $(filter no,$(STUDY)),--no-study)

test: check chromium
	$(BIN)/python -m pytest

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Debian and Ubuntu may have Python without venv's bundled pip: then the pip that is there fills the environment.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || \
	  { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } || \
	  { echo "lavra: Python 3.11 or newer with venv is needed: apt-get install python3-venv python3-pip" >&2; exit 2; }

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what Lavra needs into $(VENV) (PyTorch is the large part) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	@echo "Installing what the tests need …"
	$(PIP_INSTALL) --editable '.[test,dev]'
	@touch $@

# Browser tests need Debian's chromium; where it cannot be installed they skip and say so.
chromium:
	@command -v chromium >/dev/null || { \
	  command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] && SUDO= || SUDO="sudo -n"; \
	    $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium >/dev/null; } || \
	  echo "chromium is not installed and may not be: the browser tests will skip"; }

# Pin every version anew from a fresh environment.
constraints:
	rm -rf /tmp/lavra-constraints && $(PYTHON) -m venv /tmp/lavra-constraints
	/tmp/lavra-constraints/bin/pip install --quiet --upgrade pip
	/tmp/lavra-constraints/bin/pip install --quiet torch==2.13.0
	/tmp/lavra-constraints/bin/pip install --quiet '.[test,dev]'
	{ echo "# Every version that Lavra is tested with. Written by \`make constraints\`."; \
	  /tmp/lavra-constraints/bin/pip freeze --exclude lavra | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf /tmp/lavra-constraints

clean:
	rm -rf $(VENV) lavra-demo build dist .pytest_cache .mypy_cache .ruff_cache
