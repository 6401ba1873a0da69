# SPDX-License-Identifier: Apache-2.0
"""Hosts that are written as blobs at once: dtc would take long over thousands of nodes, and
refuses some of what is odd.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

Part = bytes | tuple[bytes, bytes] | None
GUEST = """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
passthrough { #address-cells = <2>; #size-cells = <2>; ranges; %s }; };
"""


def flat(parts: Iterable[Part]) -> bytes:
    """A blob of a node's name, of properties (name, value), and of None for a node's end."""
    offsets: dict[bytes, int] = {}
    strings = b""
    body = b""
    pieces = []
    for part in parts:
        if part is None:
            pieces.append(struct.pack(">I", 2))
        elif isinstance(part, tuple):
            name, value = part
            if name not in offsets:
                offsets[name] = len(strings)
                strings += name + b"\0"
            head = struct.pack(">3I", 3, len(value), offsets[name])
            pieces.append(head + value + bytes(-len(value) % 4))
        else:
            pieces.append(struct.pack(">I", 1) + part + bytes(4 - len(part) % 4))
    body = b"".join(pieces) + struct.pack(">I", 9)
    end = 56 + len(body)
    fields = (0xD00DFEED, end + len(strings), 56, end, 40, 17, 16, 0, len(strings), len(body))
    return struct.pack(">10I", *fields) + bytes(16) + body + strings


def cells(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def host(*nodes: Sequence[Part]) -> bytes:
    """A host with an SMMU (phandle 1), a GIC (2), and `nodes`."""
    head: list[Part] = [b"", (b"#address-cells", cells(2)), (b"#size-cells", cells(2))]
    head += [b"smmu@1000", (b"compatible", b"arm,smmu-v3\0"), (b"reg", cells(0, 4096, 0, 4096))]
    head += [(b"#iommu-cells", cells(1)), (b"phandle", cells(1)), None]
    head += [b"gic", (b"compatible", b"arm,gic-v3\0"), (b"#interrupt-cells", cells(3))]
    head += [(b"phandle", cells(2)), None]
    return flat([*head, *(part for node in nodes for part in node), None])


def device(name: bytes, *properties: tuple[bytes, bytes]) -> list[Part]:
    return [name, *properties, None]
