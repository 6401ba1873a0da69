# SPDX-License-Identifier: Apache-2.0
"""What is bound with a warning, by what the host's tree says of it elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import HOSTS, PARTIAL_TREE, Run, without_stops

STDOUT = 'stdout-path = "console:115200n8";'
SERIAL = (
    'serial { xen,path = "/serial@20000000"; reg = <0 0x20000000 0 0x1000>; '
    "interrupts = <0 20 4>; };\n"
)


def said_of(guest: str, viommu: Run, old: str, new: str) -> str:
    """The messages of bind on tests/hosts/hands.dts, which has `new` in place of `old`."""
    host = (HOSTS / "hands.dts").read_text()
    assert host.count(old) == 1
    Path("host.dts").write_text(host.replace(old, new))
    Path("guest.dts").write_text(PARTIAL_TREE % guest)
    outcome = viommu("bind", "--host", "host.dts", "--profile", "xen-rfc", "guest.dts")
    assert outcome.status == 0
    return without_stops(outcome.err)


@pytest.mark.parametrize(
    ("chosen", "is_console"),
    [
        (STDOUT, True),
        ('stdout-path = "/serial@20000000";', True),
        ('linux,stdout-path = "console";', False),
        # Xen's own command line goes first.
        ('stdout-path = "nobody"; xen,xen-bootargs = "sync_console dtuart=console:9600";', True),
        (f'{STDOUT} xen,xen-bootargs = "dtuart=/spi@20110000";', False),
        ('stdout-path = "nobody";', False),
        ("stdout-path = [ff ff];", False),
    ],
)
def test_the_console_of_xen(chosen: str, is_console: bool, viommu: Run) -> None:
    said = said_of(SERIAL, viommu, STDOUT, chosen)
    warning = (
        "guest.dts:3: warning: [xen-console] /serial@20000000 is the console of Xen itself (node "
        "/passthrough/serial, expected a UART that Xen does not use, found stdout-path, or dtuart, "
        f"of /chosen)\n    3 | {SERIAL}"
        "hint: with the mark of host.overlay on it, Xen boots without a console: give Xen another "
        "one (dtuart=... on its command line), or leave this to Xen\n"
    )
    assert said == (warning if is_console else "")


def test_a_page_of_what_is_marked_for_another_domain(viommu: Run) -> None:
    mapped = "xen,reg = <0 0x20000000 0 0x1000 0 0x20000000>;"
    page = f"r {{ {mapped} xen,force-assign-without-iommu; }};\n"
    compatible = 'compatible = "test,serial";'
    assert said_of(page, viommu, compatible, f"{compatible} xen,passthrough;") == (
        "guest.dts:3: warning: [marked-for-another] xen,reg maps memory of /serial@20000000, which "
        "is marked for another domain (node /passthrough/r, expected memory that nobody else has, "
        f"found 0x20000000/0x1000)\n    3 | {page}"
        "hint: the guest could reach it: map something else, or assign the device by xen,path\n"
        "note: /passthrough/r maps host memory without a host device: 0x20000000/0x1000\n"
    )
