# SPDX-License-Identifier: Apache-2.0
"""xen.dtb: the host's tree as Xen is booted with it, with host.overlay applied by dtc's tools."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from west_viommu.diagnostics import refusal
from west_viommu.read.plain_file import content
from west_viommu.read.tree import is_blob
from west_viommu.tree.node import Tree
from west_viommu.write.dts import dts
from west_viommu.write.partial_tree import MOST_SECONDS, Compilers


def xen_tree(host: str, tree: Tree, overlay: bytes) -> bytes | None:
    """Return the blob of the host `tree`, which was read from `host`, with the blob `overlay`
    applied; None if this machine lacks fdtoverlay. Raises Refused if the overlay does not fit.
    """
    blob = content(host) if is_blob(host) else _compiled(tree)
    if blob is None:
        return None
    with tempfile.TemporaryDirectory(prefix="viommu-") as folder:
        base, fragment, made = (Path(folder, name) for name in ("host", "overlay", "xen"))
        base.write_bytes(blob)
        fragment.write_bytes(overlay)
        command = ["fdtoverlay", "-i", str(base), "-o", str(made), str(fragment)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=MOST_SECONDS, check=False)
        except FileNotFoundError:
            return None
        except subprocess.TimeoutExpired:
            raise refusal("malformed", "fdtoverlay takes too long", file=host) from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            what = f"host.overlay does not apply to the host tree: {said}"
            raise refusal("malformed", what, "correct the host tree", host)
        return made.read_bytes()


def _compiled(tree: Tree) -> bytes | None:
    """Return the blob of `tree`, which came from source or from a directory."""
    name = "the host tree"
    text = dts(tree.root, {})
    rows = "".join(f"/memreserve/ {base:#x} {size:#x};\n" for base, size in tree.memreserve)
    with Compilers({name: text.replace("\n\n", f"\n{rows}\n", 1)}) as compilers:
        return compilers.blobs().get(name)
