# SPDX-License-Identifier: Apache-2.0
"""The hosts to measure on, and for each a guest that asks for one of its devices."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import libfdt

from bench.environments import CHECKOUT
from bench.generate import SMMUS, generated_host
from bench.measure import clean_environment
from west_viommu.names import PROFILES

SIZES = (1000, 2000, 5000, 10000, 20000)
SMALL, TYPICAL, LARGEST = "small", "typical", "largest"
# What "typical" means: a full board, as Linux has it.
_TYPICAL_BYTES = 110_000
# The profile that bind takes if no profile is named.
_DEFAULT = ("--profile", PROFILES[0])
DOMAINS = 50
# The header of an arm64 Image.
_KERNEL = bytes(56) + b"ARMd" + bytes(4)
_BUNDLED = ("samples/demo/host.dts", "samples/passthrough/host.dts", "tests/hosts/two-smmus.dts")


class Host(NamedTuple):
    """A host blob, and a guest that asks for its `device`. The guest is bound to `bindable`, which
    is the host or a copy of it that was changed as `note` says. Without a guest, `device` is "".
    `audited`: an xl.cfg that gives two of its nodes, if it has as many with registers and lines.
    `kernel`: what begins as an arm64 Image. `system`: a system.yml of DOMAINS guests of a generated
    host, each with a device.
    """

    name: str
    bytes: int
    blob: Path
    bindable: Path
    guest: Path
    device: str
    note: str
    audited: Path | None = None
    kernel: Path | None = None
    system: Path | None = None


class Viommu:
    """The program to measure, as a means to find what can be bound."""

    def __init__(self, bin_folder: Path):
        self.program = bin_folder / "viommu"

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """`viommu ARGUMENT...`."""
        command = [str(self.program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=clean_environment())


def real_hosts(viommu: Viommu, folder: Path) -> dict[str, Host]:
    """By SMALL, TYPICAL and LARGEST: blobs of VIOMMU_CORPUS of which a device can be bound; where
    that is not set, blobs of what is bundled, which has no typical one. `folder` is to write to.
    """
    corpus = os.environ.get("VIOMMU_CORPUS")
    files = sorted(Path(corpus).glob("*.dtb")) if corpus else _bundled(folder)
    hosts = [_host(file.stem, _used(file.read_bytes()), file, viommu, folder) for file in files]
    by_size = sorted((host for host in hosts if host.device), key=lambda host: host.bytes)
    small = min(by_size, key=lambda host: (host.note, host.bytes))
    if not corpus:
        return {SMALL: small, LARGEST: by_size[-1]}
    typical = min(by_size, key=lambda host: abs(host.bytes - _TYPICAL_BYTES))
    return {SMALL: small, TYPICAL: typical, LARGEST: by_size[-1]}


def generated_hosts(viommu: Viommu, folder: Path) -> dict[int, Host]:
    """By the number of devices."""
    found = {}
    for devices in SIZES:
        file = folder / f"generated-{devices}.dtb"
        file.write_bytes(generated_host(devices))
        name = f"{devices:,} devices behind {SMMUS} SMMUs"
        found[devices] = _host(name, file.stat().st_size, file, viommu, folder)
    last = found[SIZES[-1]]
    found[SIZES[-1]] = last._replace(system=_system(last.blob, viommu, folder))
    return found


def _system(blob: Path, viommu: Viommu, folder: Path) -> Path:
    """Bind guests with a device each to `blob`, and write the system.yml of them all."""
    listed = viommu.run(*("list", "--passable", "--format", "json", *_DEFAULT), "--host", blob)
    domains: list[str] = []
    for master in json.loads(listed.stdout)["masters"]:
        name = f"d{len(domains)}"
        overlay = folder / f"{name}.overlay"
        overlay.write_text(viommu.run("extract", "--host", blob, master["path"]).stdout)
        bound = viommu.run("bind", "--host", blob, "-o", folder / name, overlay)
        if bound.returncode == 0:
            domains.append(f"  {name}: {{build: {name}}}\n")
        if len(domains) == DOMAINS:
            break
    file = folder / "system.yml"
    file.write_text(f"host: {blob}\ndomains:\n{''.join(domains)}")
    return file


def _bundled(folder: Path) -> list[Path]:
    compiled = []
    for name in _BUNDLED:
        source = CHECKOUT / name
        blob = folder / f"{source.parent.name}-{source.stem}.dtb"
        command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(blob), str(source)]
        subprocess.run(command, check=True)
        compiled.append(blob)
    return compiled


def _used(blob: bytes) -> int:
    """What is not padding: QEMU's blobs have much."""
    fdt = libfdt.FdtRo(blob)
    used: int = fdt.off_dt_struct() + fdt.size_dt_struct() + fdt.size_dt_strings()
    return used


def _host(name: str, size: int, blob: Path, viommu: Viommu, folder: Path) -> Host:
    guest = folder / f"{blob.stem}.overlay"
    for device, bindable, note in _candidates(blob, viommu, folder):
        extracted = viommu.run("extract", "--host", bindable, device)
        guest.write_text(extracted.stdout)
        if viommu.run("bind", "--host", bindable, "-o", folder / "tried", guest).returncode == 0:
            audited = _configuration(bindable, viommu, folder)
            kernel = folder / "Image"
            kernel.write_bytes(_KERNEL)
            return Host(name, size, blob, bindable, guest, device, note, audited, kernel)
    return Host(name, size, blob, blob, guest, "", "no device of it can be bound")


def _configuration(blob: Path, viommu: Viommu, folder: Path) -> Path | None:
    """Write what a person would, who gives a guest two devices by xl."""
    listed = viommu.run("list", "--all", "--format", "json", "--host", blob, "--profile", "xen")
    nodes = [
        node
        for node in json.loads(listed.stdout)["masters"]
        if node["regions"] and node["intids"] and "shared-page" not in node["hazards"]
    ][:2]
    if len(nodes) < 2:
        return None
    pages = [
        f'"{region["base"] >> 12:x},{-(-region["size"] >> 12):x}"'
        for node in nodes
        for region in node["regions"]
    ]
    lines = [str(intid) for node in nodes for intid in node["intids"]]
    file = folder / f"{blob.stem}.cfg"
    file.write_text(
        f'name = "guest"\nirqs = [ {", ".join(lines)} ]\niomem = [ {", ".join(pages)} ]\n'
    )
    return file


def _candidates(blob: Path, viommu: Viommu, folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Devices that may be bound, each with the host for that, and how it was changed."""
    passable = viommu.run("list", "--passable", "--format", "json", *_DEFAULT, "--host", blob)
    for master in json.loads(passable.stdout)["masters"]:
        yield master["path"], blob, ""
    # The devices of many a real board have their stream IDs from iommu-map, which Xen does not
    # program. Its users then write `iommus` into the host tree.
    found = json.loads(viommu.run("list", "--format", "json", "--host", blob).stdout)
    for master in found["masters"]:
        if master["maps"] and not master["streams"]:
            file = folder / f"{blob.stem}-iommus.dtb"
            file.write_bytes(_with_iommus(blob.read_bytes(), master))
            yield master["path"], file, "iommus in place of its iommu-map"


def _with_iommus(blob: bytes, master: dict[str, Any]) -> bytes:
    """`blob` with the first ID of the map of `master` as its `iommus`, cut to the 16 bits that a
    guest's IDs have.
    """
    fdt = libfdt.Fdt(blob)
    fdt.resize(len(blob) + 64)
    first = master["maps"][0]
    iommu = fdt.get_phandle(fdt.path_offset(first["iommu"]))
    node = fdt.path_offset(master["path"])
    fdt.delprop(node, "iommu-map")
    node = fdt.path_offset(master["path"])
    stream_id = first["id"] & 0xFFFF
    fdt.setprop(node, "iommus", iommu.to_bytes(4, "big") + stream_id.to_bytes(4, "big"))
    return bytes(fdt.as_bytearray())
