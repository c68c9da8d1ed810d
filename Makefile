# Each interpreter has a virtual environment of its own: make test PYTHON=python3.13
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ifeq ($(VERSION),)
$(error PYTHON=$(PYTHON) is no Python interpreter)
endif
VENV := .venv/$(VERSION)
PY := $(VENV)/bin/python
TESTS ?= tests
ARGS ?=

# As many processes as there are cores; the tests of a file stay together, with what they share.
JOBS ?= auto
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadfile
QUICK := $(addprefix tests/, faults models/test_layers.py models/test_regression.py \
  $(addprefix jaxfn/functional/test_, linear.py activation.py pooling.py binary.py gradient.py \
    straight_through.py surrogates.py) \
  $(addprefix jaxfn/function/test_, arguments.py context.py gradients.py idiom.py outputs.py \
    ports.py residuals.py) \
  jaxfn/test_autodiff_arguments.py jaxfn/test_custom_rules.py \
  $(addprefix jaxfn/auditing/, test_closures.py test_running.py) jaxfn/commands \
  $(addprefix jaxfn/verification/, test_constants.py test_numbers.py points subject \
    evidence/test_finite_difference.py layers/test_contract.py layers/test_determinism.py \
    layers/test_table.py) \
  $(addprefix jaxfn/commands/test_, audit.py main.py program.py specs.py target.py) \
  jaxfn/comparison/rendering jaxfn/comparison/verdict \
  scripts/command scripts/wild scripts/test_map.py \
  $(addprefix scripts/training/test_, archives.py data.py epoch_metrics.py idx.py images.py \
    resuming.py text.py))

.PHONY: train test quick long lint docs parity compare bench environment clean

train: $(VENV)/train
	$(PY) -m scripts.train_lenet $(ARGS)

test: $(VENV)/test
	$(PYTEST) $(TESTS) $(ARGS)

# What one runs before each commit: in under a minute something of everything.
quick: $(VENV)/test
	$(PYTEST) $(QUICK) $(ARGS)

# What `make test` takes a sample of: the checker over every rule of the two bodies; every operation
# under all layers; trainings that are killed twenty times, and those in several processes; faults
# planted all over the library, each of which the tests have to catch.
long: $(VENV)/test
	$(PYTEST) -m long $(TESTS) $(ARGS)

environment: $(VENV)/test

compare: $(VENV)/train
	$(PY) -m scripts.compare $(ARGS)

# Beside PyTorch, which is needed by nothing else. On a machine that does nothing else.
bench: $(VENV)/parity
	$(PY) -m scripts.benchmark $(ARGS)

lint: $(VENV)/dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

# The site, in docs/_build/html. Every page is read anew, since what its code prints may have changed.
docs: $(VENV)/docs
	$(PY) -m sphinx -E -W --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Against a live PyTorch; the fixtures that `make test` uses come from the same version.
parity: $(VENV)/parity
	$(PY) -m pytest -m parity $(TESTS) $(ARGS)
	$(PY) -m scripts.benchmark regression
	$(PY) -m tests.jaxfn.verification.tallies --torch

clean:
	rm -rf .venv runs docs/_build docs/api

# One file marks what an environment holds; it is made again when pyproject.toml changes.
$(VENV)/pip: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet "pip>=25.1"  # the first that knows --group
	touch $@

$(VENV)/train: $(VENV)/pip
	$(PY) -m pip install --quiet --editable ".[train]"
	touch $@

$(VENV)/test: $(VENV)/train
	$(PY) -m pip install --quiet --group test
	touch $@

$(VENV)/dev: $(VENV)/test
	$(PY) -m pip install --quiet --group dev
	touch $@

$(VENV)/docs: $(VENV)/train
	$(PY) -m pip install --quiet --group docs
	touch $@

# expecttest: PyTorch's sample inputs are beside its own tests, which import it.
$(VENV)/parity: $(VENV)/test
	$(PY) -m pip install --quiet torch==2.13.0 expecttest
	touch $@
