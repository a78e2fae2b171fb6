# Everything runs in .venv, which any target sets up first. A new folder under plugins/ is picked up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DISTS := core $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
DEMO := runs/demo

.PHONY: install demo test check dist check-dist check-core bench peers clean
.DEFAULT_GOAL := install

install: $(STAMP)

# One resolver run for all; a plugin's extra "all" is what its tests and the demo use. tinysoundfont asks for a library that
# plays sounds, which has to be compiled and is not needed.
$(STAMP): pyproject.toml $(addsuffix /pyproject.toml,$(DISTS))
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group test --group check -e "./core[text]" $(foreach dist,$(filter-out core,$(DISTS)),-e "./$(dist)[all]")
	$(BIN)/python -m pip install --quiet --no-deps tinysoundfont
	touch $@

# Train, sample and judge one small model of each kind: at most ten minutes on two cores. After Ctrl-C it goes on.
demo: $(STAMP)
	$(BIN)/unnoise train experiment=image/demo run=$(DEMO)/image resume=true
	$(BIN)/unnoise sample run=$(DEMO)/image n=100 'condition.class=[0,1,2,3,4,5,6,7,8,9]' out=$(DEMO)/image/samples
	$(BIN)/unnoise train experiment=molecules/demo run=$(DEMO)/molecules resume=true
	$(BIN)/unnoise sample run=$(DEMO)/molecules n=64 out=$(DEMO)/molecules/samples
	$(BIN)/unnoise eval run=$(DEMO)/image out=$(DEMO)/image/eval
	$(BIN)/unnoise eval run=$(DEMO)/molecules out=$(DEMO)/molecules/eval
	@echo; echo "Look at:"; for kind in image molecules; do echo "  $(DEMO)/$$kind/samples/preview.png"; done

test: $(STAMP)
	$(BIN)/python -m pytest -q

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A wheel and an sdist of every distribution in dist/. A wheel is made from its sdist.
dist: $(STAMP)
	rm -rf dist
	set -e; for dist in $(DISTS); do $(BIN)/python -m build --no-isolation --outdir dist $$dist; done
	$(BIN)/python -m twine check --strict dist/*

# What is in them, and that they work without the repository: core alone with its own tests, and all of them together.
check-dist: $(STAMP)
	$(BIN)/python -m pytest -q -m "" tests/packaging

# Core's own tests in an environment that has core's wheel, what it needs, and no plugin; a part of check-dist.
check-core: $(STAMP)
	$(BIN)/python -m pytest -q -m "" tests/packaging/test_installed.py -k core

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/engine.py
	$(BIN)/python tests/benchmarks/steps.py
	$(BIN)/python tests/benchmarks/solvers.py
	$(BIN)/python tests/benchmarks/throughput.py image/demo molecules/qm9 --shares

# The same trajectories as diffusers and k-diffusion, and what theirs cost and miss beside ours. With them installed,
# `make bench` and `make test` compare as well.
peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --group peers
	$(BIN)/python -m pip install --quiet --no-deps "k-diffusion>=0.1.1"
	$(BIN)/python -m pytest -q tests/core/test_samplers_peers.py
	$(BIN)/python tests/benchmarks/steps.py
	$(BIN)/python tests/benchmarks/solvers.py

clean:
	rm -rf $(VENV) build dist
