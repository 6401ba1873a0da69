# SPDX-License-Identifier: Apache-2.0
"""What a run of ours, or a hypervisor, left: a guest's finished tree, and a plan under its seal."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from west_viommu.diagnostics import refusal
from west_viommu.guest.source import GuestTree, without_source
from west_viommu.names import OVERLAY, PLAN, PLAN_SCHEMA
from west_viommu.plan.plan import Plan
from west_viommu.read.plain_file import content
from west_viommu.read.records import as_record
from west_viommu.read.tree import is_blob, read_tree
from west_viommu.tree.digest import sha256

_GIVE = "give the guest's tree as a blob, as source, or as a /proc/device-tree directory"
_NOT_OURS = "west-viommu did not write this viommu.json"
_AGAIN = "build again, or run `viommu bind` again: its files belong together"

# All files of a run together. One name can stand there in many spellings.
_MOST_OF_A_RUN = 1 << 27


def finished_tree(file: str) -> GuestTree:
    """The guest's tree in `file`, in any form. Raises Refused."""
    found = read_tree(file, _GIVE)
    if os.path.isdir(file) or is_blob(file):
        return without_source(found, file)
    from west_viommu.read.source import guest_tree

    return guest_tree([file])


def sealed_plan(folder: Path) -> Plan | None:
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
        raise refusal("unreadable", what, _AGAIN, str(error.filename)) from None


def _plan(file: Path) -> Plan | None:
    """What viommu.json says, whatever became of the files that it names."""
    try:
        document = json.loads(content(str(file)))
        schema = document["schema"]
        # Another version has other keys.
        if type(schema) is int and schema != PLAN_SCHEMA:
            what = "another version of west-viommu wrote this viommu.json"
            expected, found = f"schema {PLAN_SCHEMA}", f"schema {schema}"
            raise refusal("malformed", what, _AGAIN, str(file), expected=expected, found=found)
        plan = as_record(document, Plan)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, KeyError, TypeError):
        raise refusal("malformed", _NOT_OURS, _AGAIN, str(file)) from None
    if type(schema) is not int or OVERLAY not in plan.files:
        raise refusal("malformed", _NOT_OURS, _AGAIN, str(file))
    return plan


def _check_files(folder: Path, sums: Mapping[str, str]) -> None:
    """Raises Refused where a file is not the one that viommu.json names."""
    left = _MOST_OF_A_RUN
    for name, digest in sums.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            what = f"viommu.json names {name}, which is not in its folder"
            raise refusal("malformed", what, _AGAIN, str(folder / PLAN))
        try:
            data = content(str(folder / name), left)
        except FileNotFoundError as error:
            what = "missing beside viommu.json"
            raise refusal("malformed", what, _AGAIN, str(error.filename)) from None
        except ValueError:
            # No file can have such a name.
            raise refusal("malformed", _NOT_OURS, _AGAIN, str(folder / PLAN)) from None
        left -= len(data)
        if sha256(data) != digest:
            what = "not of the run of viommu.json"
            raise refusal("malformed", what, _AGAIN, str(folder / name))
