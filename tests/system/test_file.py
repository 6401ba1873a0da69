# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a system.yml is told with its line; likewise with a domains.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import PACKAGE, Run
from tests.system.guests import Guest, bound
from west_viommu.names import DOMAIN_NAME, OF_DOMAIN_NAME

BUILD = "domains: {net: {build: net}}\n"
WRONG = {
    "hosts: host.dts\n": [
        "1: error: [malformed] unknown key hosts (expected host, profile, dom0, xen-version, "
        "hardware-domain, allow, domains, found hosts)",
    ],
    "host: host.dts\n": ["error: [malformed] no domain is named"],
    "domains: [net]\n": ["1: error: [malformed] domains is not a mapping (found a list)"],
    "domains:\n  net:\n    kernel: k\n": ["2: error: [malformed] net has no build"],
    "domains:\n  1net: {build: net}\n": [
        "2: error: [malformed] this cannot be the name of a domain (found 1net)"
    ],
    "domains:\n  dom0: {build: net}\n": [
        "2: error: [malformed] this cannot be the name of a domain (found dom0)"
    ],
    "domains:\n  net: {build: net, cpu: 1}\n": [
        "2: error: [malformed] unknown key cpu (expected build, kernel, cpus, memory, vpl011, "
        "load, ramdisk, bootargs, found cpu)"
    ],
    "domains:\n  net:\n    build: net\n    cpus: 0\n    memory: 64M\n    vpl011: 1\n": [
        "4: error: [malformed] cpus does not fit (expected 1 to 128, found 0)",
        "5: error: [malformed] memory is not a number of MiB (expected 1 to 1048576, found 64M)",
        "6: error: [malformed] vpl011 is neither true nor false (found 1)",
    ],
    "domains:\n  net:\n    build: net\n    load: {kernal: 0x50000000}\n": [
        "4: error: [malformed] unknown key kernal (expected kernel, passthrough, ramdisk, found "
        "kernal)"
    ],
    "host: [\n": ["2: error: [malformed] not valid YAML: a list or mapping that is not closed"],
    f"dom0: no\n{BUILD}": [
        "1: error: [malformed] dom0 can only be none, or name its kernel (found no)"
    ],
    f"dom0: {{kernl: x}}\n{BUILD}": [
        "1: error: [malformed] unknown key kernl (expected kernel, ramdisk, bootargs, found kernl)",
    ],
    f"allow: [1]\n{BUILD}": ["1: error: [malformed] an entry of allow is not a mapping (found 1)"],
    f"profile: xen-rfd\n{BUILD}": [
        "1: error: [malformed] no profile has this name (expected xen-rfc or xen-amd or "
        "xen-amd-4.20 or "
        "xen-v3-dom0less or xen-v3-libxl or xen or qemu-virt, found xen-rfd)"
    ],
    "domains:\n  net: {build: nowhere}\n": [
        "2: error: [unreadable] net has no plan: there is no viommu.json (found nowhere)",
        "2: error: [no-host] no host tree is named",
    ],
    "host: host.dts\ndomains:\n  net:\n    build: net\n    kernel: none.bin\n": [
        "5: error: [unreadable] No such file or directory (found none.bin)"
    ],
    f"host: none.dts\n{BUILD}": [
        "1: error: [unreadable] this names a host tree that does not exist (found none.dts)"
    ],
}


def test_the_schema_names_a_domain_as_assign_does() -> None:
    schema = json.loads((PACKAGE / "schemas" / "system-file.json").read_text())
    names = schema["properties"]["domains"]["propertyNames"]
    assert (names["pattern"], names["hint"]) == (DOMAIN_NAME, OF_DOMAIN_NAME)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told(text: str, viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"net": Guest(["/net@10000000"])})
    Path("system.yml").write_text(text)
    outcome = viommu("system", "system.yml")
    assert (outcome.status, outcome.out) == (1, "")
    lines = [line for line in outcome.err.splitlines() if "error:" in line]
    assert [line.removeprefix("system.yml:").lstrip() for line in lines] == WRONG[text]
    assert outcome.err.count("hint: ") == len(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "build: error: [unreadable] there is no domains.yaml\n"),
        (
            "[]",
            "build/domains.yaml: error: [malformed] this is not the domains.yaml of a sysbuild\n",
        ),
        ("[", "build/domains.yaml:1: error: [malformed] not valid YAML: a list or mapping"),
        (
            "default: a\ndomains:\n- {name: a, build_dir: nowhere}\n",
            "build: error: [malformed] no image of this sysbuild has passthrough devices\n",
        ),
    ],
)
def test_a_sysbuild_that_is_none(text: str | None, says: str, viommu: Run) -> None:
    Path("build").mkdir()
    if text is not None:
        Path("build/domains.yaml").write_text(text)
    outcome = viommu("system", "-d", "build", "--host", "host.dts")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(says)


def test_the_images_of_a_sysbuild(viommu: Run) -> None:
    guests = {"net": Guest(["/net@10000000"]), "dma": Guest(["/dma@10001000"])}
    bound(viommu, "xen-rfc", guests)
    Path("build").mkdir()
    here = Path.cwd()
    rows = [f"- {{name: {name}, build_dir: {here / name}}}\n" for name in ("net", "boot", "dma")]
    Path("build/domains.yaml").write_text(f"default: net\ndomains:\n{''.join(rows)}")
    # What zephyr/cmake/dts.cmake leaves.
    Path("net/viommu_host.txt").write_text(str(here / "host.dts"))
    outcome = viommu("system", "-d", "build")
    assert (outcome.status, outcome.err) == (0, "")
    assert Path("build/viommu-system/net.cfg").is_file()
    assert 'kernel = "../net/zephyr/zephyr.bin"' in Path("build/viommu-system/net.cfg").read_text()
    assert viommu("check", "--system", "-d", "build").status == 0
