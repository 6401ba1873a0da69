# SPDX-License-Identifier: Apache-2.0
"""viommu.json: the plan for other programs, with the sum of every other file of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from west_viommu.names import PLAN_SCHEMA
from west_viommu.plan.plan import Plan
from west_viommu.tree.digest import sha256
from west_viommu.write.records import as_json


def plan_json(plan: Plan, files: Mapping[str, bytes]) -> str:
    """Return the text of viommu.json for `plan` and the content of the other `files` by name."""
    sums = {name: sha256(data) for name, data in files.items()}
    document = {"schema": PLAN_SCHEMA, **as_json(plan._replace(files=sums))}
    return json.dumps(document, indent=2) + "\n"
