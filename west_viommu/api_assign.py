# SPDX-License-Identifier: Apache-2.0
"""From devices to files that boot, as functions: the job of `viommu assign`.

The devices are extracted, moved to free addresses of the guest if they must be, bound, and judged
as a system of one domain. Then everything that Xen and a boot loader need is written.
"""

import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from west_viommu.api import (
    Host,
    Planned,
    binding_directories,
    copied_node,
    planned_by,
    read_guest,
    read_host,
    render,
)
from west_viommu.api_system import Sums, System, judged, why_no_script
from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.extract.copy import Copied
from west_viommu.extract.place import placed
from west_viommu.host.inventory import Master
from west_viommu.host.lookup import labels, node_called
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.drivers import has_smmuv3
from west_viommu.names import (
    BOOT_SCRIPT,
    GUEST_OVERLAY,
    HOST_OVERLAY,
    PLAN,
    XEN_TREE,
    XL_CFG,
    partial_tree,
)
from west_viommu.plan.host_devices import device_reports
from west_viommu.read.settings import Settings, terms
from west_viommu.system.boot import files_of, files_of_dom0, module
from west_viommu.system.kernels import HEAD_BYTES, image_size
from west_viommu.system.layout import ALIGNMENT
from west_viommu.system.records import (
    Dom0,
    Domain,
    DomainFile,
    DomainFiles,
    Judged,
    Load,
    SystemTerms,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.digest import digest, sha256
from west_viommu.tree.node import Node
from west_viommu.write.boot import boot_script_of
from west_viommu.write.documents import plan_json
from west_viommu.write.guest_node import apart, guest_nodes, stubs
from west_viommu.write.host_overlay import system_overlay
from west_viommu.write.trees import Compilers, xen_tree
from west_viommu.write.xl import xl_domain

__all__ = ["Assigned", "Wish", "assigned", "passable", "render_assigned"]

_MIB = 20
# The console of a guest: the UART that Xen emulates (vpl011), or the one of xl, which has no vuart.
_CONSOLES = {"dom0less": "console=ttyAMA0", "xl": "console=hvc0"}


class Wish(NamedTuple):
    """The arguments of `viommu assign`: the nodes of the host by any name; the guest's `name`,
    kernel, ramdisk (paths), command line, `memory` in MiB, CPUs and toolstack; dom0's kernel and
    ramdisk (paths); the hypervisor's image; the RAM of the host if its tree states none; the
    load addresses that the user chose; and Zephyr's folder of bindings, if the guest is Zephyr.
    """

    nodes: tuple[str, ...]
    kernel: str
    name: str = "guest"
    ramdisk: str | None = None
    bootargs: str | None = None
    memory: int = 512
    cpus: int = 1
    toolstack: str = "dom0less"
    dom0_kernel: str | None = None
    dom0_ramdisk: str | None = None
    xen: str = "xen"
    ram: tuple[Region, ...] = ()
    load: Load = Load()
    zephyr_bindings: str | None = None


class Assigned(NamedTuple):
    """A domain that can be written: its devices as a guest's source, its plan, the files that bind
    would write, the judged system of this domain alone, and the choices made, as text.
    """

    overlay: str
    planned: Planned
    files: Mapping[str, bytes]
    system: System
    found: Judged
    choices: tuple[str, ...]


def passable(
    host_file: str,
    chosen: Settings,
    include_dirs: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> list[Master]:
    """Return the masters of a host that a guest could have as they are, by the settings `chosen`.
    Raises Refused.
    """
    devices = read_host(host_file, include_dirs, defines).devices
    reports = device_reports(devices, terms(chosen))
    return [master for master in devices.masters if not reports[master.path].refused]


def assigned(
    host_file: str,
    wish: Wish,
    chosen: Settings,
    include_dirs: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> Assigned:
    """Return the domain that has the devices of `wish`, by the settings `chosen`. Raises Refused
    with all that is wrong.
    """
    host = read_host(host_file, include_dirs, defines)
    nodes = _nodes(host, wish.nodes)
    chosen = chosen._replace(
        has_dom0=wish.dom0_kernel is not None,
        domain=chosen.domain | {"vpl011"},
        cpus=wish.cpus,
    )
    agreed = terms(chosen)
    along = [node.path for node in nodes]
    bindings = binding_directories(wish.zephyr_bindings)
    copies = placed(
        [copied_node(host, node, bindings, along) for node in nodes],
        host.devices,
        agreed.profile,
        chosen.domain,
        wish.memory << _MIB,
    )
    overlay = guest_nodes(
        apart([*stubs(copies), *copies]),
        os.path.basename(os.path.abspath(host.name)),
        host.model,
        labels(host.devices.tree),
        is_blob=host.devices.tree.source is None,
    )
    planned = _bound(host, overlay, chosen)
    files = render(planned)
    toolstack = _toolstack(wish)
    if partial_tree(toolstack, ".dtb") not in files:
        raise Refused([_no_blob(planned, toolstack)])
    system = _system(host, planned, files, wish, agreed)
    found = judged(system)
    if reason := why_no_script(system, _booted(found, toolstack)):
        raise Refused([_no_script(reason, wish.kernel)])
    return Assigned(
        overlay=overlay,
        planned=planned,
        files=files,
        system=system,
        found=found,
        choices=tuple(_choices(copies, system, found)),
    )


def render_assigned(made: Assigned, wish: Wish) -> dict[str, bytes]:
    """Return the files by name, in the order of writing; viommu.json is the last. Raises Refused if
    dtc's tools, which make the blobs, are missing.
    """
    files = {name: data for name, data in made.files.items() if name != PLAN}
    toolstack = _toolstack(wish)
    found, system = made.found, made.system
    files[GUEST_OVERLAY] = made.overlay.encode()
    created = _booted(found, toolstack)
    has_chosen = system.host.devices.tree.node("/chosen") is not None
    text = system_overlay(created, system.files, has_chosen=has_chosen)
    files[HOST_OVERLAY] = text.encode()
    with Compilers({HOST_OVERLAY: text}) as compilers:
        blob = compilers.blobs()[HOST_OVERLAY]
    tree = xen_tree(system.host.name, system.host.devices.tree, blob)
    if tree is None:
        raise Refused([_no_blob(made.planned, toolstack)])
    files[XEN_TREE] = tree
    script = boot_script_of(created, system.files, system.xen, XEN_TREE)
    files[BOOT_SCRIPT] = script.encode()
    if toolstack == "libxl":
        (domain,) = found.domains
        is_smmuv3 = has_smmuv3(system.host.devices, domain.plan.iommus)
        text = xl_domain(
            domain,
            system.files[domain.name],
            made.planned.profile,
            has_smmuv3=is_smmuv3,
            is_alone=True,
        )
        files[XL_CFG] = text.encode(errors="surrogateescape")
    # The plan is the seal: the last, with the sums of the others.
    return {**files, PLAN: plan_json(made.planned.plan, files).encode()}


def _toolstack(wish: Wish) -> str:
    return "libxl" if wish.toolstack == "xl" else "dom0less"


def _booted(found: Judged, toolstack: str) -> Judged:
    """Return the system that Xen starts: xl creates its domain later."""
    return found if toolstack == "dom0less" else found._replace(domains=())


def _nodes(host: Host, names: Sequence[str]) -> list[Node]:
    """Return the nodes named. Raises Refused with every name that matches no node."""
    found = [node_called(host.devices, name) for name in names]
    problems = [each for each in found if isinstance(each, Diagnostic)]
    if problems:
        raise Refused(problems)
    nodes = (each for each in found if isinstance(each, Node))
    return list({node.path: node for node in nodes}.values())


def _bound(host: Host, overlay: str, chosen: Settings) -> Planned:
    """Return the plan for the guest of `overlay`. Raises Refused with host nodes as places: the
    overlay is no file of the user's.
    """
    with tempfile.TemporaryDirectory(prefix="viommu-") as folder:
        file = Path(folder, GUEST_OVERLAY)
        file.write_text(overlay)
        guest = read_guest([file])
        try:
            planned = planned_by(host, guest._replace(names=(GUEST_OVERLAY,)), chosen)
        except Refused as refused:
            raise Refused(_of_host(host, refused.problems)) from None
    return planned._replace(problems=tuple(_of_host(host, planned.problems)))


def _of_host(host: Host, problems: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    for problem in problems:
        is_of_overlay = problem.where and posixpath.basename(problem.where.file) == GUEST_OVERLAY
        yield problem._replace(where=Where(host.name)) if is_of_overlay else problem


def _system(
    host: Host, planned: Planned, blobs: Mapping[str, bytes], wish: Wish, agreed: Terms
) -> System:
    """Return the system of the one domain. Raises Refused if a file of it cannot be read."""
    problems: list[Diagnostic] = []
    sums = Sums(os.curdir)

    def module(path: str | None) -> DomainFile | None:
        """Return the file by its name alone: all files lie in one folder on the board."""
        file = sums.module(path, problems) if path else None
        return file and file._replace(file=posixpath.basename(file.file))

    kernel, ramdisk = module(wish.kernel), module(wish.ramdisk)
    dom0_kernel, dom0_ramdisk = module(wish.dom0_kernel), module(wish.dom0_ramdisk)
    xen_size = _size_of_xen(wish.xen, problems)
    problems += _of_one_name(wish)
    if problems:
        raise Refused(problems)
    trees = {
        toolstack: DomainFile(name, len(blobs[name]), sha256(blobs[name]))
        for toolstack in [_toolstack(wish)]
        for name in [partial_tree(toolstack, ".dtb")]
    }
    where = Where(wish.kernel)
    domain = Domain(
        name=wish.name,
        plan=planned.plan,
        where=where,
        cpus=wish.cpus,
        memory=wish.memory,
        has_vpl011=wish.toolstack == "dom0less",
        load=wish.load,
        bootargs=_CONSOLES[wish.toolstack] if wish.bootargs is None else wish.bootargs,
    )
    files = DomainFiles(
        plan=DomainFile(PLAN, 0, ""),
        kernel=kernel,
        trees=trees,
        ramdisk=ramdisk,
        image=sums.image(Path(wish.kernel)),
    )
    dom0 = None
    if dom0_kernel and wish.dom0_kernel:
        image = sums.image(Path(wish.dom0_kernel))
        place = Where(wish.dom0_kernel)
        dom0 = Dom0(dom0_kernel, image, place, dom0_ramdisk, "console=hvc0")
    return System(
        base=os.curdir,
        host=host,
        sha256=digest(host.devices.tree),
        terms=SystemTerms(
            agreed.profile, has_dom0=dom0 is not None, xen_version=agreed.xen_version
        ),
        domains=(domain,),
        files={wish.name: files},
        dom0=dom0,
        ram=wish.ram,
        xen=posixpath.basename(wish.xen),
        xen_size=xen_size,
    )


def _of_one_name(wish: Wish) -> Iterator[Diagnostic]:
    """Yield a problem for each file whose name in the folder on the board another file has: the
    boot loader would load one in place of the other. Under xl, the guest's folder is another.
    """
    of_boot = (wish.xen, wish.dom0_kernel, wish.dom0_ramdisk)
    of_guest = (wish.kernel, wish.ramdisk)
    own = (XEN_TREE, BOOT_SCRIPT, XL_CFG, partial_tree(_toolstack(wish), ".dtb"))
    folders = [of_boot, of_guest] if wish.toolstack == "xl" else [(*of_guest, *of_boot)]
    for paths in folders:
        known = dict.fromkeys(own, "a file that is written here")
        for path in filter(None, paths):
            name = posixpath.basename(path)
            other = known.setdefault(name, path)
            if os.path.abspath(other) != os.path.abspath(path):
                yield Diagnostic(
                    id="load-address",
                    what=f"two files would have the name {name} on the board",
                    hint="rename one",
                    expected=f"another name than that of {other}",
                    found=path,
                    where=Where(path),
                )


def _size_of_xen(file: str, problems: list[Diagnostic]) -> int:
    """Return the bytes that the hypervisor takes in memory, by its header; 2 MiB if `file` is not
    here, as it may exist only on the board.
    """
    from west_viommu.read.plain_file import beginning, unreadable

    try:
        size = image_size(beginning(file, HEAD_BYTES))
    except OSError as error:
        if os.path.dirname(file) or not isinstance(error, FileNotFoundError):
            hint = "correct its path; if only the board has it, give the name alone"
            problems.append(unreadable(file, error, hint))
        return ALIGNMENT
    if size is None:
        what = "booti of U-Boot cannot boot this as a hypervisor"
        hint = "name Xen's own image, xen of its build: not xen.gz, xen-syms or an EFI program"
        problems.append(
            Diagnostic(id="malformed", what=what, hint=hint, where=Where(file), found="no header")
        )
    return size or ALIGNMENT


def _no_blob(planned: Planned, toolstack: str) -> Diagnostic:
    profile = planned.profile
    if toolstack not in profile.toolstacks:
        what = f"the hypervisor of the profile {profile.name} creates no domains this way"
        hint = "choose the profile of your Xen, or the other --toolstack"
    elif hindered := planned.hindered.get(toolstack):
        what, hint = f"nothing can be written: {hindered}", "choose the other --toolstack"
    else:
        what = "dtc and fdtoverlay, which make the blobs, are missing"
        hint = "install device-tree-compiler"
    return Diagnostic(id="unwritable", what=what, hint=hint)


def _no_script(reason: str, kernel: str) -> Diagnostic:
    what, _, hint = reason.partition(": ")
    return Diagnostic(id="load-address", what=what, hint=hint, where=Where(kernel))


def _choices(copies: Sequence[Copied], system: System, found: Judged) -> Iterator[str]:
    """Yield the choices made, as text."""
    for copy in copies:
        for remark in copy.remarks:
            yield f"{copy.host}: {remark}"
    (domain,) = found.domains
    if found.boot and found.boot.xen and found.boot.tree:
        yield f"Xen at {found.boot.xen.base:#x}, {XEN_TREE} at {found.boot.tree.base:#x}"
        for kind, file, address in files_of(domain, system.files[domain.name]):
            yield f"{module(kind, domain.name)} ({file.file}) at {address:#x}"
        for kind, file, address in files_of_dom0(found.boot.dom0) if found.boot.dom0 else ():
            yield f"{module(kind, 'dom0')} ({file.file}) at {address:#x}"
