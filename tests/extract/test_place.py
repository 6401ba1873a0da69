# SPDX-License-Identifier: Apache-2.0
"""A copied node at other addresses than the host's."""

from __future__ import annotations

from struct import pack

from west_viommu.extract.copy import Copied, Property
from west_viommu.extract.place import at_places
from west_viommu.tree.addresses import Region

HOST, GUEST = Region(0x3100000, 0x10000), Region(0x5000000, 0x10000)


def copied(*properties: Property) -> Copied:
    return Copied("usb@3100000", "/usb@3100000", properties, (), ())


def test_windows_into_a_moved_region_move_with_it() -> None:
    rows = pack(">IQI", 0, 0x3104000, 0x1000) + pack(">IQI", 0x8000, 0x9000000, 0x1000)
    node = copied(
        Property("reg", pack(">QQ", *HOST)),
        Property("#address-cells", pack(">I", 1)),
        Property("#size-cells", pack(">I", 1)),
        Property("ranges", rows),
    )
    made = at_places(node, {HOST: GUEST})
    values = {prop.name: prop.value for prop in made.properties}
    assert made.name == "usb@5000000"
    assert values["reg"] == pack(">QQ", *GUEST)
    assert values["xen,reg"] == pack(">QQQ", *HOST, GUEST.base)
    moved = pack(">IQI", 0, 0x5004000, 0x1000)
    assert values["ranges"] == moved + pack(">IQI", 0x8000, 0x9000000, 0x1000)


def test_a_node_that_stays_is_the_same() -> None:
    node = copied(Property("reg", pack(">QQ", *HOST)))
    assert at_places(node, {Region(0x1000, 0x1000): GUEST}) is node
    assert at_places(copied(), {HOST: GUEST}) == copied()
