# SPDX-License-Identifier: Apache-2.0
"""Trees that dtc makes: passthrough-*.dtb for Xen and libxl, overlays, and xen.dtb of a system."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from west_viommu.diagnostics import Diagnostic, Refused, refusal
from west_viommu.names import OVERLAY_FIRST_LINE
from west_viommu.plan.partial import PartialTree
from west_viommu.read.plain_file import content
from west_viommu.read.programs import end, scratch
from west_viommu.read.tree import is_blob
from west_viommu.tree.node import Tree
from west_viommu.write.dts import commented, dts

_ABOUT = {
    "dom0less": "Xen's partial tree for a guest that Xen creates at boot (dom0less).",
    "libxl": "Xen's partial tree for a guest that xl creates: device_tree in xl.cfg.",
}
# Checks in which dtc compares every pair of names; dtlib has made them already.
_UNNEEDED = ("duplicate_node_names", "duplicate_property_names")
# dtc needs a tenth of a second for the largest trees of real boards.
MOST_SECONDS = 30.0


def partial_tree_source(tree: PartialTree) -> str:
    """Return the text of passthrough-*.dts."""
    lines = [
        _ABOUT[tree.toolstack],
        "Stream IDs are the host's; the phandle beside each is put in by",
    ]
    lines += ["Xen. /gic and /smmu give the phandles a meaning, and are not copied."]
    lines += [f"Left out of {path}: {what}" for path, what in tree.told()]
    header = "".join(f" * {commented(line)}\n" for line in lines)
    return f"{OVERLAY_FIRST_LINE}\n *\n{header} */\n{dts(tree.root, tree.references)}"


class Compilers:
    """Runs of dtc on each of `sources` (name -> text), in parallel with this process, as a context:
    `with Compilers(sources) as compilers`.
    """

    def __init__(self, sources: Mapping[str, str]):
        spared = [
            option for check in _UNNEEDED for option in ("-W", f"no-{check}", "-E", f"no-{check}")
        ]
        command = ["dtc", "-q", *spared, "-I", "dts", "-O", "dtb", "-o", "-", "-"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name, source in sources.items():
            # A file, not a pipe: while one pipe is being filled, the next one would wait.
            with scratch() as text:
                text.write(source.encode())
                text.seek(0)
                try:
                    self._running[name] = subprocess.Popen(
                        command, stdin=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                    )
                except OSError:
                    # Without dtc, there are no blobs.
                    return

    def __enter__(self) -> Compilers:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._running.values():
            end(process)
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()

    def blobs(self) -> dict[str, bytes]:
        """Return name -> blob; {} without dtc. Raises Refused if dtc refuses a source, or takes too
        long.
        """
        found = {}
        for name, process in self._running.items():
            try:
                blob, complaint = process.communicate(timeout=MOST_SECONDS)
            except subprocess.TimeoutExpired:
                raise Refused([_too_slow(name)]) from None
            if process.returncode:
                raise Refused([_not_compiled(name, complaint.decode("utf-8", "replace"))])
            found[name] = blob
        return found


def _too_slow(name: str) -> Diagnostic:
    what = f"dtc had not finished {name} after {MOST_SECONDS:g} s"
    hint = "try `dtc --version`: is it the devicetree compiler? Or ask for fewer devices"
    return Diagnostic(id="malformed", what=what, hint=hint)


def _not_compiled(name: str, complaint: str) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what=f"dtc rejects {name}: {complaint.strip()}",
        hint="correct the guest's nodes that it names",
    )


def xen_tree(host: str, tree: Tree, overlay: bytes) -> bytes | None:
    """Return the blob of the host `tree`, which was read from `host`, with the blob `overlay`
    applied; None if this machine lacks fdtoverlay. Raises Refused if the overlay does not fit.
    """
    blob = content(host) if is_blob(host) else _compiled(tree)
    if blob is None:
        return None
    # Imported late: it imports much, and a bind run does not need it.
    import tempfile

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
