# SPDX-License-Identifier: Apache-2.0
"""The hook of a Zephyr build, after the preprocessor: bind the requests in its devicetree.

Zephyr's own command line for the preprocessor names all paths. Zephyr's devicetree compiler reads
the -o file as the hook leaves it; a file added to the -MF file makes the build configure again when
it changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from west_viommu.cli.console import NO_FORM, Console, named_by, tell
from west_viommu.diagnostics import Diagnostic, Refused, Where, printable, rendered
from west_viommu.names import BINDINGS, MESSAGE_FORMS, OVERLAY, VENDOR_PREFIXES, VSMMU_LABEL
from west_viommu.read.plain_file import PACKAGE, content
from west_viommu.tree.digest import sha256
from west_viommu.write.files import Output

if TYPE_CHECKING:
    # Not loaded for a source without requests.
    from west_viommu.api import Guest
    from west_viommu.cli.bind import Done
    from west_viommu.guest.source import GuestTree
    from west_viommu.plan.planning import Planned
    from west_viommu.read.bindings import Bindings
    from west_viommu.read.settings import Settings
    from west_viommu.tree.node import Node

# A source without any of these words has no requests.
_WORDS = (b"passthrough", b"xen,path")
# The imports of `_chosen` and `_done`.
_MODULES = ("west_viommu.cli.bind", "west_viommu.read.settings")
# Beside the output folder: the sums of the inputs, and the warnings that were printed.
_INPUTS = "viommu_inputs.txt"
_TOLD = "viommu_told.txt"
_SHOWS = "`viommu check` prints the text"
_NOTHING: tuple[list[str], list[str]] = ([], [])


class Options(NamedTuple):
    """The options that zephyr/cmake/dts.cmake gives, each `--NAME VALUE`."""

    zephyr_base: str
    app: str
    output: str
    dts_roots: tuple[str, ...]
    workspace: str | None = None
    host_dtb: str | None = None
    profile: str | None = None
    vsid: str | None = None
    config: str | None = None


def _options(words: Sequence[str]) -> Options:
    """Return the options in `words`."""
    pairs = list(zip(words[::2], words[1::2], strict=True))
    roots = tuple(value for name, value in pairs if name == "--dts-root")
    others = {name[2:].replace("-", "_"): value for name, value in pairs if name != "--dts-root"}
    return Options(dts_roots=roots, **others)


class Hook:
    """The hook for one command line: `words` are our options, `command` the real preprocessor's."""

    def __init__(self, words: Sequence[str], command: Sequence[str]):
        self._options = _options(words)
        self._form = os.environ.get("VIOMMU_ERRORS") or MESSAGE_FORMS[0]
        self.console = _console(self._options, self._form)
        self._command = command
        # Zephyr's own dtlib should read the source, as Zephyr's scripts will.
        os.environ["ZEPHYR_BASE"] = self._options.zephyr_base

    def load(self) -> None:
        """Import the modules that `run` will need, if the sources seem to request a device."""
        if any(map(_asks, _included(self._command))):
            for module in _MODULES:
                import_module(module)
            # If something is missing, `run` reports it, if it needs it at all.
            with suppress(Refused):
                import_module("west_viommu.read.dtlib").dtlib()

    def run(self) -> int:
        """Bind the requests of the preprocessed source; return the exit status."""
        return self._status(lambda: _bind(self._options, self._command, self.console))

    def clear(self) -> int:
        """Remove the files of an earlier configure: there is no source to which they could belong.
        Return the exit status.
        """
        return self._status(lambda: Output(self._options.output).remove())

    def cannot_run(self, error: OSError) -> int:
        """Do as `clear`, after `error` kept the preprocessor from running."""
        what = f"{self._command[0]} cannot be run: {error.strerror}"
        hint = "it is Zephyr's preprocessor: install the toolchain, or correct what names it"
        self.console.report([Diagnostic(id="unreadable", what=what, hint=hint)])
        return self.clear()

    def _status(self, job: Callable[[], None]) -> int:
        """Do `job`; return the exit status, and print a message if it is not 0."""
        if self._form not in MESSAGE_FORMS:
            self.console.fail("usage", NO_FORM)
            return 1
        try:
            job()
        except Refused as refused:
            self.console.report(refused.problems)
            return 1
        except OSError as error:
            what = error.strerror or str(error)
            hint = "make room in the build directory, and see that you may write there"
            place = Where(os.fsdecode(error.filename or _operand(self._command, "-o")))
            self.console.report([Diagnostic(id="unwritable", what=what, hint=hint, where=place)])
            return 1
        return 0


def _console(options: Options, form: str) -> Console:
    """Return the output of the hook. It names west's commands if there is west."""

    def wants_colour() -> bool:
        from west_viommu.read.west import west_wants_colour

        return west_wants_colour(options.app, options.workspace)

    program = "west build" if options.workspace else "cmake"
    return Console(program, form, wants_colour, named=named_by(options))


def _asks(source: str) -> bool:
    """Return whether `source` may request a device."""
    try:
        found = content(source)
    except OSError:
        return False
    return any(word in found for word in _WORDS)


def _bind(options: Options, command: Sequence[str], console: Console) -> None:
    """Bind the requests of the preprocessed source, and add the files on which the result depends
    to the make rule.
    """
    source = _operand(command, "-o")
    with Output(options.output) as output:
        _leave_out_stale(source)
        inputs, written = _NOTHING
        if _asks(source):
            inputs, written = _appended(options, command, source, output, console)
        if not inputs:
            output.remove()
            # Zephyr has seen it by now (dts.cmake made it), and reads it later.
            output.leave_empty(f"{BINDINGS}/{VENDOR_PREFIXES}")
        unseen = _add_dependencies(_operand(command, "-MF"), inputs, written)
        _leave_sums(_beside(output, _INPUTS), inputs)
    for file in unseen:
        console.note(
            f"changes to {file!r} go unnoticed: its path has a character that CMake cannot take"
        )


def _beside(output: Output, name: str) -> str:
    """Return the path of the file `name` beside the output folder."""
    return os.path.join(os.path.dirname(output.folder), name)


def _leave_out_stale(source: str) -> None:
    """Remove an earlier run's overlay, given as one of the build's own, from `source`."""
    found = content(source)
    if OVERLAY.encode() in found:
        from west_viommu.read.preprocess import without_generated

        text = without_generated(found.decode("utf-8", "surrogateescape"))
        _write(source, text)


def _appended(
    options: Options,
    command: Sequence[str],
    source: str,
    output: Output,
    console: Console,
) -> tuple[list[str], list[str]]:
    """Plan, write the files of the run, and append the overlay to the source. Return the inputs and
    the files written; nothing if the source requests nothing after all.
    """
    from west_viommu.api import guest_of
    from west_viommu.read.source import guest_tree_of
    from west_viommu.read.tree import host_files

    guest = guest_of(_included(command), guest_tree_of(source))
    if not guest.asks:
        return _NOTHING
    chosen = _chosen(options, guest)
    result = _done(options, guest, chosen)
    _define_label(source, result.planned, output.folder)
    _tell(result, console, _beside(output, _TOLD))
    output.write(result.files)
    _append(source, result.files[OVERLAY], output.folder)
    tell([f"{printable(_bound(result.planned, chosen, output.folder))}\n"])
    written = [os.path.join(output.folder, name) for name in result.files]
    return [*host_files(chosen.host or ""), *chosen.files], written


def _tell(result: Done, console: Console, told: str) -> None:
    """Print warnings and notes. Warnings that viommu.yml allows, and warnings that the configure
    before this one printed (the file `told`), are one line.
    """
    from west_viommu.tree.cells import counted

    warnings = result.planned.warnings
    if console.form != MESSAGE_FORMS[0]:
        result.tell(console)
        return
    new = [each for each in warnings if not each.acknowledged]
    text = "".join(f"{rendered(each)}\n" for each in new)
    is_as_before = os.path.exists(told) and _text(told) == text
    shown = () if is_as_before else new
    result.tell(console, shown)
    allowed = len(warnings) - len(new)
    if allowed:
        console.note(f"{counted(allowed, 'warning')} that viommu.yml allows: {_SHOWS}")
    if new and is_as_before:
        console.note(f"{counted(len(new), 'warning')} as before: {_SHOWS}")
    _write(told, text)


def _leave_sums(file: str, inputs: Sequence[str]) -> None:
    """Write the sum of each of the `inputs` into `file`. It shows zephyr/CMakeLists.txt that the
    devicetree went through the hook, and zephyr/cmake/inputs.cmake whether an input has changed. A
    build only compares times, and does not notice a file that was replaced by an older one.
    """
    files = [os.path.abspath(each) for each in inputs if os.path.isfile(each)]
    lines = (f"{sha256(content(each))} {_for_cmake(each)}\n" for each in files)
    _write(file, "".join(lines))


def _chosen(options: Options, guest: Guest) -> Settings:
    """Return the settings of the build. Raises Refused if they name no host for the guest."""
    from west_viommu.read.settings import check_host, placed, settings

    app = options.app
    chosen = settings(
        {
            "host": placed("host", options.host_dtb, app),
            "profile": placed("profile", options.profile, app),
            "vsid": options.vsid,
        },
        app,
        options.config and os.path.join(app, options.config),
        options.workspace,
    )
    if not chosen.host:
        wanted = guest.asked
        path = [*wanted.paths, *(each.node for each in wanted.errors), *wanted.disabled][0]
        raise Refused([_no_host(path, guest.tree)])
    check_host(chosen.host, chosen.host_where)
    if options.host_dtb and not os.path.exists(chosen.host):
        raise Refused([_no_such_host(chosen.host)])
    return chosen


def _done(options: Options, guest: Guest, chosen: Settings) -> Done:
    """Return the files to write for `guest`. Raises Refused, also if a binding is lacking."""
    from west_viommu.api import read_host
    from west_viommu.cli.bind import done

    binding_dirs = _binding_dirs(options)
    result = done(read_host(chosen.host or ""), guest, chosen, binding_dirs)
    unfit = list(_unfit(guest, binding_dirs))
    if unfit:
        raise Refused(unfit)
    return result


def _unfit(guest: Guest, binding_dirs: Sequence[str]) -> Iterator[Diagnostic]:
    """Yield a problem for each device that lacks a property which Zephyr's own binding requires,
    and for each that has properties which the binding does not declare. Zephyr would name the
    generated binding, which only includes its own.
    """
    # Imported late: no other source needs the bindings.
    from west_viommu.guest.source import PASSTHROUGH
    from west_viommu.read.bindings import bindings_in
    from west_viommu.write.bindings import compatibles, original_bindings, undeclared

    bus = guest.tree.tree.node(PASSTHROUGH)
    if not bus:
        return
    known = bindings_in(binding_dirs, compatibles(bus))
    asking = [request.path for request in guest.asked.requests]
    for node, path in original_bindings(bus, asking, known):
        missing = list(_missing(node, path, known))
        if missing:
            yield Diagnostic(
                id="malformed",
                what=f"Zephyr's binding of the device requires {' and '.join(missing)}",
                hint=f"see {path}: copy what is of the host, choose the rest; or leave out the "
                "compatible of that binding",
                node=node.path,
                where=guest.tree.locate(node.path, ""),
            )
        extra = undeclared(node, path, known)
        if extra:
            lines = "the line" if len(extra) == 1 else "these lines"
            yield Diagnostic(
                id="malformed",
                what=f"Zephyr's binding of the device does not declare {', '.join(extra)}",
                hint=f"remove {lines}, which no driver of Zephyr reads: {path} lists what the "
                "device may have",
                node=node.path,
                prop=extra[0],
                where=guest.tree.locate(node.path, extra[0]),
            )


def _missing(node: Node, path: str, known: Bindings) -> Iterator[str]:
    """Yield the properties that the binding requires and the node lacks, if the node's status is
    okay (edtlib, Node._prop_val).
    """
    if node.properties.get("status", b"okay\0") in (b"okay\0", b"ok\0"):
        for name, spec in known.specs(path).items():
            if spec.get("required") and name not in node.properties:
                yield name


def _append(source: str, overlay: bytes, folder: str) -> None:
    """Append `overlay`, as it is in `folder`, to the source."""
    from west_viommu.read.preprocess import line_marker

    with open(source, "ab") as file:
        place = line_marker(printable(os.path.join(folder, OVERLAY)), 1)
        file.write(f"\n{place}\n".encode() + overlay)


def _define_label(source: str, planned: Planned, folder: str) -> None:
    """Make `&vsmmu { ... };` work in the source. Raises Refused if there is no vSMMU."""
    from west_viommu.read.outline import Outline
    from west_viommu.read.rewrite import with_vsmmu_node, without_vsmmu

    text = _text(source)
    if f"&{VSMMU_LABEL}" not in text:
        return
    outline = Outline(text, "/")
    viommu = planned.plan.viommu
    if not viommu:
        problems = list(without_vsmmu(outline))
        if problems:
            raise Refused(problems)
        return
    place = printable(os.path.join(folder, OVERLAY))
    _write(source, with_vsmmu_node(text, viommu.node, outline, place))


def _bound(planned: Planned, chosen: Settings, folder: str) -> str:
    """Return the line for CMake's log: the devices bound, and the assumptions."""
    from west_viommu.tree.cells import counted

    devices = counted(len(planned.plan.devices), "device")
    vsmmu = "to one vSMMU" if planned.plan.viommu else "and no vSMMU"
    profile = planned.plan.profile if chosen.profile else f"{planned.plan.profile} (default)"
    terms = f"{profile}, {planned.plan.vsid}"
    return f"-- viommu: bound {devices} of {chosen.host} {vsmmu} ({terms}), see {folder}"


def _binding_dirs(options: Options) -> list[str]:
    """Return the directories of bindings, without the one that this run fills, which may have
    bindings of an earlier run.
    """
    own = os.path.realpath(options.output)
    roots = [root for root in options.dts_roots if os.path.realpath(root) != own]
    return [os.path.join(root, BINDINGS) for root in roots]


def _text(file: str) -> str:
    """Return the text of `file`, with surrogates for the bytes that are not UTF-8."""
    return content(file).decode("utf-8", "surrogateescape")


def _write(file: str, text: str) -> None:
    """Write `text`, as `_text` returns it, into `file`."""
    with open(file, "wb") as out:
        out.write(text.encode("utf-8", "surrogateescape"))


def _operand(command: Sequence[str], option: str) -> str:
    """Return the word after `option` in `command`."""
    return command[command.index(option) + 1]


def _included(command: Sequence[str]) -> list[str]:
    """Return the files that the preprocessor includes one after the other: the guest's sources."""
    return [command[i + 1] for i, word in enumerate(command) if word == "-include"]


def _no_host(path: str, guest: GuestTree) -> Diagnostic:
    return Diagnostic(
        id="no-host",
        what="a host device is asked for, and no host tree is named",
        hint="give the blob that Xen is booted with: -DVIOMMU_HOST_DTB=FILE, `west config "
        "viommu.host-dtb FILE`, or `host: FILE` in viommu.yml beside the application",
        node=path,
        where=guest.locate(path, "iommus"),
    )


def _no_such_host(file: str) -> Diagnostic:
    return Diagnostic(
        id="unreadable",
        what="No such file or directory",
        hint="check VIOMMU_HOST_DTB: from -D, the environment or CMakeLists.txt, a path is "
        "relative to the application",
        where=Where(file),
    )


def _own_files() -> list[str]:
    """Return our own sources that ran, and the profiles."""
    files = (getattr(module, "__file__", None) or "" for module in list(sys.modules.values()))
    own = [file for file in files if file.startswith(f"{PACKAGE}{os.sep}")]
    profiles = os.path.join(PACKAGE, "profiles")
    return [*own, *(os.path.join(profiles, name) for name in os.listdir(profiles))]


def _add_dependencies(make_rule: str, inputs: Sequence[str], written: Sequence[str]) -> list[str]:
    """Append `inputs`, the files `written`, and our own sources to the make rule of the
    preprocessor: a line each, as Zephyr before 4.0 requires. The files written are there so that
    the next build restores any that is removed. A path that CMake could not read back is left out;
    return the inputs that were.
    """
    wanted = [_for_cmake(os.path.abspath(file)) for file in inputs if os.path.isfile(file)]
    written = [_for_cmake(file) for file in written]
    if wanted:
        own = map(_for_cmake, _own_files())
        readable = {file for file in (*wanted, *written, *own) if not _is_unreadable(file)}
        lines = "".join(f" \\\n {file}" for file in sorted(readable))
        rule = _text(make_rule).replace("\r\n", "\n").rstrip("\n")
        _write(make_rule, f"{rule}{lines}\n")
    return list(filter(_is_unreadable, wanted))


def _for_cmake(file: str) -> str:
    """Return `file` as CMake writes paths: with slashes, on Windows too."""
    return file.replace(os.sep, "/")


def _is_unreadable(file: str) -> bool:
    """Return whether Zephyr's toolchain_parse_make_rule() would split the path."""
    return any(c in file for c in " \t\n;\\#$[]")
