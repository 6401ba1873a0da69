# SPDX-License-Identifier: Apache-2.0
"""What a device needs of other nodes of its host."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.needs import Need, Needs, User

HOST = """#address-cells = <1>; #size-cells = <1>;
osc: osc { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <24000000>; };
half: half { compatible = "fixed-factor-clock"; #clock-cells = <0>; clocks = <&cpg 7>; };
cpg: clock-controller@1000 { reg = <0x1000 0x100>; #clock-cells = <1>; #reset-cells = <1>;
  pins: pins { }; };
firmware { scmi { compatible = "arm,scmi-smc"; #address-cells = <1>; #size-cells = <0>;
  power: protocol@11 { reg = <0x11>; #power-domain-cells = <1>; }; }; };
fixed: supply { compatible = "regulator-fixed"; };
switched: supply-switched { compatible = "regulator-fixed"; gpios = <&gpio 3 0>; };
gpio: gpio@2000 { reg = <0x2000 0x100>; #gpio-cells = <2>; };
voter: rsc@3000 { reg = <0x3000 0x100>; rpmh: voter { compatible = "qcom,rpmh-rsc"; };
  bcm: bcm-voter { compatible = "qcom,bcm-voter"; }; };
noc: interconnect { #interconnect-cells = <1>; qcom,bcm-voters = <&bcm>; };
usb@4000 { reg = <0x4000 0x100>; clocks = <&cpg 5>, <&osc>; clock-names = "bus", "ref";
  resets = <&cpg 5>; power-domains = <&power 2>; vbus-supply = <&switched>; vcc-supply = <&fixed>;
  pinctrl-0 = <&pins>; pinctrl-names = "default"; interconnects = <&noc 1>;
  phys = <&phy>; phy: phy { #phy-cells = <0>; resets = <&cpg 6>; }; };
spi@5000 { reg = <0x5000 0x100>; clocks = <&cpg 5>; };
i2c@6000 { reg = <0x6000 0x100>; resets = <&cpg 5>; clocks = <&half>; };
"""


@pytest.fixture(scope="module")
def needs() -> Needs:
    return Needs(tree(HOST))


def test_each_entry_is_named_with_its_provider_kind_and_other_users(needs: Needs) -> None:
    usb, cpg = "/usb@4000", "/clock-controller@1000"

    def need(prop: str, name: str, *rest: object) -> Need:
        return Need(usb, prop, name, *rest)  # type: ignore[arg-type]

    assert needs.of(usb) == (
        need("clocks", "bus", cpg, "registers", (5,), (User("/spi@5000", True),)),
        need("clocks", "ref", "/osc", "fixed", (), ()),
        # Reset 5 is not clock 5.
        need("resets", "", cpg, "registers", (5,), (User("/i2c@6000", True),)),
        need("power-domains", "", "/firmware/scmi/protocol@11", "SCMI", (2,), ()),
        need("vbus-supply", "", "/supply-switched", "registers", (), ()),
        need("vcc-supply", "", "/supply", "fixed", (), ()),
        need("pinctrl-0", "", f"{cpg}/pins", "registers", (), ()),
        need("interconnects", "", "/interconnect", "registers", (1,), ()),
        # Its own PHY comes along, and what that needs counts.
        Need(f"{usb}/phy", "resets", "", cpg, "registers", (6,), ()),
    )


def test_a_derived_clock_is_of_the_kind_of_its_parent(needs: Needs) -> None:
    assert needs.kind("/half") == "registers"


def test_what_goes_along_is_not_needed(needs: Needs) -> None:
    assert not [n for n in needs.of("/spi@5000", along=["/clock-controller@1000"])]


def test_an_entry_as_a_person_reads_it(needs: Needs) -> None:
    first, second, *_ = needs.of("/usb@4000")
    assert str(first) == "clocks 'bus': /clock-controller@1000 <5> (registers)"
    assert first.sharing == "also of /spi@5000, which stays"
    assert str(second) == "clocks 'ref': /osc (fixed)"
    assert second.sharing == ""


def test_another_user_that_comes_along(needs: Needs) -> None:
    first, *_ = needs.of("/usb@4000", along=["/spi@5000"])
    assert first.users == (User("/spi@5000", False),)
    assert first.sharing == "also of /spi@5000, which comes along"


def test_several_other_users(needs: Needs) -> None:
    first, *_ = needs.of("/usb@4000")
    users = (User("/a", True), User("/b", True), User("/c", False), User("/d", False))
    shared = first._replace(users=users).sharing
    assert shared == "also of /a and /b, which stay; /c and /d, which come along"


def test_the_users_are_the_same_if_the_devices_are_known() -> None:
    host = tree(HOST)
    for path in ("/usb@4000", "/spi@5000", "/i2c@6000"):
        assert Needs(host, [path]).of(path) == Needs(host).of(path)
