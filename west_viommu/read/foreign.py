# SPDX-License-Identifier: Apache-2.0
"""Files that are given in place of a devicetree, known by how they begin: what to do with each."""

from __future__ import annotations

from west_viommu.diagnostics import Diagnostic, Where

# Magic -> what it is, and the remedy, with the file's name for {}.
_KINDS = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gzip -dk {}, and give what comes out"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it: xz -dk {}, and give what comes out"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: zstd -d {}, and give what comes out"),
    (b"BZh", "compressed by bzip2", "unpack it: bzip2 -dk {}, and give what comes out"),
    (b"PK\x03\x04", "a zip archive", "unpack it: unzip {}, and give the tree that was in it"),
    (b"\x27\x05\x19\x56", "a U-Boot image", "take its header of 64 bytes off: tail -c +65 {}"),
    (b"\x7fELF", "a program (ELF)", "give the devicetree: a blob, or its source"),
)
# So many bytes tell.
LONGEST = max(len(magic) for magic, _, _ in _KINDS)


def foreign(file: str, beginning: bytes) -> Diagnostic | None:
    """Why the file `file`, of that `beginning`, is no devicetree; None where it may be one."""
    for magic, what, remedy in _KINDS:
        if beginning.startswith(magic):
            return Diagnostic(
                id="malformed",
                what=f"this is {what}, not a devicetree",
                hint=remedy.format(file),
                where=Where(file),
            )
    return None
