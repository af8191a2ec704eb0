# One door: the same few verbs for people and for CI.  Nothing has to be installed before.
#
#   make demo      a simulated MerlinEM scans, live pictures land in demo-result/
#   make test      every test (Python and Rust), lint and types
#   make bench     the benchmarks, beside LiberTEM
#   make format    let the tools tidy the code
#   make lock      renew the pinned versions of the development tools
#   make clean     remove what the verbs above have made

PYTHON ?= python3
TOOLS := .envs/tools
HATCH := $(TOOLS)/bin/hatch
MEMBERS := .envs/members.stamp
export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)

.PHONY: help demo test bench format lock clean build interop

help:
	@sed -n 's/^#   //p' Makefile

$(HATCH): requirements/tools.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; name one with 'make PYTHON=python3.11 $(MAKECMDGOALS)'"; exit 1; }
	@command -v cargo >/dev/null || { echo "A Rust toolchain is needed: see https://rustup.rs"; exit 1; }
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r requirements/tools.lock
	@touch $@

# Entry points and dependencies are read when a package is installed: install anew when they change.
$(MEMBERS): $(HATCH) pyproject.toml requirements/dev.lock $(wildcard packages/*/pyproject.toml)
	@$(HATCH) env remove default
	@touch $@

build: $(HATCH) $(MEMBERS)
	$(HATCH) run build

demo: build
	$(HATCH) run demo

interop: $(HATCH)
	$(HATCH) run interop:ours

test: build interop
	$(HATCH) run lint
	$(HATCH) run types
	$(HATCH) run test-rust
	LIVESTEM_LIBERTEM_PYTHON=$(CURDIR)/.envs/interop/bin/python $(HATCH) run test-python

bench: build interop
	LIVESTEM_LIBERTEM_PYTHON=$(CURDIR)/.envs/interop/bin/python $(HATCH) run bench

format: $(HATCH)
	$(HATCH) run format

lock: $(HATCH)
	for set in tools dev interop; do \
	    $(TOOLS)/bin/uv pip compile --quiet --upgrade --python-version 3.11 --no-header --no-annotate \
	        --no-emit-index-url requirements/$$set.in -o requirements/$$set.lock || exit 1; \
	done
	cargo update

clean:
	rm -rf .envs target dist demo-result
