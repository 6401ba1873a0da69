# SPDX-License-Identifier: Apache-2.0
"""A profile for the Xen of a source tree, as text in the form of the shipped profiles."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from west_viommu.read.profiles import content_of
from west_viommu.read.xen_source import XenSource

# Numbers that people read in hexadecimal.
_HEXADECIMAL = frozenset(
    {"base", "size", "phandle", "last-stream-id", "redistributor-bytes-per-vcpu"}
)
_READ = ("viommu", "ram", "reserved", "versions")
_OF_VERSIONS = ("tree-bytes", "max-cells")


def profile_text(found: XenSource) -> str:
    """Return the text: YAML in flow style, with comments on which values the source does not
    have.
    """
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: XenSource) -> Iterator[str]:
    name = found.base.name
    yield f"# Made by `viommu profiles --from`, of the headers of a Xen {found.version}."
    yield f"# The keys {', '.join(_READ)} were read there; the others are those of the"
    yield f"# profile {name}, and were not read: compare them with this Xen."
    for fact in found.unread:
        yield f"# Could not be read: {fact}."
    yield "{"
    for key, value in _data(found).items():
        yield from _member(key, value)
    yield "}"


def _data(found: XenSource) -> dict[str, Any]:
    base = found.base
    data: dict[str, Any] = dict(content_of(base.name))
    data["name"] = f"xen-{found.version}-from-source"
    data["about"] = f"Xen {found.version} by its source, and what the profile {base.name} says"
    data["source"] = f"xen/include/public of a Xen {found.version}; the rest: {data['source']}"
    if found.viommu and data["viommu"]:
        intid = found.viommu["intid"]
        interrupts = [
            each if intid is None else {**each, "intid": intid}
            for each in data["viommu"]["interrupts"]
        ]
        sizes = {key: found.viommu[key] for key in ("base", "size", "phandle")}
        data["viommu"] = {**data["viommu"], **sizes, "interrupts": interrupts}
    if found.ram:
        data["ram"] = list(found.ram)
    data["reserved"] = {"regions": list(found.regions), "interrupts": list(found.interrupts)}
    # If the profile does not cover the version, use the newest version that it covers.
    version = found.version if found.version in base.versions else None
    newest = base.versions[-1] if base.versions else ""
    counts = version or newest
    for key in _OF_VERSIONS:
        if key in data:
            data[key] = list(_for_version(data[key], base.versions, counts))
    data["iommus"] = [
        {
            key: value
            if not isinstance(value, dict)
            else next(_for_version([value], base.versions, counts), None) is not None
            for key, value in driver.items()
        }
        for driver in data["iommus"]
    ]
    if "hardware-domain" in data:
        span = next(_for_version([data["hardware-domain"]], base.versions, counts), None)
        data.pop("hardware-domain")
        if span is not None:
            data["hardware-domain"] = {}
    data["versions"] = [found.version]
    return data


def _for_version(
    entries: list[Mapping[str, Any]], versions: tuple[str, ...], version: str
) -> Iterator[dict[str, Any]]:
    """Yield the entries that hold for `version`, without their versions."""
    for entry in entries:
        first = versions.index(entry["from"]) if "from" in entry else 0
        last = versions.index(entry["until"]) if "until" in entry else len(versions)
        if not versions or first <= versions.index(version) <= last:
            yield {key: value for key, value in entry.items() if key not in ("from", "until")}


def _member(key: str, value: Any, indent: str = "  ") -> Iterator[str]:
    """Yield the lines of a key: a list of mappings, or a mapping of mappings, has one line for
    each.
    """
    rows = isinstance(value, list) and any(isinstance(each, dict) for each in value)
    if rows:
        yield f"{indent}{json.dumps(key)}: ["
        yield from (f"{indent}  {_flow(each)}," for each in value)
        yield f"{indent}],"
    elif isinstance(value, dict) and any(isinstance(each, list) for each in value.values()):
        yield f"{indent}{json.dumps(key)}: {{"
        for name, each in value.items():
            yield from _member(name, each, f"{indent}  ")
        yield f"{indent}}},"
    else:
        yield f"{indent}{json.dumps(key)}: {_flow(value, key)},"


def _flow(value: Any, key: str = "") -> str:
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_flow(each, name)}" for name, each in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if type(value) is int and key in _HEXADECIMAL:
        return f"{value:#x}"
    return json.dumps(value)
