# SPDX-License-Identifier: Apache-2.0
"""The inputs of tests/refused/, one file for each way to fail.

A case has `passthrough` (the inside of a partial tree's /passthrough, from line 3 on) or `guest`
(a whole source file), `stderr`, and may have `host` (a file in tests/hosts/, or source),
`viommu.yml`, `profile.yaml` and `options` of bind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import CHECKOUT, HOSTS, PARTIAL_TREE

CASES = sorted((CHECKOUT / "tests" / "refused").glob("*.yml"))


def prepared(content: dict[str, Any], folder: Path) -> Sequence[str]:
    """The files of a case, made in `folder`; its options."""
    host = content.get("host", "two-smmus.dts")
    if "{" in host:
        (folder / "host.dts").write_text(host)
    else:
        (folder / "host.dts").symlink_to(HOSTS / host)
    guest = content.get("guest") or PARTIAL_TREE % content["passthrough"]
    (folder / "guest.dts").write_text(guest)
    for name in ("viommu.yml", "profile.yaml"):
        if name in content:
            (folder / name).write_text(content[name])
    options: Sequence[str] = content.get("options", ())
    return options
