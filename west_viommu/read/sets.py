# SPDX-License-Identifier: Apache-2.0
"""The files of a set that we did not generate, each recognized by its content, as domains and
marks.
"""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from west_viommu.audit.given import OF_ANOTHER_TREE
from west_viommu.audit.records import (
    HostPath,
    SetDomain,
    SetMarks,
    copied_nodes,
    mapped_by_tree,
)
from west_viommu.diagnostics import (
    Diagnostic,
    Refused,
    Where,
    close_matches,
    first_few,
    refusal,
)
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.read.dtb import MAGIC
from west_viommu.read.imagebuilder import OLD_MARKS, Script, Variable, as_meant, read_script
from west_viommu.read.marks import MARK, domain_nodes, marks_in, memory_of, unusable_domains
from west_viommu.read.plain_file import LONGEST, content, foreign, unreadable
from west_viommu.read.tree import fragments, read_tree
from west_viommu.read.xl_config import XlConfig, read_xl_config
from west_viommu.read.xl_domain import xl_domain
from west_viommu.tree.cells import counted

_GIVE = "give an xl.cfg, a partial tree, a host.overlay, or a configuration of ImageBuilder"
# Text that only a configuration of ImageBuilder has, and text that only one of xl has.
_SHELL = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?[A-Z][A-Z0-9]*_[A-Z0-9_]+(?:\[[^]\n]*\])?[ \t]*=", re.M
)
_XL = re.compile(rb"^[ \t]*[a-z][._0-9a-z]*[ \t]*\+?=[ \t]*['\"\[0-9]", re.M)
_C = re.compile(rb"^[ \t]*(?:#include\b|struct\b|\.(?:iomems|irqs|dtdevs)[ \t]*=)", re.M)
_SOURCE = re.compile(rb"/dts-v1/|/plugin/|^[ \t]*(?:/|&\{?[\w/@,.-]+\}?)[ \t]*\{", re.M)
_MOST_DOMAINS = 64
_NO_TREE = "the partial tree {} was not found among the files: its nodes are not judged"


class Sets(NamedTuple):
    """The content of the files: `configs` are the configurations of xl, by the name of the
    domain.
    """

    domains: tuple[SetDomain, ...]
    marks: SetMarks
    problems: tuple[Diagnostic, ...]
    notes: tuple[str, ...]
    has_vpl011: frozenset[str]
    memory: tuple[tuple[int, Where], ...]
    configs: dict[str, XlConfig]


def read_sets(
    files: Sequence[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Sets:
    """Return the content of the files of a set. Raises Refused for a file that cannot be read."""
    reader = _Reader(files, include_dirs, defines)
    problems: list[Diagnostic] = []
    for file in files:
        try:
            reader.read(file)
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused((*problems, *reader.problems))
    return reader.sets()


class _Reader:
    """Reads one file after the other."""

    def __init__(self, files: Sequence[str], include_dirs: Sequence[str], defines: Sequence[str]):
        self._files = files
        self._preprocessor = include_dirs, defines
        self._trees: dict[str, GuestTree] = {}
        self._used: set[str] = set()
        self._domains: list[SetDomain] = []
        self._marks: list[HostPath] = []
        self._marks_known = False
        self._of_chosen = 0
        self._vpl011: set[str] = set()
        self._configs: dict[str, XlConfig] = {}
        self._memory: list[tuple[int, Where]] = []
        self._overlays: list[str] = []
        self._scripts: list[Script] = []
        self._notes: list[str] = []
        self.problems: list[Diagnostic] = []

    def read(self, file: str) -> None:
        """Add the content of `file`. Raises Refused."""
        try:
            found = content(file)
        except OSError as error:
            raise Refused([unreadable(file, error, "check its path")]) from None
        if found.startswith(MAGIC) or _SOURCE.search(found):
            self._read_tree(file, is_blob=found.startswith(MAGIC))
            return
        other = foreign(file, found[:LONGEST])
        if other:
            raise Refused([other])
        if _C.search(found) and not _XL.search(found):
            raise refusal(
                "malformed",
                "this is C source, which is not read",
                "of a Zephyr dom0, audit the xl.cfg that its arrays were copied from",
                file,
            )
        if len(_SHELL.findall(found)) > len(_XL.findall(found)):
            self._scripts.append(read_script(file))
        else:
            self._configs[file] = read_xl_config(file)

    def sets(self) -> Sets:
        """Return all that was read; partial trees that no configuration names are domains too."""
        if self._overlays:
            self._apply(self._overlays)
        for script in self._scripts:
            self._read_script(script)
        for config in self._configs.values():
            self._read_xl(config)
        for file, tree in self._trees.items():
            if file not in self._used:
                self._domains.append(self._of_tree(_base_name(file), file, tree))
        if self._of_chosen > len(self._domains):
            self._notes.append(
                f"/chosen has more domains ({self._of_chosen}) than the files have partial trees "
                f"({len(self._domains)}): name the others too"
            )
        if len(self._domains) > _MOST_DOMAINS:
            raise refusal("malformed", "these are too many domains", "name fewer files")
        of_domains = ((d.memory, d.where) for d in self._domains if d.memory is not None)
        return Sets(
            domains=tuple(_named_apart(self._domains)),
            marks=SetMarks(is_known=self._marks_known, paths=tuple(self._marks)),
            problems=tuple(self.problems),
            notes=tuple(dict.fromkeys(self._notes)),
            has_vpl011=frozenset(self._vpl011),
            memory=(*self._memory, *of_domains),
            configs=self._configs,
        )

    def _read_tree(self, file: str, *, is_blob: bool) -> None:
        if is_blob:
            tree = read_tree(file, _GIVE)
            is_overlay = bool(fragments(tree))
        else:
            text = content(file)
            is_overlay = b"/plugin/" in text or b"/dts-v1/" not in text
        guest = self._tree(file)
        nodes = tuple(guest.tree.nodes())
        domains = domain_nodes(guest)
        if is_overlay and any("xen,path" in node.properties for node in nodes):
            self._overlays.append(file)
        elif is_overlay:
            self._marks_known = True
            self._marks += marks_in(file, guest, self.problems)
        elif guest.tree.node(PASSTHROUGH) and not domains:
            self._trees[file] = guest
        elif domains or any(MARK in node.properties for node in nodes):
            self._of_chosen += len(domains)
            self._memory += memory_of(domains, guest, file)
            self.problems += unusable_domains(domains, guest, file)
            self._marks_known = True
            self._marks += marks_in(file, guest, self.problems)
        else:
            raise refusal(
                "malformed",
                f"this tree is neither a partial tree nor has it domains: no {PASSTHROUGH}, and no "
                "xen,domain in /chosen",
                "if it is the host's tree, give it by --host; libxl wants /passthrough in a "
                "partial tree, even an empty one",
                file,
            )

    def _tree(self, *files: str) -> GuestTree:
        # Imported late: a set may have no tree.
        from west_viommu.read.source import guest_tree

        return guest_tree(files, *self._preprocessor)

    def _apply(self, overlays: Sequence[str]) -> None:
        """Read overlays with nodes for /passthrough together with the partial tree."""
        if len(self._trees) != 1:
            raise refusal(
                "malformed",
                "this overlay has nodes for a partial tree, and the files have "
                f"{counted(len(self._trees), 'partial tree')}",
                "name the partial tree that it is for, and no other",
                overlays[0],
            )
        (base,) = self._trees
        self._trees[base] = self._tree(base, *overlays)

    def _read_xl(self, config: XlConfig) -> None:
        found = xl_domain(config)
        self.problems += found.problems
        name = found.name or _base_name(config.file)
        guest = None
        if found.device_tree:
            guest = self._named_tree(found.device_tree, config.file)
            if guest is None:
                self._notes.append(_NO_TREE.format(found.device_tree.path))
        else:
            guest = self._unnamed_tree(config.file)
        roots: tuple[str, ...] = (PASSTHROUGH,)
        if guest:
            if guest.tree.node(PASSTHROUGH) is None and found.device_tree:
                self.problems.append(
                    Diagnostic(
                        id="wrong",
                        what=f"{found.device_tree.path} has no {PASSTHROUGH}: libxl refuses it",
                        hint="give it one, even an empty one (copy_partial_fdt(), libxl_arm.c)",
                        where=found.device_tree.where,
                    )
                )
            roots = (*roots, *self._copied(found.copied, guest))
        domain = SetDomain(
            name=name,
            where=Where(config.file),
            is_xl=True,
            dtdev=found.dtdev,
            lines=found.lines,
            pages=found.pages,
            nodes=tuple(copied_nodes(guest, roots, self.problems)) if guest else (),
            has_tree=guest is not None,
            keys=found.keys,
            unread=found.unread,
            memory=found.memory,
            locate=guest.locate if guest else _nowhere,
            marked=(),
            copied=roots[1:],
        )
        self._domains.append(domain)
        if found.has_vuart:
            self._vpl011.add(name)

    def _unnamed_tree(self, file: str) -> GuestTree | None:
        """Return the only partial tree, if it is for xl and the only configuration names no
        tree.
        """
        trees = [name for name in self._trees if name not in self._used]
        if len(trees) != 1 or len(self._configs) != 1:
            return None
        tree = self._trees[trees[0]]
        if any({"xen,path", "xen,reg"} & node.properties.keys() for node in tree.tree.nodes()):
            return None
        self._used.add(trees[0])
        self._notes.append(f"{file} has no device_tree: the guest gets no node of {trees[0]}")
        return tree

    def _copied(self, copied: Sequence[HostPath], guest: GuestTree) -> Iterator[str]:
        """Yield the subtrees that dt_passthrough_nodes copies from the partial tree."""
        if copied:
            self._notes.append(
                "dt_passthrough_nodes is a key of EPAM's xl: a released one ignores it"
            )
        paths = [node.path for node in guest.tree.nodes()]
        unknown = [each for each in copied if not guest.tree.node(each.path)]
        yield from (each.path for each in copied if each not in unknown)
        if len(unknown) >= OF_ANOTHER_TREE:
            self.problems.append(
                Diagnostic(
                    id="wrong",
                    what=f"the file of device_tree lacks {len(unknown)} nodes of "
                    "dt_passthrough_nodes: xl passes over them, and the set was made for another "
                    "tree",
                    hint="name the tree that the guest gets, or remove them",
                    expected="nodes of the file of device_tree",
                    found=", ".join(first_few(each.path for each in unknown)),
                    where=unknown[0].where,
                )
            )
            return
        for each in unknown:
            close = close_matches(each.path, paths, 1)
            self.problems.append(
                Diagnostic(
                    id="wrong",
                    what=f"the file of device_tree has no {each.path}: xl ignores it",
                    hint=f"did you mean {close[0]}?" if close else "remove it, or add the node",
                    expected="a node of the file of device_tree",
                    found=each.path,
                    where=each.where,
                )
            )

    def _read_script(self, script: Script) -> None:
        script = as_meant(script)
        self.problems += script.problems
        count = script.value("NUM_DOMUS")
        names = ("DOMU_PASSTHROUGH_PATHS", "DOMU_PASSTHROUGH_DTB", "DOMU_KERNEL")
        numbers = sorted({v.number or 0 for v in script.variables if v.name in names})
        if count and count.value.isdecimal() and len(count.value) < 5:
            unread = [number for number in numbers if number >= int(count.value)]
            if unread:
                self._notes.append(
                    f"{script.file}: NUM_DOMUS={count.value} leaves domain {unread[0]} out"
                )
            numbers = [number for number in numbers if number not in unread]
        for variable in script.variables:
            if variable.name == "DT_OVERLAY":
                self._read_overlay(variable.value, Where(script.file, variable.line))
        old = script.value(OLD_MARKS)
        if old:
            at = Where(script.file, old.line)
            self._marks += (HostPath(path, at) for path in old.value.split())
        if old or any(v.name == "DOMU_PASSTHROUGH_PATHS" for v in script.variables):
            self._marks_known = True
        for number in numbers:
            self._domains.append(self._of_script(script, number))

    def _read_overlay(self, name: str, where: Where) -> None:
        file = self._found(name, where.file)
        if file is None:
            self._notes.append(f"the overlay {name} was not found: its marks are not judged")
        elif file not in self._files:
            self._read_tree(file, is_blob=content(file).startswith(MAGIC))

    def _of_script(self, script: Script, number: int) -> SetDomain:
        paths = script.value("DOMU_PASSTHROUGH_PATHS", number)
        tree = script.value("DOMU_PASSTHROUGH_DTB", number)
        place = next(v for v in (paths, tree, *script.variables) if v)
        where = Where(script.file, place.line)
        marked: tuple[HostPath, ...] = ()
        if paths:
            at = Where(script.file, paths.line)
            marked = tuple(HostPath(path, at) for path in paths.value.split())
            self._marks += marked
        name = f"domU{number}"
        memory = script.value("DOMU_MEM", number)
        size = int(memory.value) if memory and memory.value.isdecimal() else None
        if paths and not tree and script.value("PASSTHROUGH_DTS_REPO"):
            found = self._of_devices(paths, script)
            if found:
                return found._replace(name=name, where=where, marked=marked, memory=size)
        guest = None
        if tree:
            named = HostPath(tree.value, Where(script.file, tree.line))
            guest = self._named_tree(named, script.file)
            if guest is None:
                self._notes.append(_NO_TREE.format(tree.value))
        elif paths:
            self._notes.append(
                f"{name} has no DOMU_PASSTHROUGH_DTB: what its partial tree gives is not known"
            )
        if guest is None:
            return _empty(name, where)._replace(marked=marked, memory=size)
        found = self._of_tree(name, script.file, guest)
        return found._replace(where=where, marked=marked, memory=size)

    def _of_devices(self, paths: Variable, script: Script) -> SetDomain | None:
        """Return the domain of the partial trees that ImageBuilder takes from a folder, one tree
        named after each device; None if none of the trees is here.
        """
        parts = []
        for path in paths.value.split():
            named = HostPath(f"{_base_name(path)}.dts", Where(script.file, paths.line))
            guest = self._named_tree(named, script.file)
            if guest is None:
                self._notes.append(_NO_TREE.format(named.path))
            else:
                parts.append(self._of_tree("", script.file, guest))
        if not parts:
            return None
        places = [part.locate for part in parts]
        return parts[0]._replace(
            pages=tuple(pages for part in parts for pages in part.pages),
            nodes=tuple(node for part in parts for node in part.nodes),
            unread={"xen,reg": tuple(u for part in parts for u in part.unread["xen,reg"])},
            locate=lambda path, prop: next(filter(None, (at(path, prop) for at in places)), None),
            has_tree=len(parts) == len(paths.value.split()),
        )

    def _of_tree(self, name: str, file: str, guest: GuestTree) -> SetDomain:
        """Return the domain of a partial tree that Xen itself reads."""
        roots = (PASSTHROUGH,)
        unread: list[Diagnostic] = []
        return _empty(name, Where(file))._replace(
            pages=tuple(mapped_by_tree(guest, roots, self.problems, unread)),
            unread={"xen,reg": tuple(unread)},
            nodes=tuple(copied_nodes(guest, roots, self.problems)),
            has_tree=True,
            locate=guest.locate,
        )

    def _named_tree(self, named: HostPath, beside: str) -> GuestTree | None:
        """Return the partial tree that a configuration names by its path on the target."""
        file = self._found(named.path, beside)
        if file is None:
            return None
        self._used.add(file)
        if file not in self._trees:
            try:
                self._trees[file] = self._tree(file)
            except Refused as refused:
                self.problems += refused.problems
                return None
        return self._trees[file]

    def _found(self, path: str, beside: str) -> str | None:
        """Return the file that `path` means: the file of the set whose path has the longest common
        end with it, else a file beside the configuration, else the source in place of the blob.
        """
        stem, ending = os.path.splitext(path)
        folder = os.path.dirname(beside)
        for wanted in (path, f"{stem}.dts") if ending == ".dtb" else (path,):
            parts = wanted.replace("\\", "/").split("/")
            alike = [file for file in self._files if _base_name(file) == parts[-1]]
            if alike:
                return max(alike, key=lambda file: _alike_at_the_end(file.split("/"), parts))
            for place in (os.path.join(folder, wanted), os.path.join(folder, parts[-1])):
                if parts[-1] and "\0" not in place and os.path.isfile(place):
                    return place
        return None


def _alike_at_the_end(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _empty(name: str, where: Where) -> SetDomain:
    return SetDomain(
        name=name,
        where=where,
        is_xl=False,
        dtdev=(),
        lines=(),
        pages=(),
        nodes=(),
        has_tree=False,
        keys={},
        unread={},
        memory=None,
        locate=_nowhere,
        marked=(),
        copied=(),
    )


def _named_apart(domains: Sequence[SetDomain]) -> Iterator[SetDomain]:
    """Yield the domains; of several with the same name, the later ones with a number appended."""
    seen: dict[str, int] = {}
    for domain in domains:
        count = seen[domain.name] = seen.get(domain.name, 0) + 1
        yield domain if count == 1 else domain._replace(name=f"{domain.name}#{count}")


def _nowhere(path: str, prop: str) -> Where | None:
    return None


def _base_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
