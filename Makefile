# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` do all the set-up themselves, on a machine with python3, make and apt.

.PHONY: demo test boot-tools docs lint check dist man bench clean

demo:
	sh tools/setup.sh demo
	sh tools/demo.sh

test:
	sh tools/setup.sh test
	VIOMMU_BOOT="$${VIOMMU_BOOT:-$$PWD/.venv/xen}" \
	    .venv/bin/python -m pytest -n auto --cov --cov-report=term-missing:skip-covered

# For the tests that boot guests and Xens in QEMU; `make test` skips them without.
boot-tools:
	sh tools/setup.sh boot
	sh tools/boot-tools.sh

lint:
	sh tools/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/reuse lint --lines

# sdist and wheel, in dist/: that they are whole, and that the wheel passes the tests by itself.
# `nox` does the same with every Python that is installed.
dist: man
	.venv/bin/nox -s dist demo
	.venv/bin/nox -s tests --force-python \
	    "$$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

# The man page, which the wheel installs too. groff must have nothing to say about it.
man:
	sh tools/setup.sh test
	mkdir -p build
	.venv/bin/python tools/man.py >build/viommu.1
	! groff -man -ww -Tutf8 -z build/viommu.1 2>&1 | grep .

# What CI runs, what fails soonest first. A corpus has been through the tests once before `dist`.
check: lint demo docs boot-tools test
	env -u VIOMMU_CORPUS -u VIOMMU_WILD $(MAKE) dist

# Warnings are errors; so are references to what is not there (-n).
docs:
	sh tools/setup.sh docs
	.venv/bin/python -m sphinx -q -W --keep-going -n docs docs/_build
	@echo "see docs/_build/index.html"

# Durations and memory beside other tools, in one run, into bench/out; see bench/README.md.
bench:
	sh tools/setup.sh bench
	.venv/bin/python -m bench $(BENCH)

clean:
	rm -rf .venv .demo docs/_build
