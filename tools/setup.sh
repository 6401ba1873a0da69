#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what `make demo` (argument: demo), `make docs` (docs), `make test` (test), its boot tests
# (boot) or `make bench` (bench) need and this machine lacks: Debian packages by apt-get, Python
# packages into .venv. Run it by make.
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
# west does not start without it; reuse and noxfile.py ask it which files are ours.
need git git --version
# It makes the partial trees for Xen, and is an oracle of the tests.
need device-tree-compiler dtc --version
if [ "$purpose" = boot ]; then
    need qemu-system-arm qemu-system-aarch64 --version
    need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc --version
    # For tools/boot-tools.sh: to build a Xen, and to pack a dom0.
    need dpkg-dev dpkg-source --version
    need flex flex --version
    need bison bison --version
    need make make --version
    need xz-utils xz --version
    need cpio cpio --version
    # A boot loader, and a disk for it.
    need u-boot-qemu test -e /usr/lib/u-boot/qemu_arm64/u-boot.bin
    need u-boot-tools mkimage -V
    need mtools mcopy --version
    need dosfstools mkfs.vfat --help
fi
if [ "$purpose" != demo ] && [ "$purpose" != docs ]; then
    # More oracles: pylibfdt, which pip builds from source, and Graphviz.
    need swig swig -version
    need graphviz dot -V
    # What a release is made with.
    need groff-base groff --version
    need gcc gcc --version
    need libc6-dev sh -c 'printf "#include <stdio.h>\n" | cpp'
    need python3-dev python3 -c 'import os, sysconfig
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
fi
if [ -n "$packages" ]; then
    root=""
    if [ "$(id -u)" != 0 ]; then
        root=sudo
        if ! command -v sudo >/dev/null; then
            echo "missing packages:$packages"
            echo "ask somebody who may to run: apt-get install --no-install-recommends$packages"
            exit 1
        fi
    fi
    echo "installing by apt-get:$packages"
    $root apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -q --no-install-recommends $packages
fi

[ -x .venv/bin/python ] || echo "making .venv"
[ -x .venv/bin/python ] || python3 -m venv .venv
case $purpose in
demo) extras=west ;;
docs) extras=docs ;;
bench) extras=test,dev,bench ;;
*) extras=test,dev ;;
esac
mark=.venv/installed-$extras
if [ ! -e "$mark" ] || [ pyproject.toml -nt "$mark" ]; then
    echo "installing Python packages into .venv: a minute"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
    # Python reads the path of the checkout from there in the encoding of the locale, and does not start
    # under LC_ALL=C if that has a letter outside of ASCII. Relative, it has none.
    for pth in .venv/lib/python*/site-packages/*west_viommu.pth; do
        echo ../../../.. >"$pth"
    done
    touch "$mark"
fi
