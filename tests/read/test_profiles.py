# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support import REWRITES, Run
from west_viommu.diagnostics import Refused
from west_viommu.names import PROFILES
from west_viommu.plan.host_devices import DEFAULT
from west_viommu.read.own_profile import schema_problems
from west_viommu.read.profiles import SHIPPED, profile, profile_file

DEVICE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough {
#address-cells = <2>; #size-cells = <2>; ranges; net { iommus = <0x0 0x40>; }; }; };
"""


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_shipped_is_as_the_schema_says(name: str) -> None:
    file = profile_file(name)
    text = Path(file).read_text()
    assert schema_problems(file, yaml.compose(text), yaml.safe_load(text)) == []
    assert profile(name, None).name == name


def test_what_is_read_is_what_people_read() -> None:
    """shipped.json is made of the files that people change."""
    files = {name: yaml.safe_load(Path(profile_file(name)).read_text()) for name in PROFILES}
    text = json.dumps(files, indent=1) + "\n"
    if REWRITES:
        Path(SHIPPED).write_text(text)
    assert Path(SHIPPED).read_text() == text


WITH_VIOMMU = ("xen-rfc", "xen-amd", "xen-v3-dom0less", "xen-v3-libxl")


def test_the_values_of_xens_series() -> None:
    """Field notes of the series: GUEST_VSMMUV3_BASE and so on, in each of its profiles."""
    for name in WITH_VIOMMU:
        found = profile(name, None)
        assert found.viommu
        assert found.viommu[:4] == ("arm,smmu-v3", 0x04040000, 0x40000, 0xFDEA)
        assert [tuple(each) for each in found.viommu.interrupts] == [("combined", 33, False)]
        assert found.viommu.id_bits == 16 and not found.programs_maps
        assert found.viommu.flags == (("dma-coherent",) if name == "xen-amd" else ())
    renumbers = {name: profile(name, None).renumbers for name in PROFILES}
    assert renumbers == {
        "xen-rfc": None,
        "xen-amd": None,
        "xen-v3-dom0less": "dom0less",
        "xen-v3-libxl": "libxl",
        "xen": None,
        "qemu-virt": None,
    }


@pytest.mark.parametrize(
    ("name", "dom0less", "libxl"),
    [
        ("xen-rfc", ["viommu=on"], ["viommu=on", 'viommu = "smmuv3"']),
        ("xen-amd", ['viommu = "smmuv3";'], ['viommu = "smmuv3"']),
        ("xen-v3-dom0less", ["viommu=smmuv3"], ["viommu=smmuv3", 'viommu = "smmuv3"']),
        ("xen-v3-libxl", ["viommu=smmuv3"], ["viommu=smmuv3", 'viommu = "smmuv3"']),
        ("xen", [], []),
        ("qemu-virt", [], []),
    ],
)
def test_how_each_is_switched_on(name: str, dom0less: list[str], libxl: list[str]) -> None:
    found = profile(name, None)
    assert [each.text for each in found.switches_for("dom0less")] == dom0less
    assert [each.text for each in found.switches_for("libxl")] == libxl


def test_what_list_takes_for_the_default() -> None:
    found = profile(PROFILES[0], None)
    assert found.viommu and DEFAULT.viommu
    assert found.viommu.interrupts == DEFAULT.viommu.interrupts
    assert found.viommu.id_bits == DEFAULT.viommu.id_bits
    same = ("name", "programs_maps", "drivers", "repeats_ids", "toolstacks")
    assert all(getattr(found, field) == getattr(DEFAULT, field) for field in same)


def test_one_of_your_own(viommu: Run, tmp_path: Path, demo_host: Path) -> None:
    (tmp_path / "g.dts").write_text(DEVICE)
    (tmp_path / "mine").mkdir()
    text = Path(profile_file("xen-rfc")).read_text().replace("name: xen-rfc", "name: mine")
    (tmp_path / "mine/x.yaml").write_text(text.replace("0x04040000", "0x05050000"))
    for place in (["--profile", "mine/x.yaml"], ["--config", "mine/viommu.yml"]):
        (tmp_path / "mine/viommu.yml").write_text("profile: ./x.yaml\n")
        outcome = viommu("bind", "--host", demo_host, *place, "g.dts")
        assert (outcome.status, outcome.err) == (0, "")
        overlay = (tmp_path / "viommu/viommu.overlay").read_text()
        assert "vsmmu: iommu@5050000 {" in overlay
        assert "profile: mine, stream IDs by the policy identity" in overlay


BANK = {"base": 0x80000000, "size": 0x10000000}


@pytest.mark.parametrize(
    ("ram", "banks"),
    [
        (None, ()),
        (BANK, [(0x80000000, 0x10000000)]),
        ([BANK], [(0x80000000, 0x10000000)]),
        ([BANK, {**BANK, "base": 0}], [(0x80000000, 0x10000000), (0, 0x10000000)]),
    ],
)
def test_one_bank_of_memory_or_several(
    ram: object, banks: Sequence[object], tmp_path: Path
) -> None:
    mine = yaml.safe_load(Path(profile_file("xen-rfc")).read_text()) | {"name": "mine", "ram": ram}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(mine))
    assert [tuple(bank) for bank in profile(str(file), None).ram] == [*banks]


@pytest.mark.parametrize(
    ("ram", "message"),
    [
        ([], "ram is not as a profile has it"),
        (7, "ram is not as a profile has it"),
        ({"base": 0}, "ram lacks size"),
        ([BANK, {"base": 0}], "ram.1 lacks size"),
        ([BANK, None], "ram.1 is not as a profile has it"),
        ({**BANK, "bank": 1}, "ram has an unknown key"),
        ([{**BANK, "size": 0}], "ram.0.size is not as a profile has it"),
    ],
)
def test_memory_that_is_none(ram: object, message: str, tmp_path: Path) -> None:
    mine = yaml.safe_load(Path(profile_file("xen-rfc")).read_text()) | {"name": "mine", "ram": ram}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(mine))
    with pytest.raises(Refused) as caught:
        profile(str(file), None)
    assert [problem.what for problem in caught.value.problems] == [message]


def test_profiles_are_listed_and_printed(viommu: Run) -> None:
    listed = viommu("profiles").out
    assert listed.startswith("xen-rfc (default)\n    a Xen that keeps stream IDs (RFC, v1), not")
    assert [line for line in listed.splitlines() if line[0] != " "][1:] == list(PROFILES[1:])
    printed = viommu("profiles", "qemu-virt")
    assert (printed.status, printed.out) == (0, Path(profile_file("qemu-virt")).read_text())
    assert viommu("profiles", "qemu").status == 2


def test_no_name_and_no_file() -> None:
    with pytest.raises(Refused) as caught:
        profile("xen-rfx", None)
    assert "did you mean xen-rfc?" in str(caught.value)
