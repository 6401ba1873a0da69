# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support import PACKAGE, Run
from west_viommu.diagnostics import Refused
from west_viommu.hypervisor.profile import spoken
from west_viommu.names import PROFILES
from west_viommu.read.profiles import profile, profile_file

DEVICE = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough {
#address-cells = <2>; #size-cells = <2>; ranges; net { iommus = <0x0 0x40>; }; }; };
"""


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_shipped_is_as_the_schema_says(name: str) -> None:
    schema = json.loads((PACKAGE / "schemas" / "profile.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text_of(name)))
    assert profile(name, None).name == name


@pytest.mark.parametrize("name", PROFILES)
def test_python_and_yaml_read_the_same(name: str, tmp_path: Path) -> None:
    """A run reads a shipped profile without yaml."""
    file = tmp_path / "mine.yaml"
    file.write_text(text_of(name).replace(f'"name": "{name}"', '"name": "mine"'))
    assert profile(str(file), None) == profile(name, None)._replace(name="mine")


def text_of(name: str) -> str:
    return Path(profile_file(name)).read_text()


WITH_VIOMMU = ("xen-rfc", "xen-amd", "xen-v3-dom0less", "xen-v3-libxl")


def test_the_values_of_xens_series() -> None:
    """Field notes of the series: GUEST_VSMMUV3_BASE and so on, in each of its profiles."""
    for name in [each for each in WITH_VIOMMU if each != "xen-amd-4.20"]:
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
        "xen-amd-4.20": None,
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


def test_one_of_your_own(viommu: Run, tmp_path: Path, demo_host: Path) -> None:
    (tmp_path / "g.dts").write_text(DEVICE)
    (tmp_path / "mine").mkdir()
    text = Path(profile_file("xen-rfc")).read_text().replace('"name": "xen-rfc"', '"name": "mine"')
    (tmp_path / "mine/x.yaml").write_text(text.replace("0x04040000", "0x05050000"))
    for place in (["--profile", "mine/x.yaml"], ["--config", "mine/viommu.yml"]):
        (tmp_path / "mine/viommu.yml").write_text("profile: ./x.yaml\n")
        outcome = viommu("bind", "--host", demo_host, *place, "g.dts")
        assert (outcome.status, "error" in outcome.err) == (0, False)
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
        ([], "ram has 0 entries"),
        (7, "ram is not a list"),
        ({"base": 0}, "ram lacks size"),
        ([BANK, {"base": 0}], "an entry of ram lacks size"),
        ([BANK, None], "an entry of ram is not a mapping"),
        ({**BANK, "bank": 1}, "unknown key bank"),
        ([{**BANK, "size": 0}], "size does not fit"),
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


def test_a_version_that_the_profile_does_not_cover(tmp_path: Path) -> None:
    text = Path(profile_file("xen")).read_text().replace('"name": "xen"', '"name": "mine"')
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace('"until": "4.17"', '"until": "4.16"'))
    line = 1 + text[: text.index('"until": "4.17"')].count("\n")
    with pytest.raises(Refused) as caught:
        profile(str(file), None)
    assert str(caught.value) == (
        f"{file}:{line}: error: [malformed] tree-bytes names a version that the profile does not "
        "cover (expected 4.17 or 4.18 or 4.19 or 4.20 or 4.21 or 4.22, found 4.16)\n"
        "hint: write one of `versions`, or add it there"
    )


def test_versions_in_order() -> None:
    xen = profile("xen", None)
    rooms = [room.bytes for room in xen.tree_rooms if xen.covers(room.versions, "4.19")]
    assert rooms == [4096]
    assert not xen.covers(xen.cell_limits[0].versions, "4.19")
    assert spoken(("4.17", "4.18", "4.20"), xen.versions) == "4.17 to 4.18, 4.20"
