# SPDX-License-Identifier: MIT
#
# One command each. Every target prepares what it needs by itself (scripts/setup).

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
export PYTHON VENV

IN_VENV := $(VENV)/bin/python
SANITIZE_VENV := .venv-sanitize
# Not /tmp: the copy must outlive a run, for the sanitizers' reports to name lines that can be read.
SANITIZE_TREE := $(SANITIZE_VENV)/source
SANITIZE_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1

PYTHON_ALONE := benchmarks.py iproute2_texts.py to_command.py documents.py documents_schema.py documents_text.py \
	setkey.py setkey_errors.py setkey_write.py cli_completion.py cli_explain.py cli_monitor_file.py cli_tree.py \
	cli_top.py cli_top_live.py pictures.py

# What the compiled extension and the installed metadata are made from.
BUILT_FROM := pyproject.toml build_ffi.py scripts/setup $(wildcard csrc/*) xfrm_ext/constants.def

# Two installs into one virtual environment must not run at once.
.NOTPARALLEL:
.PHONY: help demo test test-pure test-guest test-sanitize bench lint wheels clean
.DEFAULT_GOAL := help

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12   the Python to make the virtual environment with"
	@echo "  VENV=folder         the virtual environment ($(VENV))"
	@echo "  ARGS='...'          more arguments: of the demo, of pytest, of the benchmarks"

demo: $(VENV)/.installed-demo ## Load 100,000 real policies into a private kernel namespace (DEMO_N=all for all).
	@$(IN_VENV) -m demo.run $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests (ARGS='-k text' to choose some).
	$(IN_VENV) -m pytest $(ARGS)

# Without the tests of what is C in either run (sockets, batch files' bulk, the C itself, benchmarks) and of both codecs
# at once.
test-pure: $(VENV)/.installed-dev ## Run the tests of values and messages with the codec in Python.
	XFRM_EXT_CODEC=pure $(IN_VENV) -m pytest $(addprefix --ignore=tests/test_,rtnl.py bulk.py batchfile_load.py c_sources.py wire.py policy_rows.py benchmarks.py) $(ARGS)

test-guest: $(VENV)/.installed-dev ## Run tests/guest (or ARGS) in a Linux guest whose kernel has all of IPsec.
	tests/guest/run -- $(IN_VENV) -m pytest $(or $(ARGS),tests/guest)

# Without the tests of what is Python alone, over messages that others make: under sanitizers these would take as long
# as all the rest.
test-sanitize: ## Run the tests with the extension under AddressSanitizer and UBSan.
	@# A copy of the tree with a virtual environment of its own: the objects of a build with
	@# sanitizers and those of the normal one must never meet.
	rm -rf $(SANITIZE_TREE)
	mkdir -p $(SANITIZE_TREE)
	tar -cf - --exclude=./.git --exclude='./.venv*' --exclude='./.*_cache' --exclude=./build --exclude=./dist \
		--exclude='*.so' --exclude='*.egg-info' --exclude=__pycache__ . | tar -xf - -C $(SANITIZE_TREE)
	CC=gcc CFLAGS='$(SANITIZE_FLAGS)' LDFLAGS='$(SANITIZE_FLAGS)' VENV=$(CURDIR)/$(SANITIZE_VENV)/venv \
		$(SANITIZE_TREE)/scripts/setup dev
	cd $(SANITIZE_TREE) && \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		$(CURDIR)/$(SANITIZE_VENV)/venv/bin/python -m pytest -p no:cacheprovider --capture=sys \
		$(addprefix --ignore=tests/test_,$(PYTHON_ALONE)) $(ARGS)

bench: $(VENV)/.installed-bench ## Measure against C, libnl, ip and the codec in Python (ARGS=--full, ARGS=limits).
	$(IN_VENV) -m benchmarks.run $(ARGS)

lint: $(VENV)/.installed-dev ## Check style and types of the Python, and the C under gcc's and clang's warnings.
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	@for compiler in gcc clang; do \
		if command -v $$compiler >/dev/null; then \
			echo "$$compiler -Wall -Wextra -Werror -fsyntax-only -std=gnu11 -Icsrc -Ixfrm_ext csrc/*.c benchmarks/*floor.c"; \
			$$compiler -Wall -Wextra -Werror -fsyntax-only -std=gnu11 -Icsrc -Ixfrm_ext \
				-isystem "$$($(IN_VENV) -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
				csrc/*.c benchmarks/*floor.c || exit 1; \
		else \
			echo "$$compiler isn't installed: the C is not checked with it"; \
		fi; \
	done

wheels: $(VENV)/.installed-dev ## Build the source distribution and the wheel into dist/.
	$(IN_VENV) -m build

clean: ## Remove what the other targets made, also .venv.
	rm -rf build dist *.egg-info xfrm_ext/_*.so .venv .venv-sanitize
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(VENV)/.installed-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-demo: $(BUILT_FROM)
	@scripts/setup demo

$(VENV)/.installed-bench: $(BUILT_FROM)
	@scripts/setup bench

$(VENV)/.installed-dev: $(BUILT_FROM)
	@scripts/setup dev
