# SPDX-License-Identifier: Apache-2.0
"""The inventory of a host as JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping

from west_viommu.host.collisions import Selection
from west_viommu.host.inventory import Master
from west_viommu.plan.host_devices import DeviceReport

SCHEMA = 1
_INDENT = "    "


def inventory_json(selected: Selection, known: Mapping[str, DeviceReport]) -> Iterator[str]:
    """Yield the text of `viommu list --format json`, in pieces: as a whole, the text of a large
    host takes more memory than the host. All numbers are integers, absent ones null. `known`: the
    report of each master, by its path.
    """
    found = selected.inventory
    yield f'{{\n  "schema": {SCHEMA},\n  "model": {json.dumps(found.model)}'
    yield from _array("iommus", (iommu._asdict() for iommu in found.iommus))
    masters = (_master(master, known[master.path]) for master in found.masters)
    yield from _array("masters", masters)
    yield from _array(
        "collisions",
        (
            {"first": first, "last": last, "iommus": paths}
            for first, last, paths in selected.collisions
        ),
    )
    yield from _array(
        "shared",
        (
            {"iommu": iommu, "first": first, "last": last, "masters": paths}
            for iommu, (first, last, paths) in selected.shared
        ),
    )
    yield "\n}\n"


def _master(master: Master, known: DeviceReport) -> dict[str, object]:
    return {
        **master._asdict(),
        "regions": [region._asdict() for region in master.regions],
        "streams": [stream._asdict() for stream in master.streams],
        "maps": [entry._asdict() for entry in master.maps],
        "intids": list(dict.fromkeys(known.intids)),
        "hazards": known.refused,
        "passable": not known.refused,
    }


def _array(name: str, entries: Iterable[dict[str, object]]) -> Iterator[str]:
    """Yield a member of the document, as json.dumps() indents it."""
    yield f',\n  "{name}": ['
    separator = "\n"
    for entry in entries:
        yield f"{separator}{_INDENT}{_indented(entry, _INDENT)}"
        separator = ",\n"
    yield "]" if separator == "\n" else "\n  ]"


def _indented(value: object, indent: str) -> str:
    """Return `value` as json.dumps() writes it with an indent of 2, from the column of `indent` on.
    json.dumps() takes twice as long as the rest of `list`, and leaves garbage in cycles.
    """
    if type(value) is int:
        return str(value)
    inside = f"{indent}  "
    if isinstance(value, dict):
        members = [f'{inside}"{key}": {_indented(each, inside)}' for key, each in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and value:
        entries = [f"{inside}{_indented(each, inside)}" for each in value]
        return "[\n" + ",\n".join(entries) + f"\n{indent}]"
    return json.dumps(value)
