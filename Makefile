# make demo: see it work.  make test: lint, types and tests.  make ui: compare runs in MLflow.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

# The tests are many and small: two at a time, each with one thread.
WORKERS ?= 2

.PHONY: demo install develop test lint types tests tests-faults tests-ray tests-transformers5 audit fault-table fuzz mutants docs lowest format ui clean

demo: install
	$(BIN)/rerankbench

# On Linux without an NVIDIA device, torch's build for CPUs, which saves 3.7 GB. It is on an index of its own;
# where that does not answer, the usual build follows. TORCH_INDEX= (empty) always takes the usual one.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
cpu_torch = @if [ -n "$(TORCH_INDEX)" ] && [ "$$(uname)" = Linux ] && [ ! -e /dev/nvidiactl ] && ! command -v nvidia-smi >/dev/null; then \
	$(1)/bin/python -m pip install --quiet --no-deps --retries 0 --timeout 10 --constraint constraints.txt \
	  --index-url $(TORCH_INDEX) torch 2>/dev/null || echo "$(TORCH_INDEX) has no torch for us: taking the usual build"; fi

# Made anew only when what it is made from changed.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(call cpu_torch,$(VENV))
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[int8]"
	touch $@

# What the tests need on top: oracles, a browser's driver, Ray and the launchers.
develop: $(VENV)/.developed
$(VENV)/.developed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs,ray,launchers]"
	touch $@

test: lint types tests

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: develop
	$(BIN)/mypy

# Each worker begins with half of the files, in order, so that a file's fixtures are made once; who is done first
# takes over half of what the other one has left.
tests: develop
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Kills, full disks and dead servers, injected for real: minutes, so not part of `make test`.
tests-faults: develop
	$(BIN)/pytest -m faults -n $(WORKERS) --dist worksteal

# Ray clusters and launchers in processes of their own: minutes on two cores, so not part of `make test`.
tests-ray: develop
	$(BIN)/pytest -m ray

# The model tests under transformers 5, installed beside the usual environment, which writes folders for it and
# reads those that it saved.
T5 = $(VENV)-transformers5
T5_FOLDERS = $(T5)/folders
T5_OWN = transformers|tokenizers|huggingface_hub|hf-xet
T5_PLUS = pytest hypothesis numba onnx onnxruntime
T5_TESTS = tests/rerankers/test_transformers_versions.py tests/rerankers/test_rerankers.py \
  tests/rerankers/test_int8_families.py tests/engine/test_tokens.py tests/engine/test_flat_encoder.py \
  tests/engine/test_last_position.py tests/engine/test_fused.py tests/engine/test_model_identity.py tests/engine/test_hub.py
VERSION_FOLDERS = tests/helpers/version_folders.py
tests-transformers5: develop $(T5)/.installed
	rm -rf $(T5_FOLDERS)
	$(BIN)/python $(VERSION_FOLDERS) write $(T5_FOLDERS)/4
	$(BIN)/python $(VERSION_FOLDERS) tokens $(T5_FOLDERS)/settings $(T5_FOLDERS)/tokens-by-4.json
	$(T5)/bin/python $(VERSION_FOLDERS) resave $(T5_FOLDERS)/4 $(T5_FOLDERS)/5
	$(BIN)/python $(VERSION_FOLDERS) score $(T5_FOLDERS)/5 $(T5_FOLDERS)/by-4-of-5.json
	RERANKBENCH_VERSION_FOLDERS=$(abspath $(T5_FOLDERS)) $(T5)/bin/python -m pytest $(T5_TESTS)

$(T5)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(T5)
	$(call cpu_torch,$(T5))
	grep -vE '^($(T5_OWN))==' constraints.txt > $(T5)/constraints.txt
	$(T5)/bin/python -m pip install --quiet --constraint $(T5)/constraints.txt \
	  --editable . 'transformers>=5' $(T5_PLUS)
	touch $@

# Known vulnerabilities of what constraints.txt pins, where a service that knows them can be reached.
audit: develop
	$(BIN)/python tests/helpers/audit.py

# docs/faults.md, written by the tests that it tells of.
fault-table: develop
	$(BIN)/python tests/helpers/fault_table.py

# Property tests with new examples, for FUZZ_SECONDS; `make test`, and so CI, draws the same ones every time.
# What it finds becomes an @example of its test.
FUZZ_SECONDS ?= 600
fuzz: develop
	$(BIN)/python tests/helpers/fuzz.py $(FUZZ_SECONDS)

# Mutation testing of the figures and the store, docs/mutants.md: 4 to 15 minutes; stopped, it goes on where it was.
mutants: develop
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[mutants]"
	$(BIN)/mutmut run --max-children $(WORKERS)
	$(BIN)/mutmut results

# The lowest versions that pyproject.toml allows: resolved, installed beside the usual ones, and tried. And whether
# the first release of each Python can install what constraints.txt pins (Debian 12 has 3.11.2).
# With torch's build for CPUs: LOWEST_FLAGS="--torch-backend=cpu".
LOWEST = $(VENV)-lowest
LOWEST_FLAGS ?=
LOWEST_TESTS = tests/evaluation tests/engine/test_store.py tests/collections/test_sample.py tests/whole/test_api.py
lowest:
	$(PYTHON) -m venv $(LOWEST)-uv
	$(LOWEST)-uv/bin/python -m pip install --quiet --constraint constraints.txt uv
	for python in 3.11.0 3.12.0 3.13.0; do $(LOWEST)-uv/bin/uv pip compile --quiet --all-extras --python-version $$python \
	  --constraint constraints.txt pyproject.toml --output-file /dev/null || exit 1; done
	$(LOWEST)-uv/bin/uv venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(LOWEST)-uv/bin/uv pip compile --quiet --resolution lowest-direct --python $(LOWEST)/bin/python $(LOWEST_FLAGS) \
	  pyproject.toml --output-file $(LOWEST)/requirements.txt
	$(LOWEST)-uv/bin/uv pip install --quiet --python $(LOWEST)/bin/python $(LOWEST_FLAGS) \
	  --requirements $(LOWEST)/requirements.txt pytest hypothesis ir_measures pytrec-eval-terrier
	$(LOWEST)-uv/bin/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	$(LOWEST)/bin/python -m pytest $(LOWEST_TESTS)

# The documentation as a site in site/; a link that leads nowhere is an error. Nothing is loaded from elsewhere.
docs: develop
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ui: install
	$(BIN)/rerankbench-ui

clean:
	rm -rf $(VENV) $(T5) $(LOWEST) $(LOWEST)-uv site outputs multirun mlartifacts mutants mlflow.db*
