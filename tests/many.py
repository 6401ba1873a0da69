# SPDX-License-Identifier: Apache-2.0
"""Hosts of many devices that share something, and the guest that asks for them all."""

from __future__ import annotations

from tests.flat import GUEST, cells, device, host

SOME = 120


def all_of_them(more: str = "") -> str:
    """A guest that asks for /m0, /m1, ..., each node with `more`."""
    return GUEST % "".join(
        f'm{i} {{ xen,path = "/m{i}"; {more.replace("#", hex(0x10000000 + 0x1000 * i))} }};'
        for i in range(SOME)
    )


def on_one_id_each() -> bytes:
    return host(*(device(b"m%d" % i, (b"iommus", cells(1, 7))) for i in range(SOME)))


def on_one_page_each() -> bytes:
    region = b"reg", cells(0, 0x10000000, 0, 0x1000)
    masters = (device(b"m%d" % i, region, (b"iommus", cells(1, i))) for i in range(2 * SOME))
    return host(*masters)
