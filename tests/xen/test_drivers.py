# SPDX-License-Identifier: Apache-2.0
"""The model of Xen's IOMMU drivers: their limits and their probes, each beside its harmless twin.

Read at source (drivers.py and attached.py name the functions); "seen" is of a running Xen.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.support import blob
from tests.xen.drivers import Stream
from tests.xen.one_nic import (
    GIVEN,
    GUEST,
    HOST,
    NIC,
    PLAIN,
    SHARER,
    SMMU,
    UNPROTECTED,
    refused,
    with_iommus,
)
from tests.xen.whole import AtBoot, World, faults, whole
from tests.xen.xens import MASTER, V417, XENS, Xen

V2, V3, IPMMU = "arm,mmu-500", "arm,smmu-v3", "renesas,ipmmu-r8a7795"
MASKS = tuple(name for name, xen in XENS.items() if xen.smr_masks)
NOT_DRIVEN = f"{UNPROTECTED}Xen drives no IOMMU"
BROKEN = "panic: Xen: Couldn't configure correctly all the IOMMUs (%s)"
SHORT = 'smmu@8200000 { compatible = "arm,smmu-v3"; reg = <0 0x8200000 0 0x10000>; '
SHORT += "#iommu-cells = <1>; %s };"
# A host with masks in the second cell of each entry.
WIDE = with_iommus(HOST, V2).replace("#iommu-cells = <1>;", "#iommu-cells = <2>;", 1)
NIC_OF_TWO = f"{NIC} iommus = <&smmu %s>; }};"
ITS_SHARER = "dma@9001000 { %s iommus = <&smmu %s>; };"


def world(source: str, xen: Xen = V417, guest: str = GIVEN) -> World:
    return whole(blob(source), [AtBoot(blob(GUEST % guest))], xen)


def said(source: str, guest: str = GIVEN) -> dict[str, list[str]]:
    """Return the faults by Xen, for each that has any."""
    host, guests = blob(source), [AtBoot(blob(GUEST % guest))]
    found = {name: faults(whole(host, guests, xen)) for name, xen in XENS.items()}
    return {name: lines for name, lines in found.items() if lines}


def of_v2(host: str) -> dict[str, list[str]]:
    return said(with_iommus(HOST % host, V2))


def in_these(names: Collection[str], *lines: str) -> dict[str, list[str]]:
    return {name: list(lines) for name in names}


def test_an_smmu_v2_has_15_bits_of_an_id() -> None:
    """arm_smmu_dt_xlate_generic(): SMR_ID_MASK."""
    sharer = SHARER % ""
    words = f"double stream: dom1 and dom0: stream 0x20 of {SMMU}"
    assert of_v2(PLAIN + sharer.replace("0x21", "0x8020")) == in_these(XENS, words)
    assert of_v2(PLAIN + sharer.replace("0x21", "0x8021")) == {}
    assert said(HOST % (PLAIN + sharer.replace("0x21", "0x8020"))) == {}


def ids(count: int) -> str:
    return ", ".join(f"<&smmu {id:#x}>" for id in range(0x100, 0x100 + count))


def test_an_smmu_v2_has_room_for_16_ids_of_a_master() -> None:
    """arm_smmu_dt_add_device_legacy() fills smendx[MAX_MASTER_STREAMIDS] without a bound."""
    words = "breaks: %s: %s has 17 IDs, which overwrite what is behind smendx[16]"
    nic = f"{NIC} iommus = %s; }};"
    assert of_v2(nic % ids(17)) == in_these(XENS, words % ("dom1", "/nic@9000000"))
    assert of_v2(nic % ids(16)) == {}
    other = "dma { iommus = %s; };"
    assert of_v2(PLAIN + other % ids(17)) == in_these(XENS, words % ("dom0", "/dma"))
    assert of_v2(PLAIN + other % ids(16)) == {}
    assert said(HOST % (nic % ids(17))) == {}


@pytest.mark.parametrize(
    ("nic", "sharer", "wrong"),
    [
        ("0x20 0", "0x40 0xf", {}),
        # The register of dom0 has the guest's ID as well, and the guest, which comes last, has it.
        (
            "0x21 0",
            "0x20 0xf",
            in_these(MASKS, f"double stream: dom1 and dom0: stream 0x20 of {SMMU}"),
        ),
        (
            "0x20 0xf",
            "0x20 0",
            {
                name: refused(
                    "/nic@9000000 is not assigned: ID 0x20 with mask 0xf overlaps another of "
                    f"{SMMU}; "
                )[name]
                for name in MASKS
            }
            | in_these(
                [name for name in XENS if name not in MASKS],
                f"double stream: dom1 and dom0: stream 0x20 of {SMMU}",
            ),
        ),
    ],
)
def test_masks_of_an_smmu_v2(nic: str, sharer: str, wrong: dict[str, list[str]]) -> None:
    """arm_smmu_find_sme(): an entry that lies within an older one shares its register, any other
    overlap is -EINVAL. Before 4.20 a mask is 0 there.
    """
    found = said(WIDE % (NIC_OF_TWO % nic + ITS_SHARER % ("", sharer)))
    assert found == wrong
    assert said(WIDE % (NIC_OF_TWO % nic + ITS_SHARER % ("xen,passthrough;", sharer))) == {}


def test_masks_that_overlap_within_one_device() -> None:
    words = f"ID 0x18 with mask 0xf overlaps another of {SMMU}"
    nic = NIC_OF_TWO % "0x10 0x10>, <&smmu 0x18 0xf"
    found = said(WIDE % nic)
    assert set(found) == set(MASKS)
    assert all(words in line for lines in found.values() for line in lines)
    assert said(WIDE % (NIC_OF_TWO % "0x10 0x1f>, <&smmu 0x18 0x7")) == {}


def test_the_mask_of_all_of_an_smmu() -> None:
    """An entry of one cell has stream-match-mask."""
    source = with_iommus(HOST, V2).replace(
        "smmu@8000000 {", "smmu@8000000 { stream-match-mask = <0xf>;"
    )
    streams = world(source % PLAIN, MASTER).hands["dom1"].streams
    assert streams == {Stream(SMMU, 0x20, 0xF)}
    assert world(source % PLAIN, V417).hands["dom1"].streams == {Stream(SMMU, 0x20)}


def test_an_smmu_v3_has_25_bits() -> None:
    """arm_smmu_sid_in_range(): of a stream table of two levels."""
    wide = f"{NIC} iommus = <&smmu %s>; }};"
    why = f"an ID of /nic@9000000 is outside the stream table of {SMMU}"
    assert said(HOST % wide % "0x2000000") == refused(
        f"Failed to add /nic@9000000 to the IOMMU: {why}"
    )
    assert said(HOST % wide % "0x1ffffff") == {}


def test_an_smmu_v2_needs_its_interrupts() -> None:
    """arm_smmu_device_dt_probe(): -ENODEV."""
    source = with_iommus(HOST % PLAIN, V2)
    assert said(source.replace("#global-interrupts = <1>;", "")) == refused(NOT_DRIVEN)
    assert said(
        source.replace("#global-interrupts = <1>;", "#global-interrupts = <2>;")
    ) == refused(NOT_DRIVEN)
    # This guest does not need the second one, but a master of dom0 does.
    one = source.replace("<0 102 4>, <0 103 4>", "<0 102 4>")
    assert said(one) == {}
    words = "Failed to add /dma to the IOMMU: /smmu@8100000 is not driven"
    left = one.replace("chipid@", "dma { iommus = <&smmu2 1>; }; chipid@")
    assert said(left) == in_these(XENS, f"panic: dom0: {words}")


def test_an_smmu_v3_needs_its_registers() -> None:
    """arm_smmu_device_probe(): "MMIO region too small"; arm_smmu_resource_size()."""
    assert said(HOST % (PLAIN + SHORT % "")) == in_these(XENS, BROKEN % "/smmu@8200000")
    for harmless in ("cavium,cn9900-broken-page1-regspace;", 'status = "disabled";'):
        assert said(HOST % (PLAIN + SHORT % harmless)) == {}


SECOND = (
    'other: other@7f00000 { compatible = "arm,mmu-500"; reg = <0 0x7f00000 0 0x10000>; '
    "#global-interrupts = <1>; interrupts = <0 110 4>, <0 111 4>; #iommu-cells = <1>; };"
)


def test_the_first_kind_of_iommu_is_the_only_one() -> None:
    """Seen on 4.17: iommu_set_ops(), "already set to a different value"."""
    first = HOST.replace("smmu: smmu@8000000", f"{SECOND} smmu: smmu@8000000") % PLAIN
    why = f"Failed to add /nic@9000000 to the IOMMU: {SMMU} is not driven"
    assert said(first) == refused(why)
    behind = " dma { %s iommus = <&other 1>; };"
    stops = "panic: dom0: Failed to add /dma to the IOMMU: /other@7f00000 is not driven"
    assert said(HOST % (PLAIN + SECOND + behind % "")) == in_these(XENS, stops)
    assert said(HOST % (PLAIN + SECOND + behind % "xen,passthrough;")) == {}
    disabled = first.replace("other@7f00000 {", 'other@7f00000 { status = "disabled";')
    assert said(disabled) == {}


def test_an_ipmmu_needs_its_chip_and_its_main_one() -> None:
    """ipmmu_stage2_supported(); a cache is deferred until the main one is there."""
    source = with_iommus(HOST % PLAIN, IPMMU)
    assert said(source) == {}
    assert said(source.replace("renesas,prr", "acme,prr")) == refused(NOT_DRIVEN)
    cache = source.replace("smmu@8000000 {", "smmu@8000000 { renesas,ipmmu-main = <&smmu2 0>;")
    assert said(cache) == {}
    off = cache.replace("smmu@8100000 {", 'smmu@8100000 { status = "disabled";')
    assert said(off) == in_these(XENS, BROKEN % SMMU)
    lineless = source.replace("interrupts = <0 102 4>, <0 103 4>;", "")
    assert said(lineless) == in_these(XENS, BROKEN % "/smmu@8100000")


OLD = "#global-interrupts = <1>; mmu-masters = <&dma %s>;"
MASTER_OF_OLD = "dma: dma@9001000 { %s #stream-id-cells = <%d>; reg = <0 0x9001000 0 0x1000>; };"


def test_the_old_binding_is_read() -> None:
    """register_smmu_master() protects the masters of mmu-masters during the probe."""
    source = with_iommus(HOST, V2)
    words = f"double stream: dom1 and dom0: stream 0x20 of {SMMU}"
    for listed, count, says in (("0x20", 1, words), ("0x21", 1, ""), ("0x21 0x20", 2, words)):
        old = source.replace("#global-interrupts = <1>;", OLD % listed, 1)
        assert said(old % (PLAIN + MASTER_OF_OLD % ("", count))) == in_these(
            XENS if says else (), says
        )
        assert said(old % (PLAIN + MASTER_OF_OLD % ("xen,passthrough;", count))) == {}
    given = GIVEN.replace("nic", "dma").replace("9000000", "9001000")
    old = source.replace("#global-interrupts = <1>;", OLD % "0x30", 1)
    found = world(old % MASTER_OF_OLD % ("xen,passthrough;", 1), MASTER, given)
    assert (faults(found), set(found.hands["dom1"].streams)) == ([], {Stream(SMMU, 0x30)})


def test_the_old_binding_names_a_master_once() -> None:
    old = with_iommus(HOST, V2).replace("#global-interrupts = <1>;", OLD % "1>, <&dma 2", 1)
    found = said(old % (PLAIN + MASTER_OF_OLD % ("", 1)))
    assert set(found) == set(XENS)
    assert all("failed to add master /dma@9001000" in lines[0] for lines in found.values())


def test_the_lines_of_an_smmu_v2() -> None:
    """Xen takes the global ones at once, one of the others with each context."""
    found = world(with_iommus(HOST % PLAIN, V2))
    assert found.hands["Xen"].lines == {132, 133, 134}


GUEST_AT = 'nic {{ xen,path = "/nic@9000000"; xen,reg = <0 0x9000000 0 0x1000 {high} 0>; }};'


@pytest.mark.parametrize(("iommu", "first_bad"), [(V3, 1 << 16), (V2, 1 << 16), (IPMMU, 1 << 8)])
def test_guest_addresses_end(iommu: str, first_bad: int) -> None:
    """Seen: 4.17 "Failed to assign device", 4.20 panics. p2m_ipa_bits: PADDR_BITS, or
    IPMMU_MAX_P2M_IPA_BITS.
    """
    source = HOST % PLAIN if iommu == V3 else with_iommus(HOST % PLAIN, iommu)
    why = f"Failed to map /passthrough/nic to the guest at {first_bad << 32:#x}"
    assert said(source, GUEST_AT.format(high=first_bad)) == refused(why)
    assert said(source, GUEST_AT.format(high=first_bad - 1)) == {}
