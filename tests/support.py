# SPDX-License-Identifier: Apache-2.0
"""What tests of several subjects need: where things are, trees by way of dtc, and the skips that
several share. What needs a test's own folder is a fixture, in conftest.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import west_viommu
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.tree.node import Node, Tree

CHECKOUT = Path(__file__).parent.parent
# Where the modules under test are: in the checkout, or installed (noxfile.py).
PACKAGE = Path(west_viommu.__file__).parent
IS_CHECKOUT = (CHECKOUT / "west_viommu").is_dir()
NO_CHECKOUT = (
    "west runs the commands of a checkout, not those of an installed package: run it in a checkout"
)
DEMO = CHECKOUT / "samples" / "demo"
HOSTS = CHECKOUT / "tests" / "hosts"
GOLDEN = CHECKOUT / "tests" / "golden"
# Whether files that have what is printed get what is printed now (CONTRIBUTING.md).
REWRITES = bool(os.environ.get("VIOMMU_REWRITE"))
CORPUS = Path(os.environ["VIOMMU_CORPUS"]) if "VIOMMU_CORPUS" in os.environ else None
# The program that is such a machine, and its package.
QEMU = ("qemu-system-aarch64", "qemu-system-arm")
NO_CORPUS = "there are no blobs of real hosts: set VIOMMU_CORPUS to a folder of them"

# What a user passes to a guest, in source: the devices go in by %.
PARTIAL_TREE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges;
%s}; };
"""
# The base tree of Zephyr's board xenvm, as far as it matters here.
XENVM = """/dts-v1/;
/ {
	interrupt-parent = <&gic>;
	#address-cells = <2>;
	#size-cells = <2>;
	gic: interrupt-controller@3001000 {
		compatible = "arm,gic-v2", "arm,gic";
		#interrupt-cells = <4>;
		#address-cells = <0>;
		interrupt-controller;
		reg = <0x00 0x3001000 0x00 0x1000 0x00 0x3002000 0x00 0x2000>;
	};
};
"""


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


def corpus_params() -> list[object]:
    """One parameter for each real host, or one that is skipped with the reason."""
    if CORPUS is None:
        return [pytest.param(Path("corpus"), marks=pytest.mark.skip(reason=NO_CORPUS))]
    return [pytest.param(path, id=path.stem) for path in sorted(CORPUS.glob("*.dtb"))]


def blob(source: str) -> bytes:
    """`source` compiled by dtc, even where dtc would rather not (-f)."""
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout


def tree(body: str) -> Tree:
    """The tree of a root node with `body`, by way of dtc."""
    return tree_from_dtb(blob(f"/dts-v1/; / {{ {body} }};"))


def write_directory(node: Node, folder: Path) -> None:
    """`node` in /proc/device-tree form, with the file `name` that the kernel adds."""
    folder.mkdir()
    (folder / "name").write_bytes(node.name.encode() + b"\0")
    for name, value in node.properties.items():
        (folder / name).write_bytes(value)
    for child in node.children:
        write_directory(child, folder / child.name)


def golden(name: str, said: str) -> str:
    """What a test wants to be `said`: tests/golden/`name`. With VIOMMU_REWRITE, that is what it is
    from now on.
    """
    file = GOLDEN / name
    if REWRITES:
        file.write_text(said)
    return file.read_text()


def needs_program(name: str, package: str) -> pytest.MarkDecorator:
    """Skips a test where the program is missing, which that Debian package has."""
    return pytest.mark.skipif(not shutil.which(name), reason=missing(name, package))


def missing(program: str, package: str) -> str:
    """Why a test is skipped."""
    return f"{program} is not installed: `apt install {package}` brings it"


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that runs the modules under test, with `variables`."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **variables}


def unmeasured(**variables: str) -> dict[str, str]:
    """As `environment`, of a process that coverage.py leaves alone: what it imports, its memory and
    how soon it is where are its own.
    """
    own = environment(**variables)
    own.pop("COVERAGE_PROCESS_CONFIG", None)
    return own


def without_stops(err: str) -> str:
    """What was said but for xen-stops: with what the hosts of tests have to be refused, no dom0
    starts.
    """
    return re.sub(r"^\S+: warning: \[xen-stops\] .*\nhint: .*\n", "", err, flags=re.MULTILINE)
