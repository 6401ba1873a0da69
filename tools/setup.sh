#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what `make demo` (argument: demo) or `make test` (argument: test) needs and this
# machine lacks: Debian packages by apt-get, Python packages into .venv. Run it by make.
set -eu
cd "$(dirname "$0")/.."
purpose=$1
packages=""

# need PACKAGE TEST...: PACKAGE is wanted where TEST fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}

need python3-venv python3 -c 'import ensurepip, venv'
need cpp cpp --version
if [ "$purpose" = test ]; then
    # The oracles: dtc, and pylibfdt, which pip builds from source.
    need device-tree-compiler dtc --version
    need swig swig -version
    need gcc gcc --version
    need libc6-dev sh -c 'printf "#include <stdio.h>\n" | cpp'
    need python3-dev python3 -c 'import os, sysconfig
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
fi
if [ -n "$packages" ]; then
    root=""
    [ "$(id -u)" = 0 ] || root=sudo
    echo "installing:$packages"
    $root apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -q --no-install-recommends $packages
fi

[ -x .venv/bin/python ] || python3 -m venv .venv
extras=$purpose
[ "$purpose" = demo ] && extras=west
[ "$purpose" = test ] && extras=test,dev
mark=.venv/installed-$extras
if [ ! -e "$mark" ] || [ pyproject.toml -nt "$mark" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
    touch "$mark"
fi
