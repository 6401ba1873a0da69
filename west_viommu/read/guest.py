# SPDX-License-Identifier: Apache-2.0
"""What a run of ours, or a hypervisor, left: a guest's finished tree, and a plan under its seal."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from west_viommu.guest.source import GuestTree, without_source
from west_viommu.names import OVERLAY, PLAN, PLAN_SCHEMA
from west_viommu.plan.sealed import SealedPlan
from west_viommu.read.plain_file import content
from west_viommu.read.records import as_record
from west_viommu.read.tree import is_blob, read_tree, refused

_GIVE = "give the guest's tree as a blob, as source, or as a /proc/device-tree directory"
_NOT_OURS = "west-viommu did not write this viommu.json"
_AGAIN = "build again, or run viommu bind again: its files belong together"

# All files of a run together. One name can stand there in many spellings.
_MOST_OF_A_RUN = 1 << 27


def finished_tree(file: str) -> GuestTree:
    """The guest's tree in `file`, in any form. Raises Refused."""
    found = read_tree(file, _GIVE)
    if os.path.isdir(file) or is_blob(file):
        return without_source(found, file)
    from west_viommu.read.source import guest_tree

    return guest_tree([file])


def sealed_plan(folder: Path) -> SealedPlan | None:
    """The content of viommu.json in `folder`, None where there is none. Raises Refused where the
    files are not those that it seals.
    """
    plan = folder / PLAN
    try:
        found = _plan(plan)
        if found is not None:
            _check_files(folder, found.files)
        return found
    except OSError as error:
        what = error.strerror or "cannot be read"
        raise refused("unreadable", str(error.filename), what, _AGAIN) from None


def _plan(file: Path) -> SealedPlan | None:
    """What viommu.json says, whatever became of the files that it names."""
    try:
        document = json.loads(content(str(file)))
        schema = document["schema"]
        found = as_record(document, SealedPlan)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, KeyError, TypeError):
        raise refused("malformed", str(file), _NOT_OURS, _AGAIN) from None
    if type(schema) is not int or OVERLAY not in found.files:
        raise refused("malformed", str(file), _NOT_OURS, _AGAIN)
    if schema != PLAN_SCHEMA:
        what = "viommu.json is of another version of this program"
        raise refused("malformed", str(file), what, _AGAIN, str(PLAN_SCHEMA), str(schema))
    return found


def _check_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Raises Refused where a file is not the one that viommu.json names."""
    left = _MOST_OF_A_RUN
    for name, digest in sums.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            what = f"viommu.json names {name}, which is not in its folder"
            raise refused("malformed", str(folder / PLAN), what, _AGAIN)
        try:
            data = content(str(folder / name), left)
        except FileNotFoundError as error:
            what = "missing beside viommu.json"
            raise refused("malformed", str(error.filename), what, _AGAIN) from None
        except ValueError:
            # No file can have such a name.
            raise refused("malformed", str(folder / PLAN), _NOT_OURS, _AGAIN) from None
        left -= len(data)
        if hashlib.sha256(data).hexdigest() != digest:
            what = "not of the run of viommu.json"
            raise refused("malformed", str(folder / name), what, _AGAIN)
