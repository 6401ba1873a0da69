# SPDX-License-Identifier: Apache-2.0
"""The tree that Xen makes for a guest: its size, by our rules and by the model of Xen, and the
versions of Xen that take it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.pair import expanded
from tests.support import DEMO, PARTIAL_TREE, XENVM, Run, blob
from tests.xen.guest_map import Layout
from tests.xen.host import Host
from tests.xen.nodes import tree
from tests.xen.running import started
from tests.xen.tree_size import tree_bytes
from tests.xen.xens import AMD, V417, V422, Xen

HOST = DEMO / "host.dts"
# What only some versions write, and clock-frequency of a host that has it.
SLACK = 160
LONG = 'ethernet { xen,path = "/soc@e0000000/ethernet@100000"; firmware-name = "%s"; };'


@pytest.mark.parametrize(("xen", "profile"), [(V417, "xen"), (V422, "xen"), (AMD, "xen-amd")])
def test_the_size_is_that_of_the_model_and_little_more(xen: Xen, profile: str, viommu: Run) -> None:
    Path("guest.dts").write_text(XENVM + expanded((DEMO / "guest.overlay").read_text()))
    assert viommu("bind", "--host", HOST, "--profile", profile, "guest.dts").status == 0
    ours = json.loads(Path("viommu/viommu.json").read_text())["tree_bytes"]
    partial = tree(Path("viommu/passthrough-dom0less.dtb").read_bytes())
    running = started(Host(tree(blob(HOST.read_text()))), xen)
    model = tree_bytes(running, partial, Layout(memory=4096 << 20, has_uart=True))
    assert model <= ours <= model + SLACK


def said(viommu: Run, length: int, *options: str, config: str = "") -> tuple[int, str, bool]:
    """The status of bind, its messages of the size, and whether it wrote a tree for dom0less."""
    Path("guest.dts").write_text(PARTIAL_TREE % (LONG % ("x" * length)))
    Path("viommu.yml").write_text(config)
    outcome = viommu("bind", "--host", HOST, *options, "guest.dts", "-o", "out")
    lines = [line for line in outcome.err.splitlines() if "[tree-size]" in line]
    return outcome.status, "\n".join(lines), Path("out/passthrough-dom0less.dtb").exists()


@pytest.mark.parametrize("cpus", [1, 24])
def test_a_warning_names_the_versions(cpus: int, viommu: Run) -> None:
    length = 3000 if cpus == 1 else 1000
    status, words, is_made = said(viommu, length, "--profile", "xen", config=f"cpus: {cpus}\n")
    assert (status, is_made) == (0, True)
    assert "warning: [tree-size] the tree of this guest is too large for Xen 4.17," in words
    assert "expected at most 4096 bytes" in words
    assert said(viommu, 1000, "--profile", "xen") == (0, "", True)


def test_what_the_only_version_refuses_is_left_to_xl(viommu: Run) -> None:
    status, words, is_made = said(viommu, 16000, "--profile", "xen-amd")
    assert (status, is_made) == (0, False)
    assert "warning: [tree-size]" in words
    assert Path("out/xl.cfg").exists()
    status, words, _ = said(viommu, 16000, "--profile", "xen-amd", config="dom0: none\n")
    assert status == 1
    assert "error: [tree-size]" in words
    assert said(viommu, 16000, "--profile", "xen", "--xen-version", "4.21") == (0, "", True)


def test_a_system_counts_cpus_and_the_command_line(viommu: Run) -> None:
    assert said(viommu, 500, "--profile", "xen") == (0, "", True)
    own = "{build: out, memory: 64, cpus: %d, bootargs: %s}"
    for cpus, bootargs, is_told in ((1, "a", False), (28, "a", True), (1, "a" * 2500, True)):
        text = f"host: {HOST}\nprofile: xen\ndomains: {{a: {own % (cpus, bootargs)}}}\n"
        Path("system.yml").write_text(text)
        outcome = viommu("system", "system.yml")
        assert outcome.status == 0, outcome.err
        assert ("[tree-size]" in outcome.err) == is_told
