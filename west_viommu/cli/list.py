# SPDX-License-Identifier: Apache-2.0
"""`viommu list`: what a host tree says about its IOMMUs and masters."""

from __future__ import annotations

from argparse import Namespace

from west_viommu.cli.run import host_of
from west_viommu.read.host import read_host, read_inventory


def run(arguments: Namespace) -> None:
    """Read the host, take its inventory, print it."""
    host = host_of(arguments)
    found = read_inventory(host, read_host(host, arguments.include, arguments.define))
    if arguments.format == "json":
        from west_viommu.write.inventory_json import inventory_json

        print(inventory_json(found), end="")
    else:
        from west_viommu.write.inventory_table import inventory_table

        print(inventory_table(found), end="")
