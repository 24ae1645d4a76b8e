# `make demo` runs the default study, `make test` the linters and the tests, `make lint` the linters alone, `make faults`
# the whole fault matrix. Each makes .venv first, if need be.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all

.PHONY: demo lint test faults slurm clean

demo: .venv/.installed-demo
	$(BIN)/snakemake --cores $(CORES)
	@$(BIN)/ltp tables --show

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow" --ignore tests/faults

faults: .venv/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/faults

slurm: .venv/.installed-slurm
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/slurm tests/workflow/test_cluster.py

# A stamp per set of packages: written when all are in, out of date when what to install has changed.
.venv/.installed-demo: EXTRAS := demo
.venv/.installed-test: EXTRAS := demo,kubernetes,onnx,slurm,test
.venv/.installed-slurm: EXTRAS := demo,kubernetes,slurm,test
.venv/.installed-%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv
