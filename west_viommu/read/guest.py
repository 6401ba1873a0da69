# SPDX-License-Identifier: Apache-2.0
"""What a run of ours, or a hypervisor, left: a guest's finished tree, and a plan under its seal."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from west_viommu.guest.source import GuestTree, without_source
from west_viommu.names import OVERLAY, PLAN, PLAN_SCHEMA
from west_viommu.read.plain_file import content
from west_viommu.read.tree import is_blob, read_tree, refused

_GIVE = "give the guest's tree as a blob, as source, or as a /proc/device-tree directory"
_AGAIN = "build again, or run viommu bind again: its files belong together"

# All files of a run together. One name can stand there in many spellings.
_MOST_OF_A_RUN = 1 << 27
# What of viommu.json the check relies on.
_STREAM = {"iommu": str, "iommu_base": int, "pmaster": int, "vmaster": int}
_DEVICE = {
    "node": str,
    "host": str,
    "compatible": {"host": [str], "guest": [str]},
    "status": str,
    "regions": [{"host": int, "guest": int, "size": int}],
    "intids": [int],
    "streams": [_STREAM],
    "omitted": [{"iommu": str, "pmaster": int}],
    "maps": [{"iommu": str, "rid": int, "pmaster": int, "vmaster": int, "length": int}],
}
_VSMMU = {"node": str, "compatible": str, "base": int, "size": int, "intids": [int]}
_PLAN = {
    "schema": int,
    "profile": str,
    "vsid": str,
    "domain": [str],
    "viommu": (_VSMMU, type(None)),
    "devices": [_DEVICE],
    "unasked": [str],
    "allowed": [{"hazard": str, "device": str, "reason": str}],
    "marks": [{"node": str, "device": str, "why": str}],
    "memory_limit": (int, type(None)),
    "files": dict,
}


def finished_tree(file: str) -> GuestTree:
    """The guest's tree in `file`, in any form. Raises Refused."""
    found = read_tree(file, _GIVE)
    if os.path.isdir(file) or is_blob(file):
        return without_source(found, file)
    from west_viommu.read.source import guest_tree

    return guest_tree([file])


def sealed_plan(folder: Path) -> dict[str, Any] | None:
    """The content of viommu.json in `folder`, None where there is none. Raises Refused where the
    files are not those that it seals.
    """
    plan = folder / PLAN
    try:
        document: dict[str, Any] = json.loads(content(str(plan)))
        if not _is_like(document, _PLAN) or OVERLAY not in document["files"]:
            raise refused(
                "malformed", str(plan), "west-viommu did not write this viommu.json", _AGAIN
            )
        if document["schema"] != PLAN_SCHEMA:
            what = "viommu.json is of another version of this program"
            found = str(document["schema"])
            raise refused("malformed", str(plan), what, _AGAIN, str(PLAN_SCHEMA), found)
        left = _MOST_OF_A_RUN
        for name, digest in document["files"].items():
            if os.path.isabs(name) or ".." in Path(name).parts:
                what = f"viommu.json names {name}, which is not in its folder"
                raise refused("malformed", str(plan), what, _AGAIN)
            data = content(str(folder / name), left)
            left -= len(data)
            if hashlib.sha256(data).hexdigest() != digest:
                what = "not of the run of viommu.json"
                raise refused("malformed", str(folder / name), what, _AGAIN)
    except FileNotFoundError as error:
        if Path(str(error.filename)) == plan:
            return None
        what = "missing beside viommu.json"
        raise refused("malformed", str(error.filename), what, _AGAIN) from None
    except OSError as error:
        what = error.strerror or "cannot be read"
        raise refused("unreadable", str(error.filename), what, _AGAIN) from None
    except (ValueError, RecursionError):
        what = "west-viommu did not write this viommu.json"
        raise refused("malformed", str(plan), what, _AGAIN) from None
    return document


def _is_like(value: object, shape: object) -> bool:
    """Whether `value` of JSON has at least what `shape` has: a type, a dict of shapes by key, a
    list with the shape of each item, or a tuple of alternatives.
    """
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and _is_like(value[key], each) for key, each in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_is_like(item, shape[0]) for item in value)
    if isinstance(shape, tuple):
        return any(_is_like(value, each) for each in shape)
    return type(value) is shape
