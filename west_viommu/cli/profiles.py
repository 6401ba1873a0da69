# SPDX-License-Identifier: Apache-2.0
"""`viommu profiles`: the shipped profiles, and one for the Xen in a source tree."""

from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import DONE, REFUSED, UsageError
from west_viommu.diagnostics import printable
from west_viommu.hypervisor.profile import switched_on
from west_viommu.names import PROFILES
from west_viommu.read.profiles import profile, profile_file


class Options(NamedTuple):
    """The arguments of the command."""

    topic: str | None
    source: str | None
    compare: str | None


def run(options: Options, console: Console) -> int:
    """Print the names of the profiles, or the file of one, or a profile for the Xen in a source
    tree. With another profile to compare, the status shows whether they differ.
    """
    if options.compare and not options.source:
        raise UsageError("--compare needs the source of a Xen: --from DIR")
    if options.source:
        if options.topic:
            raise UsageError("name a profile or a source tree; --compare NAME compares the two")
        return _of_source(options.source, options.compare, console)
    if options.topic:
        profile(options.topic, None)
        with open(profile_file(options.topic), encoding="utf-8") as file:
            tell([file.read()])
    else:
        tell(_profiles())
    return DONE


def _of_source(folder: str, compared: str | None, console: Console) -> int:
    from west_viommu.read.xen_source import differences, xen_source
    from west_viommu.write.profile_text import profile_text

    found = xen_source(folder)
    for fact in found.unread:
        console.note(f"this could not be read: {fact}")
    if not compared:
        tell([profile_text(found)])
        return DONE
    lines = [f"{line}\n" for line in differences(found, profile(compared, None))]
    tell(lines or [f"Xen {found.version} in {folder} is as {compared} says\n"])
    return REFUSED if lines else DONE


def _profiles() -> Iterator[str]:
    for name in PROFILES:
        default = " (default)" if name == PROFILES[0] else ""
        found = profile(name, None)
        yield f"{name}{default}\n    {printable(found.about)}\n"
        for switch in switched_on(found):
            yield f"    its vSMMU is switched on by {switch}\n"
