# SPDX-License-Identifier: Apache-2.0
"""Several guests of one host as functions: the job of `viommu system`, for a build tool in Python.

>>> from west_viommu.api_system import judged, read_system, render_system, write_system
>>> system = read_system("system.yml")
>>> found = judged(system)
>>> for mark in found.marks:
...     print(mark.node, "of", found.owners[mark.device])
/soc@e0000000/ethernet@100000 of net
/soc@e0000000/dma-controller@200000 of dma
>>> files = render_system(system, found)
>>> write_system(files, "out")

Two domains that conflict on one host are refused, with all conflicts:

>>> from west_viommu.api import Refused
>>> try:
...     judged(read_system("clash.yml"))
... except Refused as refused:
...     for problem in refused.problems:
...         print(problem.id, problem.where)
duplicate-assignment Where(file='clash.yml', line=5)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from west_viommu.api import Host, read_host
from west_viommu.diagnostics import Diagnostic, Refused, Where, bounded
from west_viommu.hazards.parts import Wanted, has_all
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.drivers import has_smmuv3
from west_viommu.names import (
    BOOT_SCRIPT,
    HOST_OVERLAY,
    IMAGEBUILDER,
    MARKS_BLOB,
    MARKS_OVERLAY,
    PLAN,
    PROFILES,
    SYSTEM,
    TOOLSTACKS,
    XEN_TREE,
    XL_SUFFIX,
    partial_tree,
)
from west_viommu.plan.plan import Plan, PlanHost
from west_viommu.read.guest import sealed_plan
from west_viommu.read.plain_file import NotPlain, pieces, unreadable
from west_viommu.read.profiles import profile as profile_of
from west_viommu.read.settings import check_hardware_domain, check_host, version_of
from west_viommu.read.system import (
    Entry,
    OwnFiles,
    SystemFile,
    read_built,
    read_folders,
    system_file,
)
from west_viommu.system.boot import boot, files_of, files_of_dom0, is_placed
from west_viommu.system.judge import judge
from west_viommu.system.kernels import Ends, Kernel, kernel
from west_viommu.system.layout import ALIGNMENT
from west_viommu.system.records import (
    Dom0,
    Domain,
    DomainFile,
    DomainFiles,
    Judged,
    SystemTerms,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.digest import digest, sha256, size_and_sum
from west_viommu.write.boot import boot_script_of, imagebuilder_config, is_plain_name, name_on_board
from west_viommu.write.documents import system_json
from west_viommu.write.files import SystemOutput
from west_viommu.write.host_overlay import marks_overlay, system_overlay
from west_viommu.write.trees import Compilers, xen_tree
from west_viommu.write.xl import xl_domain

__all__ = [
    "Domain",
    "Judged",
    "System",
    "judged",
    "read_built",
    "read_folders",
    "read_system",
    "render_system",
    "system_of",
    "write_system",
]

_KERNEL = "zephyr/zephyr.bin"
# For one kernel, ten times the largest that anybody gives to a guest. All kernels may take twice as
# much.
_MOST_OF_A_KERNEL = 1 << 28
_MOST_OF_ALL = 1 << 29
# For one plan. Each after the first requests the same devices again.
_MOST_DOMAINS = 16


class System(NamedTuple):
    """The guests of a host, read and not yet judged. `sha256`: of the host's tree. `files`: the
    files of each domain, by its name, with paths from the folder `base` on.
    """

    base: str
    host: Host
    sha256: str
    terms: SystemTerms
    domains: tuple[Domain, ...]
    files: Mapping[str, DomainFiles]
    dom0: Dom0 | None = None
    ram: tuple[Region, ...] = ()
    xen: str = "xen"
    xen_size: int = ALIGNMENT


def read_system(
    path: str | os.PathLike[str],
    host: str | None = None,
    profile: str | None = None,
    include_dirs: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> System:
    """Return the system of a system.yml; `host` and `profile` override the file's. For a host in
    source, the preprocessor gets `include_dirs`, and `defines` as NAME or NAME=VALUE.

    Raises Refused, with all mistakes, also if a plan is incomplete, or is for another host or
    profile.
    """
    said = system_file(os.fspath(path))
    chosen = said._replace(profile=profile or said.profile)
    if host:
        chosen = chosen._replace(host=host, host_where=None)
    return system_of(chosen, include_dirs, defines)


def system_of(
    said: SystemFile, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> System:
    """Read the files that `said` names, and return the system. Raises Refused, as `read_system`."""
    problems: list[Diagnostic] = []
    plans = _plans(said.domains, problems)
    if not said.host:
        problems.append(_no_host(said))
    if problems or not said.host:
        raise Refused(problems)
    check_host(said.host, said.host_where)
    host = read_host(said.host, include_dirs, defines)
    name = said.profile or next(plan.profile for plan, _ in plans.values())
    if not said.profile and name not in PROFILES:
        what = f"the plans use a profile of the user's own, {name}"
        place = "system.yml" if said.file else "viommu.yml"
        hint = f"name its file: profile: FILE in {place}, or --profile FILE"
        raise Refused(
            [Diagnostic(id="unreadable", what=what, hint=hint, where=said.domains[0].where)]
        )
    chosen = profile_of(name, None)
    own = PlanHost(host.model, digest(host.devices.tree))
    for entry in said.domains:
        plan, _ = plans[entry.name]
        other = list(_other_plan(entry, plan, host.name, own, chosen.name))
        problems += other or _changed(entry, plan, host.devices)
    sums = Sums(said.base)
    files = {e.name: _files(e, plans[e.name], sums, problems) for e in said.domains}
    dom0 = _dom0(said.dom0, sums, problems) if said.dom0 else None
    if problems:
        raise Refused(problems)
    domains = tuple(_domain(entry, plans[entry.name][0]) for entry in said.domains)
    check_hardware_domain(said, chosen)
    terms = SystemTerms(
        chosen,
        said.has_dom0,
        said.permissions,
        version_of(said, chosen),
        said.has_hardware_domain,
    )
    return System(said.base, host, own.sha256, terms, domains, files, dom0)


def judged(system: System) -> Judged:
    """Return which domain has which resources of the host, and the conflicts. Raises Refused if an
    error forbids the files.
    """
    verdict = judge(system.domains, system.host.devices, system.terms)
    found = boot(
        system.domains,
        system.files,
        system.host.devices,
        system.terms,
        system.dom0,
        system.ram,
        system.xen_size,
    )
    problems = bounded((*verdict.problems, *found.problems))
    if any(not problem.warning for problem in problems):
        raise Refused(problems)
    return verdict._replace(domains=found.domains, problems=problems, boot=found)


def render_system(
    system: System, found: Judged, folder: str | os.PathLike[str] = "."
) -> dict[str, bytes]:
    """Return the files of a system by name, in the order of writing: system.json, which has the
    sums of the others, is the last. They name each other by paths from `system.base` on, as if they
    were in `folder`. Without dtc, marks.dtbo is missing.
    """
    here = os.path.relpath(os.fspath(folder), system.base)
    marks = marks_overlay(found)
    has_chosen = system.host.devices.tree.node("/chosen") is not None
    whole = system_overlay(found, system.files, has_chosen=has_chosen)
    with Compilers({MARKS_OVERLAY: marks, HOST_OVERLAY: whole}) as compilers:
        files = {
            HOST_OVERLAY: whole.encode(),
            MARKS_OVERLAY: marks.encode(),
        }
        compiled = compilers.blobs()
    if MARKS_OVERLAY in compiled:
        files[MARKS_BLOB] = compiled[MARKS_OVERLAY]
        if any(is_placed(domain, system.files[domain.name]) for domain in found.domains):
            files |= _boot_files(system, found, compiled[HOST_OVERLAY], here)
    if _has_all(found, system.files, "dom0less") and MARKS_BLOB in files:
        overlay = Path(here, MARKS_BLOB).as_posix()
        text = imagebuilder_config(found, system.files, overlay)
        files[IMAGEBUILDER] = os.fsencode(text)
    for domain in found.domains:
        made_of = system.files[domain.name]
        if "libxl" in made_of.trees and made_of.kernel:
            is_smmuv3 = has_smmuv3(system.host.devices, domain.plan.iommus)
            text = xl_domain(domain, made_of, found.terms.profile, has_smmuv3=is_smmuv3)
            files[domain.name + XL_SUFFIX] = os.fsencode(text)
    sums = {name: sha256(data) for name, data in files.items()}
    files[SYSTEM] = system_json(found, system.files, system.sha256, sums)
    return files


def _boot_files(system: System, found: Judged, overlay: bytes, here: str) -> dict[str, bytes]:
    """Return xen.dtb, the host's tree with `overlay` applied, and boot.cmd, if Xen creates every
    domain and has a dom0 or needs none. `here`: the path of the output folder from the system's
    folder.
    """
    tree = xen_tree(system.host.name, system.host.devices.tree, overlay)
    if tree is None:
        return {}
    files = {XEN_TREE: tree}
    if not why_no_script(system, found):
        own = Path(here, XEN_TREE).as_posix()
        files[BOOT_SCRIPT] = boot_script_of(found, system.files, system.xen, own).encode()
    return files


def why_no_script(system: System, found: Judged) -> str:
    """Return why there is no boot.cmd; "" if there is one."""
    if not system.terms.profile.toolstacks:
        return "its profile has no Xen"
    if not found.boot or found.boot.xen is None:
        hint = "give it by --ram BASE:SIZE, or give the board's /proc/device-tree as the host"
        return f"the host tree states no RAM: {hint}"
    lacking = [d.name for d in found.domains if not is_placed(d, system.files[d.name])]
    if lacking:
        return f"Xen does not create {' and '.join(lacking)}, without a kernel or a partial tree"
    if system.terms.has_dom0 and not found.boot.dom0:
        return "no kernel of dom0 is named: write dom0: {kernel: FILE}, or dom0: none"
    if system.terms.has_hardware_domain:
        return "xen.dtb lacks the hardware domain: add its node to /chosen, behind all others"
    names: dict[str, str] = {}
    for path in _loaded(system, found):
        name = name_on_board(path)
        if not is_plain_name(name):
            return f"the shell of U-Boot does not take the name {name!r}: rename the file"
        if names.setdefault(name, path) != path:
            return f"two files would have the name {name} on the board: rename one"
    return ""


def _loaded(system: System, found: Judged) -> Iterator[str]:
    """Yield the paths of the files that boot.cmd loads, except xen.dtb."""
    yield system.xen
    for domain in found.domains:
        for _, file, _ in files_of(domain, system.files[domain.name]):
            yield file.file
    if found.boot and found.boot.dom0:
        for _, file, _ in files_of_dom0(found.boot.dom0):
            yield file.file


def notes(system: System, found: Judged, files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield notes for the user about files that were not written."""
    # A profile without toolstacks gets neither configurations nor partial trees.
    for domain in system.domains if system.terms.profile.toolstacks else ():
        made_of = system.files[domain.name]
        if not made_of.kernel:
            hint = "build it, or name its kernel in a system.yml"
            yield f"{domain.name} has no kernel yet: no configuration names it; {hint}"
        if not made_of.trees:
            yield f"{domain.name} has no partial tree that is a blob: bind it where there is dtc"
    is_complete = not system.terms.has_dom0 or (found.boot or system).dom0
    if XEN_TREE in files and BOOT_SCRIPT not in files and is_complete:
        yield f"no {BOOT_SCRIPT}: {why_no_script(system, found)}"
    if MARKS_BLOB not in files:
        yield "no dtc: marks.dtbo and what needs it are missing; install device-tree-compiler"


def write_system(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write `files` into `folder`, and replace the files of an earlier run. Raises Refused as
    `west_viommu.api.write` does.
    """
    with SystemOutput(Path(folder)) as output:
        output.write(files)


def _has_all(verdict: Judged, files: Mapping[str, DomainFiles], toolstack: str) -> bool:
    """Return whether `files` suffice for that toolstack to create every domain."""
    made_of = [files[domain.name] for domain in verdict.domains]
    return all(files_of.kernel and toolstack in files_of.trees for files_of in made_of)


def _plans(entries: Iterable[Entry], problems: list[Diagnostic]) -> dict[str, tuple[Plan, Path]]:
    """Return the plan of each domain, and the folder that contains it."""
    plans = {}
    known: dict[str, Plan | None] = {}
    domains: dict[str, int] = {}
    for entry in entries:
        folder = Path(entry.build)
        if not os.path.isfile(folder / PLAN) and os.path.isdir(folder / "viommu"):
            folder /= "viommu"
        place = os.path.realpath(folder)
        domains[place] = domains.get(place, 0) + 1
        if domains[place] > _MOST_DOMAINS:
            if domains[place] == _MOST_DOMAINS + 1:
                problems.append(_too_many(entry, folder))
            continue
        try:
            plan = known[place] = known.get(place) or sealed_plan(folder)
        except Refused as refused:
            problems += refused.problems
            continue
        if plan is None:
            what = f"{entry.name} has no plan: there is no {PLAN}"
            hint = "build it, or run viommu bind: name the folder that it writes"
            found_in = str(folder)
            problems.append(
                Diagnostic(id="unreadable", what=what, hint=hint, found=found_in, where=entry.where)
            )
        else:
            plans[entry.name] = plan, folder
    return plans


def _too_many(entry: Entry, folder: Path) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what=f"more than {_MOST_DOMAINS} domains have one plan",
        hint="give each guest a build and a plan of its own",
        found=str(folder),
        where=entry.where,
    )


def _other_plan(
    entry: Entry, plan: Plan, name: str, host: PlanHost, chosen: str
) -> Iterator[Diagnostic]:
    """Yield the problems of a plan that belongs to another system. `name`: the host's name in
    messages.
    """
    if plan.host.sha256 != host.sha256:
        yield Diagnostic(
            id="malformed",
            what=f"{entry.name} was bound to another host tree",
            hint=f"bind all of them to {name}: as it is, nobody can tell whose devices are whose",
            expected=_of_host(host),
            found=_of_host(plan.host),
            where=entry.where,
        )
    if plan.profile != chosen:
        yield Diagnostic(
            id="malformed",
            what=f"{entry.name} was bound with another profile",
            hint="one Xen runs all of them: bind it with the same",
            expected=chosen,
            found=plan.profile,
            where=entry.where,
        )


def _changed(entry: Entry, plan: Plan, devices: Devices) -> Iterator[Diagnostic]:
    """Yield the parts of a plan for this host that `devices` do not have: viommu.json has no sum of
    its own.
    """
    for device in plan.devices:
        master = devices.master(device.host)
        streams = [Wanted(StreamId(stream.pmaster), stream.iommu) for stream in device.streams]
        if not devices.tree.node(device.host) or (streams and not has_all(master, streams)):
            yield Diagnostic(
                id="malformed",
                what=f"the plan of {entry.name} gives {device.node} what the host tree does not "
                "have",
                hint="bind it again: its viommu.json is not as it was written",
                expected="a host node, and the stream IDs of that",
                found=" ".join([device.host, *(f"{stream.id:#x}" for stream in streams)]),
                where=entry.where,
            )


def _of_host(host: PlanHost) -> str:
    return f"{host.model or 'a host without a model name'} ({host.sha256[:12]})"


def _files(
    entry: Entry, plan: tuple[Plan, Path], sums: Sums, problems: list[Diagnostic]
) -> DomainFiles:
    sealed, folder = plan
    trees = {
        toolstack: sums.found(folder / name)
        for toolstack in TOOLSTACKS
        for name in [partial_tree(toolstack, ".dtb")]
        if name in sealed.files
    }
    build = folder.parent if folder.name == "viommu" else folder
    kernel = Path(entry.kernel) if entry.kernel else build / _KERNEL

    place = entry.places.get("kernel", entry.where)
    of_kernel = sums.module(str(kernel), problems, place, may_lack=not entry.kernel)
    of_ramdisk = entry.places.get("ramdisk", entry.where)
    return DomainFiles(
        plan=sums.found(folder / PLAN),
        kernel=of_kernel,
        trees=trees,
        ramdisk=sums.module(entry.ramdisk, problems, of_ramdisk) if entry.ramdisk else None,
        image=sums.image(kernel) if of_kernel else None,
    )


def _dom0(said: OwnFiles, sums: Sums, problems: list[Diagnostic]) -> Dom0 | None:
    kernel = sums.module(said.kernel, problems, said.where)
    ramdisk = sums.module(said.ramdisk, problems, said.where) if said.ramdisk else None
    if kernel is None:
        return None
    return Dom0(kernel, sums.image(Path(said.kernel)), said.where, ramdisk, said.bootargs)


class Sums:
    """The files of the domains, by paths from `base` on. Each is read once, as many domains may
    share it.
    """

    def __init__(self, base: str):
        self._base = base
        self._known: dict[Path, DomainFile] = {}
        self._images: dict[Path, Kernel | str] = {}
        self._room = _MOST_OF_ALL

    def found(self, file: Path, *, is_kernel: bool = False) -> DomainFile:
        """Return the record of `file`. Raises OSError, also if there are more kernels than are
        read.
        """
        if file not in self._known:
            if is_kernel and self._room < 0:
                what = f"the kernels before it have more than {_MOST_OF_ALL} bytes together"
                raise NotPlain(str(file), what, "name the right files: none is as large")
            ends = Ends()
            read = pieces(str(file), _MOST_OF_A_KERNEL)
            size, digest = size_and_sum(ends.of(read) if is_kernel else read)
            self._room -= size
            if is_kernel:
                self._images[file] = kernel(ends, size)
            path = Path(os.path.relpath(file, self._base)).as_posix()
            self._known[file] = DomainFile(path, size, digest)
        return self._known[file]

    def module(
        self,
        file: str,
        problems: list[Diagnostic],
        where: Where | None = None,
        *,
        may_lack: bool = False,
    ) -> DomainFile | None:
        """Return the kernel or ramdisk `file`. If it cannot be read, return None and report a
        problem at `where` (else about the file), unless it `may_lack`.
        """
        try:
            return self.found(Path(file), is_kernel=True)
        except OSError as error:
            if not (may_lack and isinstance(error, FileNotFoundError)):
                problem = unreadable(file, error, "build it, or correct its path")
                problems.append(problem._replace(where=where, found=file) if where else problem)
            return None

    def image(self, file: Path) -> Kernel | str:
        """Return the kernel in a `file` that was found, or a description of another file."""
        return self._images[file]


def _domain(entry: Entry, plan: Plan) -> Domain:
    has_vpl011 = "vpl011" in plan.domain if entry.vpl011 is None else entry.vpl011
    made = Domain(
        name=entry.name,
        plan=plan,
        where=entry.where,
        has_vpl011=has_vpl011,
        load=entry.load,
        bootargs=entry.bootargs,
        places=entry.places,
    )
    return made._replace(cpus=entry.cpus or made.cpus, memory=entry.memory or made.memory)


def _no_host(said: SystemFile) -> Diagnostic:
    hint = "give --host HOST, or name it in viommu.yml"
    if said.file:
        hint = "write host: FILE into system.yml, give --host HOST, or set VIOMMU_HOST_DTB"
    return Diagnostic(
        id="no-host", what="no host tree is named", hint=hint, where=said.domains[0].where
    )
