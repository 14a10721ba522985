# make demo   the main job, from nothing: virtual environment, install, 12 questions, no key, no network
# make test   lint, types and the test suite, from nothing
# make docs   the documents as a web site, in site/
# make eval   the tables of evals/results, from nothing but the data (HYMEM_DATA, or make data)
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(VENV)/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test check lint types unit test-slow test-data docs plots commands data eval-data eval dist clean

$(VENV)/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/test.stamp: $(VENV)/base.stamp
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/evals.stamp: $(VENV)/base.stamp
	$(PIP) --editable '.[evals,train,sentence-transformers]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/base.stamp
	$(PIP) --editable '.[docs]'
	touch $@

demo: $(VENV)/base.stamp
ifdef DATA
	$(PIP) 'nltk>=3.9'
	$(PY) -m evals.cli demo --data '$(DATA)'
else
	$(PY) -m hymem.demo
endif

test: lint types unit

lint: $(VENV)/test.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/test.stamp
	$(VENV)/bin/mypy

unit: $(VENV)/test.stamp
	$(PY) -m pytest

test-slow: $(VENV)/test.stamp
	$(PY) -m pytest -m slow

# Needs HYMEM_DATA, the folder of benchmark data.
test-data: $(VENV)/test.stamp $(VENV)/evals.stamp
	$(PY) -m pytest -m data

# Strict: a link or a name that leads nowhere fails.
docs: plots
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# The plots of docs/measured.md, from the committed result files.
plots: $(VENV)/docs.stamp
	$(PY) -m tools.plots

# The page of commands, from what each of them prints for --help.
commands: $(VENV)/test.stamp
	$(PY) -m tools.command_line

# Downloads LOCOMO and LongMemEval into HYMEM_DATA, or a cache folder.
data: $(VENV)/base.stamp
	$(PY) -m evals.cli data locomo
	$(PY) -m evals.cli data longmemeval

# Says what is missing before anything is installed.
eval-data:
	@$(PYTHON) -m evals.data.files locomo longmemeval_s

eval: eval-data $(VENV)/evals.stamp
	$(PY) -m evals.cli all

# Wheel and sdist, each installed into an environment of its own, where it runs the demo.
dist: $(VENV)/base.stamp
	rm -rf dist
	$(PIP) 'build>=1.2'
	$(PY) -m build --outdir dist .
	@for file in dist/*; do \
		rm -rf $(VENV)/fresh && $(PYTHON) -m venv $(VENV)/fresh && \
		$(VENV)/fresh/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt $$file && \
		(cd $(VENV) && fresh/bin/python -m hymem.demo > fresh/demo.txt) || exit 1; \
		echo "$$file installs and runs the demo"; \
	done

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
