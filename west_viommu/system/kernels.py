# SPDX-License-Identifier: Apache-2.0
"""Kernel images as Xen probes them: kernel_probe() in arch/arm/kernel.c (4.17; later versions take
the same formats).
"""

import zlib
from collections.abc import Iterable, Iterator
from struct import Struct, unpack_from
from typing import NamedTuple

# The header of an arm64 Image (Linux, Documentation/arch/arm64/booting.rst).
_ARM64 = Struct("<II3Q24xI4x")
_ARM64_MAGIC_V0 = 0x14000008
_ARM64_MAGIC_V1 = 0x644D5241
_UIMAGE = Struct(">7I4B32s")
_UIMAGE_MAGIC = 0x27051956
# The architectures of a uImage that Xen accepts: IH_ARCH_ARM and IH_ARCH_ARM64.
_UIMAGE_ARCHITECTURES = {2: False, 22: True}
_ZIMAGE32 = Struct("<36x3I")
_ZIMAGE32_MAGIC = 0x016F2818
_GZIP_MAGIC = b"\x1f\x8b"
# How other files begin that people give in place of a kernel.
_OTHERS = (
    (b"\x7fELF", "an ELF file"),
    (b"version https://git-lfs", "a pointer of Git LFS: run `git lfs pull`"),
    (b"\xd0\x0d\xfe\xed", "a devicetree blob"),
    (b"070701", "a cpio archive, as a ramdisk is"),
    (b"\xfd7zXZ\0", "a file compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd"),
    (b"MZ", "an EFI program"),
    (_GZIP_MAGIC, "another file compressed by gzip"),
)
# The bytes of a file that a probe needs: an arm64 Image below gzip.
HEAD_BYTES = 4096
_TAIL_BYTES = 4
# The bytes of a compressed file that are unpacked at a time.
_CHUNK = 1 << 20
_MOST_CHUNKS = 512
_MOST = b"\xff" * _TAIL_BYTES


class Kernel(NamedTuple):
    """A kernel: its `format`, the bytes that Xen copies into the guest (`size`), the bytes that the
    kernel needs there with its BSS (`extent`), the offset from the guest's RAM base at which Xen
    puts it, and the bytes of Xen's heap that a compressed kernel needs while Xen starts.
    """

    format: str
    size: int
    extent: int
    offset: int = 0
    is_64_bit: bool = True
    unpacked: int = 0


class Ends:
    """The parts of a file that a probe needs, from the pieces of the file: its first HEAD_BYTES, if
    it has as many, its last four bytes, and whether it is a damaged kernel below gzip.
    """

    def __init__(self) -> None:
        self.head = self.tail = b""
        self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._chunks = _MOST_CHUNKS
        self.is_damaged = False

    def of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the `pieces`."""
        is_packed = False
        for piece in pieces:
            if not self.head:
                self.head = piece[:HEAD_BYTES]
                is_packed = piece[:2] == _GZIP_MAGIC and _kernel(self.head, _MOST, 0) is not None
            self.tail = (self.tail + piece)[-_TAIL_BYTES:]
            if is_packed and self._chunks and not self.is_damaged:
                self._check(piece)
            yield piece
        self.is_damaged |= is_packed and bool(self._chunks) and not self._unzip.eof

    def _check(self, piece: bytes) -> None:
        """Unpack `piece`, and keep nothing of it."""
        try:
            while piece and not self._unzip.eof and self._chunks:
                self._unzip.decompress(piece, _CHUNK)
                piece = self._unzip.unconsumed_tail
                self._chunks -= 1
        except zlib.error:
            self.is_damaged = True
        # kernel_decompress() takes the last bytes of the file for the length that gzip appends.
        self.is_damaged |= self._unzip.eof and bool(piece or self._unzip.unused_data)


def kernel(ends: Ends, size: int) -> Kernel | str:
    """Return the kernel in a file of `size` bytes. If Xen recognizes no kernel in it, return a
    description of the file for a message.
    """
    if ends.is_damaged:
        return "a file compressed by gzip that is cut off or damaged"
    return _kernel(ends.head, ends.tail, size) or _other(ends.head)


def _other(head: bytes) -> str:
    if not head:
        return "an empty file"
    unknown = "text" if head[:64].isascii() and b"\0" not in head[:64] else head[:8].hex()
    return next((kind for magic, kind in _OTHERS if head.startswith(magic)), unknown)


def _kernel(head: bytes, tail: bytes, size: int) -> Kernel | None:
    if head[:2] != _GZIP_MAGIC:
        return _plain(head, size)
    try:
        inner = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
    except zlib.error:
        return None
    # kernel_decompress() uses the length that gzip appends.
    unpacked = int.from_bytes(tail, "little")
    found = _plain(inner, unpacked)
    return found and found._replace(format=f"{found.format}, gzip", unpacked=unpacked)


def image_size(head: bytes) -> int | None:
    """Return the bytes that an arm64 Image, such as the hypervisor's, needs in memory, by its
    header; None for another file.
    """
    if len(head) < _ARM64.size:
        return None
    _, _, _, size, _, magic = _ARM64.unpack_from(head)
    return size if magic == _ARM64_MAGIC_V1 else None


def _plain(head: bytes, size: int) -> Kernel | None:
    return _arm64(head, size) or _uimage(head, size) or _zimage32(head, size)


def _arm64(head: bytes, size: int) -> Kernel | None:
    """Return the kernel by kernel_zimage64_probe(): either magic is enough; Xen copies the whole
    file.
    """
    if len(head) < _ARM64.size:
        return None
    magic0, _, offset, extent, _, magic1 = _ARM64.unpack_from(head)
    if magic0 != _ARM64_MAGIC_V0 and magic1 != _ARM64_MAGIC_V1:
        return None
    # Linux clears its BSS, which the header counts and Xen does not.
    return Kernel("arm64 Image", size=size, extent=max(size, extent), offset=offset)


def _uimage(head: bytes, size: int) -> Kernel | None:
    """Return the kernel by kernel_uimage_probe()."""
    if len(head) < _UIMAGE.size:
        return None
    magic, _, _, length, _, _, _, _, architecture, _, _, _ = _UIMAGE.unpack_from(head)
    is_kernel = magic == _UIMAGE_MAGIC and architecture in _UIMAGE_ARCHITECTURES
    if not is_kernel or length > size - _UIMAGE.size:
        return None
    is_64_bit = _UIMAGE_ARCHITECTURES[architecture]
    return Kernel("uImage", size=length, extent=length, is_64_bit=is_64_bit)


def _zimage32(head: bytes, size: int) -> Kernel | None:
    """Return the kernel by kernel_zimage32_probe()."""
    if len(head) < _ZIMAGE32.size:
        return None
    magic, start, end = unpack_from("<3I", head, 36)
    if magic != _ZIMAGE32_MAGIC or not 0 <= end - start <= size:
        return None
    return Kernel("zImage", size=end - start, extent=end - start, is_64_bit=False)
