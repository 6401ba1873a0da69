# SPDX-License-Identifier: Apache-2.0
"""The RAM of a host, and what of it is reserved."""

from __future__ import annotations

from pathlib import Path

from tests.support import blob
from west_viommu.api import read_host
from west_viommu.host.devices import ram, reserved
from west_viommu.tree.addresses import Region

HOST = """/dts-v1/;
/memreserve/ 0x41000000 0x2000;
/ { #address-cells = <2>; #size-cells = <2>;
memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x1000>, <0 0x80001000 0 0x1000>; };
memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x10000000>, <0 0 0 0>; };
reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
  memory@48000000 { reg = <0 0x48000000 0 0x100000>; no-map; };
  pool { size = <0 0x1000>; }; }; };
"""


def test_ram_and_what_is_reserved_of_a_blob_and_of_source(tmp_path: Path) -> None:
    files = [tmp_path / "host.dts", tmp_path / "host.dtb"]
    files[0].write_text(HOST)
    files[1].write_bytes(blob(HOST))
    for file in files:
        devices = read_host(file).devices
        assert ram(devices) == (Region(0x40000000, 0x10000000), Region(0x80000000, 0x2000))
        assert reserved(devices) == {
            Region(0x48000000, 0x100000): "/reserved-memory/memory@48000000",
            Region(0x41000000, 0x2000): "/memreserve/",
        }
