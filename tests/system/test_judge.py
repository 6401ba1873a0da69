# SPDX-License-Identifier: Apache-2.0
"""What two guests of one host must not both have, each beside its harmless twin."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import Run
from tests.system.guests import HOST, Guest, bound, judged

UART, SPI = "/uart@10002000", "/spi@10002100"
ADC, DAC = "/adc@10003000", "/dac@10004000"
CAN, LIN = "/can@10005000", "/lin@10006000"
ENGINE, UNIT = "/engine@10008000", "/engine@10008000/unit@10009000"
GPU, VPU, ISP, CSI = "/gpu@10010000", "/vpu@10011000", "/isp@10012000", "/csi@10013000"
NET, DMA, USB = "/net@10000000", "/dma@10001000", "/usb@10007000"
MAC, PWM = "/mac@1000a000", "/pwm@1000b100"


def alone(node: str, hazard: str) -> Guest:
    """A guest with that device, bound as if what it shares stayed with dom0."""
    return Guest([node], allow={hazard: node})


class Clash(NamedTuple):
    """What two guests have both, and what is said of it."""

    first: Guest
    second: Guest
    says: str
    hint: str
    profile: str = "xen-rfc"
    more: str = ""


CLASHES = {
    "a device": Clash(
        Guest([NET]),
        Guest([NET]),
        "[duplicate-assignment] /net@10000000 is given to two domains, a and b (node "
        "b:/passthrough/net@10000000, expected one domain for a host device, found "
        "a:/passthrough/net@10000000 as well)",
        "Xen gives a device to one domain: take it out of a or of b, and bind that again",
    ),
    "a page": Clash(
        alone(UART, "shared-page"),
        alone(SPI, "shared-page"),
        "[shared-page] /uart@10002000 of a and /spi@10002100 of b are on one page (node "
        "b:/passthrough/spi@10002100, expected pages of one domain alone, found "
        "0x10002000/0x1000)",
        "Xen maps it for both, and each guest could reach the other's registers: give both to one "
        "domain; or, if you trust both guests with it, in system.yml: allow: [{hazard: "
        'shared-page, device: "/spi@10002100", reason: "..."}]',
    ),
    "an interrupt": Clash(
        alone(ADC, "interrupt-clash"),
        alone(DAC, "interrupt-clash"),
        "[interrupt-clash] /adc@10003000 of a and /dac@10004000 of b have the same interrupt (node "
        "b:/passthrough/dac@10004000, expected interrupts of one domain alone, found INTID 76)",
        "Xen gives an interrupt to one domain: give both to one",
    ),
    "a stream, on an SMMUv3 of the RFC": Clash(
        alone(CAN, "shared-stream-id"),
        alone(LIN, "shared-stream-id"),
        "[shared-stream-id] /can@10005000 and /lin@10006000 have the same stream ID on "
        "/iommu@9000000 (node b:/passthrough/lin@10006000, expected stream IDs of one domain "
        "alone, found 0x16)",
        "Xen does not assign the second: leave one of the two out",
    ),
    "a stream, on an SMMUv3": Clash(
        alone(CAN, "shared-stream-id"),
        alone(LIN, "shared-stream-id"),
        "[shared-stream-id] /can@10005000 and /lin@10006000 have the same stream ID on "
        "/iommu@9000000 (node b:/passthrough/lin@10006000, expected stream IDs of one domain "
        "alone, found 0x16)",
        "Xen stops with a BUG as the second is attached: leave one of the two out",
        "xen",
    ),
    "a stream, on an SMMUv2": Clash(
        alone(GPU, "shared-stream-id"),
        alone(VPU, "shared-stream-id"),
        "[shared-stream-id] /gpu@10010000 and /vpu@10011000 have the same stream ID on "
        "/iommu@9200000 (node b:/passthrough/vpu@10011000, expected stream IDs of one domain "
        "alone, found 0x20)",
        "Xen lets the DMA of both reach the memory of the second domain: give both to one domain",
        "xen",
    ),
    "a stream, on an IPMMU": Clash(
        alone(ISP, "shared-stream-id"),
        alone(CSI, "shared-stream-id"),
        "[shared-stream-id] /isp@10012000 and /csi@10013000 have the same stream ID on "
        "/iommu@9300000 (node b:/passthrough/csi@10013000, expected stream IDs of one domain "
        "alone, found 0x2)",
        "Xen does not assign the second: give both to one domain",
        "xen",
    ),
    "a master below another's": Clash(
        alone(ENGINE, "unassigned-child"),
        Guest([UNIT]),
        "[unassigned-child] /engine@10008000/unit@10009000 of b, a DMA master, is below "
        "/engine@10008000 of a (node b:/passthrough/unit@10009000, expected all masters of a "
        "device with one domain, found b:/passthrough/unit@10009000)",
        "a may drive what b has: give both to one domain; or, if you trust both guests with it, in "
        "system.yml: allow: [{hazard: unassigned-child, device: "
        '"/engine@10008000/unit@10009000", reason: "..."}]',
    ),
    "a page of a device and a page without one": Clash(
        Guest([NET]),
        Guest(raw=[0x10000000], allow={"shared-page": "/passthrough/shm@10000000"}),
        "[shared-page] /net@10000000 of a and /passthrough/shm@10000000 of b are on one page (node "
        "b:/passthrough/shm@10000000, expected pages of one domain alone, found "
        "0x10000000/0x1000)",
        "Xen maps it for both, and each guest could reach the other's registers: give both to one "
        "domain; or, if you trust both guests with it, in system.yml: allow: [{hazard: "
        'shared-page, device: "b:/passthrough/shm@10000000", reason: "..."}]',
    ),
    "dom0's page, where the plan knew of no dom0": Clash(
        Guest([UART], has_dom0=False),
        Guest([NET]),
        "[shared-page] /spi@10002100 has registers on a page of /uart@10002000, and stays with the "
        "host (node a:/passthrough/uart@10002000, expected pages with registers of this device "
        "alone, found 0x10002100/0x100)",
        "the guest could reach those registers: leave this region out of reg, disable "
        "/spi@10002100 in the host tree, or pass it through as well; if you trust the guest with "
        'them: allow: [{hazard: shared-page, device: "/uart@10002000", reason: "..."}]',
    ),
    "memory where a device is": Clash(
        Guest([NET]),
        Guest(raw=[0x60000000]),
        "[guest-overlap] a device of b is mapped where its memory would be (expected at most 512 "
        "MiB, found 513 MiB)",
        "give it less memory, or map the device elsewhere (xen,reg)",
        more="513",
    ),
    "a vpl011 where a device is": Clash(
        Guest([NET]),
        Guest(raw=[0x22000000]),
        "[guest-overlap] the vpl011 of b is where its device is (node "
        "b:/passthrough/shm@22000000, expected addresses of one thing alone, found "
        "0x22000000/0x1000)",
        "leave one of the two out: write domain: [vpl011] into its viommu.yml and bind it again to "
        "see all that is in its way",
        more="vpl011",
    ),
}
# What stands in system.yml for a case, of the second domain.
MORE = {"": "", "513": "    memory: 513\n", "vpl011": "    vpl011: true\n"}


def kind_of(name: str) -> str:
    """The host that the name of a case asks for."""
    if "SMMUv3" in name:
        return "shared"
    return next((kind for kind in ("SMMUv2", "IPMMU") if kind in name), "")


@pytest.mark.parametrize("name", CLASHES)
def test_a_clash_is_refused(name: str, viommu: Run) -> None:
    clash = CLASHES[name]
    guests = {"a": clash.first, "b": clash.second}
    outcome = judged(viommu, clash.profile, guests, tail=MORE[clash.more], kind=kind_of(name))
    place, _, said = outcome.err.partition(": error: ")
    file, line = place.split(":")
    assert file == "system.yml"
    # Of the guest that the message is about, or of its setting.
    guest = clash.says.partition("(node ")[2].partition(":")[0] or "b"
    text = "memory: 513" if clash.more == "513" else f"{guest}:"
    assert said == f"{clash.says}\n    {line} | {text}\nhint: {clash.hint}\n"
    assert (outcome.status, outcome.out) == (1, "")
    assert not Path("viommu-system/system.json").exists()


HARMLESS = {
    "a device each": (Guest([NET]), Guest([DMA]), "xen-rfc"),
    "a page in one domain": (Guest([UART, SPI]), Guest([NET]), "xen-rfc"),
    "an interrupt in one domain": (Guest([ADC, DAC]), Guest([NET]), "xen-rfc"),
    "one ID behind two SMMUs": (Guest([NET]), Guest([USB]), "xen-rfc"),
    "a stream of an SMMUv2 in one domain": (Guest([GPU, VPU]), Guest([NET]), "xen"),
    "a stream of an IPMMU in one domain": (Guest([ISP, CSI]), Guest([NET]), "xen"),
    "a master below another in one domain": (Guest([ENGINE, UNIT]), Guest([NET]), "xen-rfc"),
    "the same guest addresses": (
        Guest(raw=[0x20000000], at=0x30000000),
        Guest(raw=[0x21000000], at=0x30000000),
        "xen-rfc",
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_its_harmless_twin_is_not(name: str, viommu: Run) -> None:
    first, second, profile = HARMLESS[name]
    outcome = judged(viommu, profile, {"a": first, "b": second}, kind=kind_of(name))
    assert (outcome.status, outcome.err) == (0, "")
    assert Path("viommu-system/system.json").is_file()


LONG = """
	uart@10020000 {
		compatible = "v,uart";
		reg = <0x0 0x10020000 0x0 0x100>;
		interrupts = <0 42 4>;
		iommus = <&smmu0 0x30>;
	};
	mac@10020100 {
		compatible = "v,mac";
		reg = <0x0 0x10020100 0x0 0x1000>, <0x0 0x10021100 0x0 0x100>;
		interrupts = <0 50 4>;
		iommus = <&smmu0 0x31>;
	};
	pwm@10021800 {
		compatible = "v,pwm";
		reg = <0x0 0x10021800 0x0 0x100>;
		interrupts = <0 51 4>;
		iommus = <&smmu0 0x32>;
	};
"""


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_page_of_the_longer_of_two_devices(first: str, viommu: Run) -> None:
    """Of two devices of one domain that overlap, the one that begins later may reach further."""
    host = HOST.read_text().partition("\tnet@10000000")[0] + LONG + "};\n"
    guests = {
        "a": Guest(["/uart@10020000", "/mac@10020100"], allow={"shared-page": "/mac@10020100"}),
        "b": alone("/pwm@10021800", "shared-page"),
    }
    names = sorted(guests, reverse=first == "b")
    bound(viommu, "xen-rfc", guests, host)
    outcome = viommu("system", "--host", "host.dts", *names)
    assert outcome.status == 1
    (error,) = [line for line in outcome.err.splitlines() if "error: " in line]
    assert "[shared-page]" in error
    assert "/mac@10020100 of a" in error
    assert "/pwm@10021800 of b" in error


def unneeded(domain: str, hazard: str, device: str) -> str:
    return (
        f"{domain}: nothing of this system needs its allow of {hazard} for {device}, as that does "
        f"not stay with the host: only to bind {domain} by itself does\n"
    )


def test_a_page_that_the_other_domain_does_not_map(viommu: Run) -> None:
    """Alone, b had to take that mac, which stays, is on its page. In the system a has it, and maps
    its other region alone."""
    outcome = judged(
        viommu, "xen-rfc", {"a": Guest([MAC], regions=1), "b": alone(PWM, "shared-page")}
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert unneeded("b", "shared-page", PWM) in outcome.out


def test_without_dom0_nothing_stays(viommu: Run) -> None:
    guests = {"a": alone(UART, "shared-page"), "b": Guest([NET])}
    outcome = judged(viommu, "xen-rfc", guests, "dom0: none\n")
    assert (outcome.status, outcome.err) == (0, "")
    assert "no dom0: nobody has the rest\n" + unneeded("a", "shared-page", UART) in outcome.out


def test_what_is_still_with_the_host_is_still_excused(viommu: Run) -> None:
    outcome = judged(viommu, "xen-rfc", {"a": alone(UART, "shared-page"), "b": Guest([NET])})
    assert (outcome.status, outcome.err) == (0, "")
    assert "nothing of this system needs" not in outcome.out


ALLOW = "allow:\n  - {{hazard: {}, device: {}, reason: one team wrote both}}\n"
ON_ONE_PAGE = {"a": alone(UART, "shared-page"), "b": alone(SPI, "shared-page")}


@pytest.mark.parametrize("device", [UART, SPI, "a:/passthrough/uart@10002000"])
def test_a_page_of_two_domains_can_be_allowed(device: str, viommu: Run) -> None:
    outcome = judged(viommu, "xen-rfc", ON_ONE_PAGE, ALLOW.format("shared-page", device))
    assert outcome.status == 0
    assert outcome.err == (
        "system.yml:7: warning: [shared-page] /uart@10002000 of a and /spi@10002100 of b are on "
        "one page (node b:/passthrough/spi@10002100, expected pages of one domain alone, found "
        "0x10002000/0x1000)\n"
        "    7 | b:\n"
        "hint: allowed by system.yml:3, because: one team wrote both\n"
    )


@pytest.mark.parametrize(
    ("hazard", "device", "says"),
    [
        (
            "shared-page",
            NET,
            "nothing to allow: /net@10000000 does not have the hazard shared-page with another "
            "domain",
        ),
        (
            "shared-stream-id",
            CAN,
            "no clash between domains of this hazard can be allowed (expected shared-page or "
            "unassigned-child, found shared-stream-id)",
        ),
    ],
)
def test_a_permission_must_be_needed(hazard: str, device: str, says: str, viommu: Run) -> None:
    guests = {"a": Guest([NET]), "b": Guest([DMA])}
    outcome = judged(viommu, "xen-rfc", guests, ALLOW.format(hazard, device))
    assert outcome.status == 1
    assert outcome.err.startswith(f"system.yml:3: error: [malformed] {says}\n    3 | ")


def test_all_clashes_are_told(viommu: Run) -> None:
    """Also those of three domains, each with its own place."""
    guests = {
        "a": Guest([NET], allow={}),
        "b": Guest([NET, CAN], allow={"shared-stream-id": CAN}),
        "c": Guest([NET, LIN], allow={"shared-stream-id": LIN}),
    }
    outcome = judged(viommu, "xen-rfc", guests, kind="shared")
    told = [line for line in outcome.err.splitlines() if ": error: " in line]
    assert [line.partition(" (node")[0] for line in told] == [
        "system.yml:5: error: [duplicate-assignment] /net@10000000 is given to two domains, a and "
        "b",
        "system.yml:7: error: [duplicate-assignment] /net@10000000 is given to two domains, a and "
        "c",
        "system.yml:7: error: [shared-stream-id] /can@10005000 and /lin@10006000 have the same "
        "stream ID on /iommu@9000000",
    ]


def test_a_plan_of_another_host(viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest([NET]), "b": Guest([DMA])})
    host = Path("host.dts").read_text()
    Path("host.dts").write_text(host.replace("<&smmu0 0x11>", "<&smmu0 0x51>"))
    outcome = viommu("system", "--host", "host.dts", "a", "b")
    assert outcome.status == 1
    (first, *_) = outcome.err.splitlines()
    assert first.startswith(
        "a/viommu/viommu.json: error: [malformed] a was bound to another host tree ("
    )
    assert outcome.err.count("error:") == 2


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"host": "/net@10000000"', '"host": "/gone"', "/gone 0x10"),
        ('"pmaster": 16', '"pmaster": -1', "/net@10000000 -0x1"),
        ('"iommu": "/iommu@9000000"', '"iommu": "/nope"', "/net@10000000 0x10"),
    ],
)
def test_a_plan_that_was_changed(old: str, new: str, found: str, viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest([NET]), "b": Guest([DMA])})
    plan = Path("a/viommu/viommu.json")
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new))
    outcome = viommu("system", "--host", "host.dts", "a", "b")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "a/viommu/viommu.json: error: [malformed] the plan of a gives /passthrough/net@10000000 "
        "what the host tree does not have (expected a host node, and the stream IDs of that, found "
        f"{found})\nhint: bind it again: its viommu.json is not as it was written\n"
    )


def test_a_plan_by_another_profile(viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest([NET])})
    bound(viommu, "xen-amd", {"b": Guest([DMA])})
    outcome = viommu("system", "--host", "host.dts", "a", "b")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "b/viommu/viommu.json: error: [malformed] b was bound with another profile (expected "
        "xen-rfc, found xen-amd)\nhint: one Xen runs all of them: bind it with the same\n"
    )


def test_a_plan_that_is_not_whole(viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest([NET]), "b": Guest([DMA])})
    Path("b/viommu/xl.cfg").write_text("other\n")
    outcome = viommu("system", "--host", "host.dts", "a", "b")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "b/viommu/xl.cfg: error: [malformed] not of the run of viommu.json\n"
        "hint: build again, or run `viommu bind` again: its files belong together\n"
    )
