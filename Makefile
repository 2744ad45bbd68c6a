# Every target makes what it needs: on a fresh machine, `make demo` or `make test` is all there is to do.
PYTHON ?= python3
VENV ?= .venv
# Another build of PyTorch, for example with CUDA for your driver: make TORCH="torch==2.12.0" ...
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
READY := $(VENV)/ready
# The oldest Triton that the kernels take, beside the installed one: the tests compile the kernels with both. Triton is for
# Linux alone.
OLDEST_TRITON := $(if $(filter Linux,$(shell uname)),$(VENV)/triton-3.6)
# Threads that wait soon sleep, or a busy machine would take ten times as long; docs/performance.md has more.
ifeq ($(OMP_WAIT_POLICY)$(KMP_BLOCKTIME),)
demo test: export GOMP_SPINCOUNT ?= 1000
endif
# The tests run in as many processes as there are cores, up to four, each with one thread where it asks for no more.
test: export OMP_NUM_THREADS ?= 1
# The build of the extension looks for ninja on the path.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: install demo test test-pythons table lint docs bench gpu

install: $(READY)

$(READY): pyproject.toml setup.py $(wildcard csrc/*)
	@echo "Setting up $(VENV): PyTorch, the C++ extension, and what the trainer, the tests and the benchmarks use."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel ninja
	$(BIN)/python -m pip install --quiet numpy "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[trainer,bench,test]"
	@touch $@

demo: $(READY)
	$(BIN)/python -m dec_kernels.trainer.demo

test: $(READY) $(OLDEST_TRITON)
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal --durations=20

# Every supported Python that is installed, as far as that goes without a PyTorch for each.
test-pythons: $(READY)
	$(BIN)/python .ci/pythons.py

$(VENV)/triton-3.6: | $(READY)
	@$(BIN)/python -m pip install --quiet --no-deps --target $@ triton==3.6.0 || { rm -rf $@; echo "Triton 3.6 cannot be \
	fetched. All tests but those that compile the kernels with it: $(BIN)/python -m pytest"; exit 1; }

# Compiles every configuration of the Triton kernels with both Tritons, and reads the machine code: some 12 minutes.
table: $(READY) $(OLDEST_TRITON)
	$(BIN)/python -m dec_kernels.backends.triton.aot
	PYTHONPATH=$(VENV)/triton-3.6 $(BIN)/python -m dec_kernels.backends.triton.aot

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into site/. What builds it is the extra `docs`, which needs no build of the package.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/docs: pyproject.toml | $(READY)
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*project["optional-dependencies"]["docs"], sep="\n")' > $@.txt
	$(BIN)/python -m pip install --quiet --requirement $@.txt
	@touch $@

bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds --benchmark-sort=mean -q
	$(BIN)/python -m benchmarks.compare

# Everything about a GPU, in parts that fit into commands of a few minutes; docs/gpu.md is the script. On a machine that has
# PyTorch and Triton and cannot fetch packages: make gpu GPU_PYTHON=python3. What comes of it goes to OUT.
# PARTS="A B" chooses parts, MINUTES=5 ends it, RESUME=FOLDER goes on from the records there, and COMMIT=... says of which
# commit the sources are where git does not.
gpu: $(if $(GPU_PYTHON),,$(READY))
	$(if $(COMMIT),DEC_KERNELS_COMMIT=$(COMMIT)) $(or $(GPU_PYTHON),$(BIN)/python) -m benchmarks.gpu \
		--out $(or $(OUT),benchmarks/results) $(if $(PARTS),--parts $(PARTS)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(RESUME),--resume $(RESUME))
