# SPDX-License-Identifier: Apache-2.0
"""The commands and their arguments, for `viommu NAME` and for `west viommu-NAME` alike.

Nothing but argparse is imported here: a command's own modules are loaded when it runs.
"""

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import NamedTuple

from west_viommu.names import MESSAGE_FORMS, POLICIES, PROFILES, RELEASED, is_profile_path

_HOST = (
    "the host's devicetree, as Xen is booted with it: a blob, a .dts, a directory in "
    "/proc/device-tree form, or - for standard input (default: the environment variable "
    "VIOMMU_HOST_DTB"
)
_HOST_HELP = f"{_HOST}, then `west config viommu.host-dtb`, then host in viommu.yml)"
_PROFILE_HELP = (
    f"what the hypervisor gives the guest: {', '.join(PROFILES)}, or a file of your own by its path"
)
SHELLS = ("bash", "zsh", "fish")


class Command(NamedTuple):
    """A command: its help texts, the function that adds its arguments to a parser, and the
    `function` that runs it, in the `module` of this package that has its name or another. The
    module's record Options names the arguments that the function needs.
    """

    name: str
    help: str
    description: str
    epilog: str
    add_arguments: Callable[[ArgumentParser], None]
    module: str = ""
    function: str = "run"


def _macro(text: str) -> str:
    name = text.partition("=")[0].partition("(")[0]
    if not (name.isidentifier() and name.isascii()):
        bare = "=".join(map(str.strip, text.split("=", 1)))
        hint = f": did you mean {bare}?" if name.strip().isidentifier() and bare != text else ""
        raise ArgumentTypeError(f"{text!r} is not the name of a macro, or NAME=VALUE{hint}")
    return text


def _add_preprocessor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-I",
        "--include",
        metavar="DIR",
        action="append",
        default=[],
        help="folder of files that devicetree source includes; may be repeated. Zephyr's own are "
        "known where ZEPHYR_BASE is set",
    )
    parser.add_argument(
        "-D",
        "--define",
        metavar="NAME[=VALUE]",
        type=_macro,
        action="append",
        default=[],
        help="macro for the preprocessor; may be repeated",
    )


def _profile(name: str) -> str:
    if name in PROFILES or is_profile_path(name):
        return name
    # Imported late: only a mistyped name needs it.
    from west_viommu.diagnostics import meant

    hint = meant(name, PROFILES)
    raise ArgumentTypeError(
        f"no profile has the name {name!r}{hint and ': '}{hint} (choose from "
        f"{', '.join(PROFILES)}, or give the path of a file of your own)"
    )


def _add_bind_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "guests",
        metavar="GUEST",
        nargs="*",
        help="the guest's devicetree: overlays, or a base and overlays, in the order in which the "
        "devicetree compiler gets them; source, also with /plugin/, or blobs (.dtb, .dtbo); - is "
        "standard input. "
        "Without: the devicetree of an application of Zephyr's, by -b or -d; without these, of the "
        "build that `west build` would find here, else for the board of `west config build.board`",
    )
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    parser.add_argument(
        "-b",
        "--board",
        help="run Zephyr's devicetree stage for this board",
    )
    parser.add_argument(
        "-s",
        "--source-dir",
        metavar="APP",
        help="the application, and where viommu.yml is (default: that of -d, else here)",
    )
    parser.add_argument(
        "-d", "--build-dir", metavar="DIR", help="take the devicetree of this build instead"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="output folder (default: viommu in the build directory, else ./viommu)",
    )
    parser.add_argument(
        "-n",
        "--dry-run",
        action="store_true",
        help="plan and report, and write nothing",
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="in place of the plan, print what would change in the output folder, as a unified "
        "diff, and write nothing",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="errors and warnings only: no notes, and not the plan",
    )
    _add_settings_arguments(parser)


def _add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "patterns",
        metavar="NODE",
        nargs="*",
        help="only the masters named: by path, name (with its unit address or without), alias or "
        "label; * stands for any text, as in 'usb@*'",
    )
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    parser.add_argument(
        "--compatible", metavar="NAME", help="only masters compatible with this; * as above"
    )
    parser.add_argument(
        "--iommu", metavar="NODE", help="only masters behind this IOMMU; named as above"
    )
    parser.add_argument(
        "--passable",
        action="store_true",
        help="only masters that assign takes as they are; if no profile is given, for a released "
        f"Xen ({RELEASED}), as assign",
    )
    parser.add_argument(
        "--all", action="store_true", help="devices behind no IOMMU as well, which are no masters"
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="in the table, why each cannot go, and what it needs of other nodes: clocks, supplies",
    )
    _add_profile_arguments(parser)
    _add_preprocessor_arguments(parser)
    parser.add_argument(
        "--format",
        choices=("table", "lines", "json", "dot", "svg"),
        default="table",
        help="default: table; lines has a line for each master, with tabs between ok or no, path, "
        "compatible, IDs, INTIDs and hazards; dot is for Graphviz, which svg needs",
    )
    _add_json(parser)


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_const",
        dest="format",
        const="json",
        help="short for --format json",
    )


def _add_profile(parser: ArgumentParser, default: str) -> None:
    text = f"{_PROFILE_HELP} (default: {default})"
    parser.add_argument("--profile", metavar="NAME", type=_profile, help=text)


def _add_profile_arguments(parser: ArgumentParser, default: str = PROFILES[0]) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="a viommu.yml elsewhere than beside the application"
    )
    _add_profile(parser, default)
    parser.add_argument(
        "--xen-version",
        metavar="VERSION",
        help="the version of the hypervisor, such as 4.20 (default: xen-version in viommu.yml, "
        "else all that the profile covers)",
    )


def _add_settings_arguments(parser: ArgumentParser) -> None:
    _add_profile_arguments(parser)
    _add_preprocessor_arguments(parser)
    parser.add_argument(
        "--vsid",
        choices=POLICIES,
        help="policy by which the guest's stream IDs are numbered (default: the profile's)",
    )


def _add_init_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-s", "--source-dir", metavar="APP", help="the application's folder (default: here)"
    )
    parser.add_argument("--host", metavar="HOST", help=f"{_HOST})")
    _add_profile(parser, PROFILES[0])


def _add_extract_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "nodes",
        metavar="NODE",
        nargs="+",
        help="host node: its path, its name if only one has that, an alias, or a label, of source "
        "or of a tree that was compiled with symbols",
    )
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    parser.add_argument(
        "--zephyr-bindings",
        metavar="DIR",
        help="Zephyr's folder of bindings, to leave out what they do not have and say what they "
        "require (default: that of ZEPHYR_BASE)",
    )
    _add_profile_arguments(parser)
    _add_preprocessor_arguments(parser)


def _add_check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-d",
        "--build-dir",
        metavar="DIR",
        help="the build: its zephyr.dts, and its viommu.json (default: the one that `west build` "
        "would find here)",
    )
    parser.add_argument("--dts", metavar="FILE", help="the guest's finished tree instead, any form")
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    parser.add_argument(
        "--guest-dtb",
        metavar="DUMP",
        help="the tree that the guest was really given: what LIBXL_DEBUG_DUMP_DTB wrote, or "
        "/proc/device-tree of a guest, as a blob, source or directory",
    )
    parser.add_argument(
        "-s",
        "--source-dir",
        metavar="APP",
        help="the application, where viommu.yml is (default: that of -d, else here)",
    )
    parser.add_argument(
        "--system",
        metavar="SYSTEM",
        nargs="*",
        help="judge the guests of one host together instead: a system.yml, the folders of their "
        "plans, or those of the sysbuild in -d; and see that what `viommu system` wrote to its "
        "folder is still that",
    )
    _add_ram(parser)
    _add_settings_arguments(parser)
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="default: table"
    )
    _add_json(parser)


def _add_system_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "systems",
        metavar="SYSTEM",
        nargs="*",
        help="a system.yml (default: the one here); or, for each guest, its build directory or the "
        "folder of its viommu.json",
    )
    parser.add_argument(
        "-d", "--build-dir", metavar="DIR", help="the guests of this sysbuild, by its domains.yaml"
    )
    parser.add_argument(
        "--host",
        metavar="HOST",
        help=f"{_HOST}, then host in system.yml; without a system.yml, the host that the first "
        "guest's build was given, then `west config viommu.host-dtb`, then host in its viommu.yml)",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        type=_profile,
        help="the profile of all guests (default: the environment variable VIOMMU_PROFILE, then "
        "the file that names the host, then that of their plans)",
    )
    _add_ram(parser)
    _add_preprocessor_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="output folder (default: viommu-system in the directory of -d, else here)",
    )
    parser.add_argument(
        "--format",
        choices=("table", "json", "dot", "svg"),
        default="table",
        help="default: table; dot is for Graphviz, which svg needs",
    )
    _add_json(parser)


def _add_ram(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ram",
        metavar="BASE:SIZE",
        action="append",
        default=[],
        help="RAM of the host, if its tree does not state it; may be repeated",
    )


def _add_assign_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "nodes",
        metavar="NODE",
        nargs="*",
        help="a device of the host: its path, its name if only one has that, an alias, or a label",
    )
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    parser.add_argument(
        "--kernel",
        metavar="FILE",
        required=True,
        help="the guest's kernel: an arm64 Image (Linux's Image, Zephyr's zephyr.bin), a zImage or "
        "a uImage",
    )
    parser.add_argument("--ramdisk", metavar="FILE", help="the ramdisk of the guest's kernel")
    parser.add_argument(
        "--bootargs",
        metavar="TEXT",
        help="the command line of the guest's kernel (default: console=ttyAMA0, by xl "
        "console=hvc0)",
    )
    parser.add_argument("--name", metavar="NAME", default="guest", help="default: guest")
    parser.add_argument(
        "--memory", metavar="MIB", type=_positive, default=512, help="in MiB (default: 512)"
    )
    parser.add_argument("--cpus", metavar="N", type=_positive, default=1, help="default: 1")
    parser.add_argument(
        "--toolstack",
        choices=("dom0less", "xl"),
        default="dom0less",
        help="what creates the guest: Xen at boot (default), or xl in dom0",
    )
    parser.add_argument(
        "--dom0-kernel", metavar="FILE", help="the kernel of dom0 (default: there is no dom0)"
    )
    parser.add_argument("--dom0-ramdisk", metavar="FILE", help="the ramdisk of dom0's kernel")
    parser.add_argument(
        "--xen",
        metavar="FILE",
        default="xen",
        help="the image of the hypervisor, for its size and its line in boot.cmd (default: xen)",
    )
    parser.add_argument(
        "--allow",
        metavar="HAZARD:NODE:REASON",
        action="append",
        default=[],
        help="let a hazard pass, as allow: of viommu.yml does; may be repeated",
    )
    _add_ram(parser)
    parser.add_argument(
        "--load",
        metavar="NAME=ADDRESS",
        action="append",
        default=[],
        help="the address of the kernel, the ramdisk or the partial tree (passthrough) of the "
        "guest, in place of a free one; may be repeated",
    )
    parser.add_argument(
        "--zephyr-bindings",
        metavar="DIR",
        help="for a Zephyr guest: Zephyr's folder of bindings (dts/bindings), to leave out what "
        "they do not have and say what they require",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="viommu", help="output folder (default: viommu)"
    )
    _add_profile_arguments(parser, RELEASED)
    _add_preprocessor_arguments(parser)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 1 << 21:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to {(1 << 21) - 1}")
    return number


def _add_audit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a file of the set, known by its content: an xl.cfg, a partial tree (.dtb or .dts), a "
        "host.overlay, a host tree with domains in /chosen, a configuration of ImageBuilder",
    )
    parser.add_argument("--host", metavar="HOST", help=_HOST_HELP)
    _add_profile_arguments(parser)
    parser.add_argument(
        "--allow",
        metavar="HAZARD:NODE:REASON",
        action="append",
        default=[],
        help="a hazard that you take, for one device, and why, as allow in viommu.yml; may be "
        "repeated",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="print what makes the lists of each xl.cfg right, as a unified diff; no file changes",
    )
    _add_preprocessor_arguments(parser)
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="default: table"
    )
    _add_json(parser)


def _add_profiles_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "topic", metavar="NAME", nargs="?", type=_profile, help="print this one, as it is written"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="print a profile for the Xen in this source tree: of its public headers, by the C "
        "preprocessor, and of what is known of its version",
    )
    parser.add_argument(
        "--compare",
        metavar="NAME",
        type=_profile,
        help="with --from: print where the source and this profile differ instead",
    )


def _add_explain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "topic", metavar="HAZARD", nargs="?", help="the id that a message has in brackets"
    )


def _add_completion_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("topic", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def _add_help_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("topic", metavar="COMMAND", nargs="?", help="a command")


COMMANDS = (
    Command(
        "bind",
        "bind the passthrough devices of a guest to its vSMMU",
        "Find each device below /passthrough of the guest in the host tree, check its stream IDs,\n"
        "and write viommu.overlay (the vSMMU node, and each device's iommus), partial trees and\n"
        "xl.cfg and host.overlay for Xen's side, and viommu.json, the plan.\n"
        "If anything is wrong with the input, all of it is reported and nothing is written.",
        'for a guest node with iommus = <0x0 0x235>, or xen,path = "/axi/ethernet@f19f0000":\n'
        "  %(prog)s --host versal-net.dtb boards/xenvm.overlay\n"
        "  %(prog)s --host host.dtb -o build/viommu board.dts app.overlay\n"
        "  %(prog)s --host host.dtb -b xenvm -s my-app\n"
        "in the folder of an application of Zephyr's:\n"
        "  %(prog)s --host host.dtb\n"
        "what another host, profile or policy would change:\n"
        "  %(prog)s --host new-host.dtb --diff app.overlay",
        _add_bind_arguments,
    ),
    Command(
        "list",
        "list the IOMMUs of a host, their masters and stream IDs",
        "List what the host tree says: IOMMUs, the masters behind each, their stream IDs,\n"
        "which IDs are not unique, and which masters cannot go to a guest of Xen, and why.",
        "examples:\n"
        "  %(prog)s --host host.dtb\n"
        "  %(prog)s --host host.dtb --passable ethernet usb0\n"
        "  %(prog)s --host /proc/device-tree --format json\n"
        "  %(prog)s --host host.dtb --format svg > host.svg",
        _add_list_arguments,
    ),
    Command(
        "assign",
        "give devices of the host to a guest that boots",
        "Extract the devices, move them to free addresses of the guest, bind them, judge the\n"
        "domain, and write a folder that boots: xen.dtb, boot.cmd for U-Boot, the partial trees,\n"
        "xl.cfg or the domain's node, guest.overlay for a Zephyr guest, and the plan.",
        "examples:\n"
        "  %(prog)s --host host.dtb --kernel Image --ramdisk rd.gz usb@3100000\n"
        "  %(prog)s --host host.dtb --profile xen-amd --kernel zephyr.bin ethernet0\n"
        "  %(prog)s --host host.dtb --kernel Image --toolstack xl --dom0-kernel Image mmc0",
        _add_assign_arguments,
    ),
    Command(
        "extract",
        "print the guest node that asks for a host device",
        "Print an overlay with a node for each host device, to paste into the guest's own:\n"
        "absolute addresses, Zephyr's interrupts, stream IDs, xen,path. What a guest cannot have\n"
        "is left out, and a comment says what and why. Reasons against it go to stderr.",
        "examples:\n"
        "  %(prog)s --host host.dtb /axi/ethernet@f19f0000 >> app.overlay\n"
        "  %(prog)s --host host.dtb ethernet0 display",
        _add_extract_arguments,
    ),
    Command(
        "check",
        "check that a built guest still agrees with the host and with what Xen gave it",
        "Compare a built devicetree with the host's, whose stream IDs may have changed, and with\n"
        "the one that the guest was really given. Prints the differences; the exit status is 1\n"
        "if there are any.",
        "examples:\n"
        "  %(prog)s -d build --host host.dtb\n"
        "  LIBXL_DEBUG_DUMP_DTB=dump.dtb xl create guest.cfg\n"
        "  %(prog)s -d build --guest-dtb dump.dtb --format json\n"
        "  %(prog)s --system system.yml",
        _add_check_arguments,
    ),
    Command(
        "system",
        "judge several guests of one host together",
        "Read the plans of all guests of a host, refuse what two of them would have, and write\n"
        "one host.overlay for all, a configuration for ImageBuilder, one for xl for each guest,\n"
        "and system.json: who has what.",
        "examples:\n"
        "  %(prog)s system.yml\n"
        "  %(prog)s system.yml --format svg > system.svg\n"
        "  %(prog)s -d build --host host.dtb\n"
        "  %(prog)s --host host.dtb net/build disk/build",
        _add_system_arguments,
    ),
    Command(
        "audit",
        "judge a set of files for Xen that somebody else wrote",
        "Compare xl configurations, partial trees, marks and configurations of ImageBuilder that\n"
        "are there already with the host's tree: what is missing, what is another's, what is\n"
        "wrong, each with its line and the value that is right. Nothing is executed or changed.",
        "examples:\n"
        "  %(prog)s --host host.dtb --profile xen guest.cfg\n"
        "  %(prog)s --host host.dtb guest.cfg other.cfg host.overlay\n"
        "  %(prog)s --host host.dtb imagebuilder.config\n"
        "  %(prog)s --host host.dtb --fix guest.cfg | patch -p0",
        _add_audit_arguments,
    ),
    Command(
        "init",
        "write a viommu.yml to start from",
        "Write a viommu.yml into the application's folder, with every key explained. A file that\n"
        "is there already is left alone.",
        "examples:\n  %(prog)s --host boards/host.dtb\n  %(prog)s -s my-app --profile qemu-virt",
        _add_init_arguments,
    ),
    Command(
        "profiles",
        "list the profiles of hypervisors, print one, or make one of the source of a Xen",
        "A profile says what a hypervisor gives a guest: the vSMMU node, how stream IDs are\n"
        "numbered, and which addresses and interrupts are taken.",
        "examples:\n  %(prog)s\n  %(prog)s xen-rfc > my-xen.yaml\n"
        "  %(prog)s --from ../xen > my-xen.yaml\n"
        "  %(prog)s --from ../xen --compare xen-amd",
        _add_profiles_arguments,
    ),
    Command(
        "explain",
        "explain a hazard, and what to do about it",
        "Print what docs/hazards.md says of the id that an error or a warning has in brackets,\n"
        "or list all ids.",
        "examples:\n  %(prog)s\n  %(prog)s shared-page",
        _add_explain_arguments,
        module="reference",
        function="explain",
    ),
)

# Commands for which west has its own way, or which cannot be west commands.
ALONE = (
    Command(
        "completion",
        "print the completion of command lines for a shell",
        "Print the script that makes a shell complete the arguments of viommu.",
        "examples:\n"
        '  eval "$(%(prog)s bash)"    # in ~/.bashrc\n'
        '  eval "$(%(prog)s zsh)"     # in ~/.zshrc, after compinit\n'
        "  %(prog)s fish | source     # in ~/.config/fish/config.fish",
        _add_completion_arguments,
        module="reference",
        function="completion",
    ),
    Command(
        "help",
        "list the commands, or show the arguments of one",
        "Print what viommu --help or viommu COMMAND --help prints.",
        "example:\n  %(prog)s bind",
        _add_help_arguments,
    ),
)


class HelpFormatter(RawDescriptionHelpFormatter):
    """Help in 80 columns. To get the terminal's width, argparse would load shutil at every
    start.
    """

    def __init__(self, prog: str):
        super().__init__(prog, width=80)


def configured(parser: ArgumentParser, command: Command) -> ArgumentParser:
    """Add the arguments and the help texts of `command` to `parser`, and return it."""
    parser.formatter_class = HelpFormatter
    parser.description = command.description
    parser.epilog = command.epilog
    command.add_arguments(parser)
    parser.add_argument(
        "--errors",
        choices=MESSAGE_FORMS,
        help="the form of what goes to stderr: json is an object a line, github the annotations of "
        "a workflow (default: the environment variable VIOMMU_ERRORS, then text)",
    )
    return parser
