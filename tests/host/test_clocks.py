# SPDX-License-Identifier: Apache-2.0
"""The rates of clocks that a host tree states."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.host.clocks import Clock, Rates, clocks

HOST = """
osc: osc { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <24000000>; };
silent: silent { compatible = "fixed-clock"; #clock-cells = <0>; };
third: third { compatible = "fixed-factor-clock"; #clock-cells = <0>; clocks = <&osc>;
  clock-mult = <2>; clock-div = <3>; };
odd: odd { compatible = "fixed-factor-clock"; #clock-cells = <0>; clocks = <&osc>;
  clock-mult = <2>; clock-div = <0>; };
loop: loop { compatible = "fixed-factor-clock"; #clock-cells = <0>; clocks = <&loop>;
  clock-mult = <1>; clock-div = <2>; };
synth: synth@5d { compatible = "t,synth"; #clock-cells = <0>; clock-frequency = <156250000>; };
i2c@1 { clock-frequency = <400000>; };
cpg: cpg { #clock-cells = <2>; clock-frequency = <1>;
  assigned-clocks = <&cpg 1 5>, <&cpg 1 6>, <&cpg 1 7>; assigned-clock-rates = <200000000 0>; };
usb { clocks = <&cpg 1 5>, <&osc>; assigned-clocks = <&cpg 1 8>;
  assigned-clock-rates = <48000000>; };
spi { clocks = <&cpg 1 8>, <0>; assigned-clocks = <&cpg 1 8>; assigned-clock-rates = <1000>; };
cut { clocks = <&cpg 1>; assigned-clocks = <&cpg 1>; assigned-clock-rates = <5>; };
"""


@pytest.mark.parametrize(
    ("provider", "specifier", "rate"),
    [
        ("/osc", (), 24000000),
        ("/silent", (), None),
        ("/third", (), 16000000),
        ("/odd", (), None),
        ("/loop", (), None),
        ("/synth@5d", (), 156250000),
        # The speed of a bus is no clock that it provides.
        ("/i2c@1", (), None),
        ("/cpg", (1, 5), 200000000),
        # 0 leaves a clock as it is, and the list of rates may be shorter.
        ("/cpg", (1, 6), None),
        ("/cpg", (1, 7), None),
        # Two devices want it at two rates.
        ("/cpg", (1, 8), None),
        ("/cpg", (), None),
        ("/nowhere", (), None),
    ],
)
def test_the_rate_that_the_tree_states(
    provider: str, specifier: tuple[int, ...], rate: int | None
) -> None:
    assert Rates(tree(HOST)).of(provider, specifier) == rate


def test_the_entries_of_a_list() -> None:
    host = tree(HOST)
    found = {node.name: clocks(host, node) for node in host.nodes() if "clocks" in node.properties}
    assert found["usb"] == [Clock(0, "/cpg", (1, 5)), Clock(3, "/osc", ())]
    assert [str(clock) for clock in found["usb"] or ()] == ["/cpg <1 5>", "/osc"]
    # One is left out; the other is cut off.
    assert found["spi"] is found["cut"] is None
