# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host as JSON."""

from __future__ import annotations

import json

from west_viommu.host.selection import Selection

SCHEMA = 1


def inventory_json(selected: Selection) -> str:
    """The text of `viommu list --format json`. All numbers are integers, absent ones null."""
    found = selected.inventory
    document = {
        "schema": SCHEMA,
        "model": found.model,
        "iommus": [iommu._asdict() for iommu in found.iommus],
        "masters": [
            {
                **master._asdict(),
                "regions": [region._asdict() for region in master.regions],
                "streams": [stream._asdict() for stream in master.streams],
                "maps": [entry._asdict() for entry in master.maps],
            }
            for master in found.masters
        ],
        "collisions": [
            {"first": first, "last": last, "iommus": paths}
            for first, last, paths in selected.collisions
        ],
        "shared": [
            {"iommu": iommu, "first": first, "last": last, "masters": paths}
            for iommu, (first, last, paths) in selected.shared
        ],
    }
    return json.dumps(document, indent=2) + "\n"
