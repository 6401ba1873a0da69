# SPDX-License-Identifier: Apache-2.0
"""What a run of ours, or a hypervisor, left: a guest's finished tree, and a plan under its seal."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from west_viommu.guest.source import GuestTree, without_source
from west_viommu.names import PLAN
from west_viommu.problems import Problem, Refused, Where
from west_viommu.read.tree import is_blob, read_tree, refused
from west_viommu.tree.cells import TreeError

_GIVE = "give the guest's tree as a blob, as source, or as a /proc/device-tree directory"
_AGAIN = "build again, or run viommu bind again: its files belong together"


def finished_tree(file: str) -> GuestTree:
    """The guest's tree in `file`, in any form. Raises Refused."""
    try:
        if os.path.isfile(file) and not is_blob(file):
            from west_viommu.read.source import guest_tree

            read_tree(file, _GIVE)
            return guest_tree([file])
        return without_source(read_tree(file, _GIVE), file)
    except TreeError as error:
        hint = "correct the tree"
        problem = Problem(
            "malformed", error.what, hint, error.path, error.expected, error.found, Where(file)
        )
        raise Refused([problem]) from None


def sealed_plan(folder: Path) -> dict[str, Any] | None:
    """The content of viommu.json in `folder`, None where there is none. Raises Refused where the
    files are not those that it seals.
    """
    plan = folder / PLAN
    try:
        document: dict[str, Any] = json.loads(plan.read_bytes())
        for name, digest in document["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise refused(
                    "malformed", str(folder / name), "not of the run of viommu.json", _AGAIN
                )
        _ = document["profile"], document["vsid"], document["viommu"], document["devices"]
    except FileNotFoundError as error:
        if Path(str(error.filename)) == plan:
            return None
        raise refused(
            "malformed", str(error.filename), "missing beside viommu.json", _AGAIN
        ) from None
    except OSError as error:
        what = error.strerror or "cannot be read"
        raise refused("unreadable", str(error.filename), what, _AGAIN) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise refused("malformed", str(plan), "this is no viommu.json of ours", _AGAIN) from None
    return document
