# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DEMO, Run, blob, environment, unmeasured
from tests.system.guests import KERNEL
from west_viommu import __version__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["lst"], "'help'): did you mean list?\n"),
        (["list", "--nonsense"], "viommu list: error: unrecognized arguments: --nonsense\n"),
        (
            ["bind", "--hots=x", "g"],
            "viommu bind: error: unrecognized arguments: --hots=x: did you mean --host?\n",
        ),
        (["list", "--format", "jsn"], "'svg'): did you mean json?\n"),
        (
            ["bind", "-D", "1X", "g"],
            "argument -D/--define: '1X' is not the name of a macro, or NAME=VALUE\n",
        ),
        (["bind", "-z"], "viommu bind: error: unrecognized arguments: -z\n"),
        (["init", "host.dtb"], "usage: viommu init [-h]"),
        (
            ["bind", "--host", "h"],
            "name the guest's devicetree source (GUEST.overlay or GUEST",
        ),
        (
            ["bind", "-b", "xenvm", "g"],
            "give GUEST files, a board with -b, or a build with -d: one",
        ),
        (["bind", "-b", "xenvm", "-d", "build"], "give one"),
        (
            ["bind", "--host", "h", "--profile", "xen-rcf", "g"],
            "no profile has the name 'xen-rcf': did you mean xen-rfc? (choose from xen-rfc, ",
        ),
        (
            ["list", "--host", "h", "--profile", "mine"],
            "no profile has the name 'mine' (choose from xen-rfc, ",
        ),
        (
            ["list", "--host", "h", "--profile", "xen-4.19.1"],
            "'xen-4.19.1': did you mean xen, with the xen-version 4.19? (choose from ",
        ),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str, viommu: Run) -> None:
    outcome = viommu(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert says in outcome.err


WAYS = (
    "no host tree: give --host HOST, set VIOMMU_HOST_DTB, run `west config viommu.host-dtb HOST`, "
    "or write `host: HOST` into "
)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["list"], "viommu.yml, which was looked for in {here}"),
        (["extract", "mac"], "viommu.yml, which was looked for in {here}"),
        (
            ["bind", "guest.overlay"],
            "viommu.yml, which was looked for in {here} (-s APP names another application)",
        ),
        (
            ["bind", "-s", "bare", "guest.overlay"],
            "viommu.yml, which was looked for in {here}/bare (-s APP names another application)",
        ),
        (["bind", "-s", "app", "guest.overlay"], "{here}/app/viommu.yml, which names none"),
        (["bind", "--config", "app/viommu.yml", "g.overlay"], "app/viommu.yml, which names none"),
        (["list", "--config", "app/viommu.yml"], "app/viommu.yml, which names none"),
    ],
)
def test_all_ways_to_name_a_host(arguments: list[str], where: str, viommu: Run) -> None:
    for name in ("app", "bare"):
        Path(name).mkdir()
    Path("app/viommu.yml").write_text("profile: xen\n")
    outcome = viommu(*arguments)
    said = f"{WAYS}{where.format(here=Path.cwd())}"
    assert outcome == (2, "", f"viommu {arguments[0]}: error: {said}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "host.dtb"], "host.dtb is a file: if it is the host's tree, write --host"),
        (["extract", "host.dtb", "mac"], "host.dtb is a file: if it is the host's tree, write"),
        (["bind", "host.dtb", "g.overlay"], "; if host.dtb is the host's tree, write --host"),
        (["system", "host.dtb", "net", "dma"], "; if host.dtb is the host's tree, write --host"),
        (["check", "--system", "host.dtb", "net"], "; if host.dtb is the host's tree, write"),
    ],
)
def test_a_host_without_its_option(arguments: list[str], says: str, viommu: Run) -> None:
    Path("host.dtb").touch()
    for name in ("net", "dma"):
        Path(name).mkdir()
    outcome = viommu(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert says in outcome.err and outcome.err.endswith("write --host host.dtb\n")


def test_a_file_named_as_a_node_is_one_where_the_host_is_named(viommu: Run) -> None:
    Path("ethernet@100000").touch()
    for command in ("list", "extract"):
        assert viommu(command, "--host", DEMO / "host.dts", "ethernet@100000").status == 0


def test_help_has_examples_with_the_name_of_the_command(viommu: Run) -> None:
    outcome = viommu("bind", "--help")
    assert outcome.status == 0
    assert "viommu bind --host host.dtb -o build/viommu board.dts app.overlay" in outcome.out
    assert viommu("--help").out.count("\n    list ") == 1


def test_version(viommu: Run) -> None:
    assert viommu("--version").out == f"viommu {__version__}\n"


def test_every_missing_guest_is_reported(viommu: Run) -> None:
    outcome = viommu("bind", "--host", DEMO / "host.dts", "a.overlay", "b.overlay")
    assert outcome.status == 1
    assert outcome.err == (
        "a.overlay: error: [unreadable] No such file or directory\nhint: check its path\n"
        "b.overlay: error: [unreadable] No such file or directory\nhint: check its path\n"
    )


def test_a_damaged_blob_where_the_guest_goes(viommu: Run) -> None:
    Path("h.dtb").write_bytes(b"\xd0\x0d\xfe\xed and more")
    outcome = viommu("bind", "--host", DEMO / "host.dts", "h.dtb", DEMO / "guest.overlay")
    assert outcome.status == 1
    assert outcome.err == (
        "h.dtb: error: [malformed] not a valid devicetree blob: the header is cut off at byte 0xd\n"
        "hint: the file is damaged or cut off: copy it again\n"
    )


def test_a_wrong_zephyr_base(viommu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYR_BASE", "/nowhere")
    outcome = viommu("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay")
    assert outcome.status == 1
    assert outcome.err == (
        "/nowhere: error: [unreadable] ZEPHYR_BASE does not name a Zephyr tree (found no folder "
        "dts/bindings)\n"
        "hint: correct it; unset, no bindings are written\n"
    )
    assert not Path("viommu").exists()


def test_it_runs_as_a_module_and_survives_a_reader_that_leaves(tmp_path: Path) -> None:
    listing = [sys.executable, "-m", "west_viommu", "list", "--host", f"{DEMO}/host.dts"]
    command = f"{shlex.join(listing)} --format json | true"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    listing = shlex.join([sys.executable, "-m", "west_viommu", "list"])
    return subprocess.run(
        ["bash", "-c", command.replace("LIST", listing)],
        env=environment(**variables),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("target", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_gives_no_traceback(target: str) -> None:
    run = shell(f"LIST --host '{DEMO}/host.dts' {target}")
    assert "Traceback" not in run.stderr
    if target == ">/dev/full":
        assert run.returncode == 1
        assert run.stderr == "viommu list: error: stdout: No space left on device\n"


def test_the_same_bytes_whatever_the_locale(tmp_path: Path) -> None:
    host = tmp_path / "host.dtb"
    host.write_bytes(blob('/dts-v1/; / { model = "zw\\xc3\\xb6lf"; };'))
    plain = shell(f"LIST --host '{host}'", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert plain.stdout == shell(f"LIST --host '{host}'", LC_ALL="C.UTF-8").stdout
    assert plain.stdout.startswith("zwölf\n")


def imported_by(*command: object) -> set[str]:
    """The modules that a command has imported when it is done."""
    code = (
        "import sys; from west_viommu.__main__ import main; status = main(sys.argv[1:]);"
        "print(status, *sys.modules)"
    )
    variables = unmeasured()
    variables.pop("ZEPHYR_BASE", None)
    arguments = [sys.executable, "-c", code, *map(str, command)]
    run = subprocess.run(arguments, env=variables, capture_output=True, text=True)
    status, *modules = run.stdout.splitlines()[-1].split(" ")
    assert status == "0", run.stderr
    return set(modules)


def demo_blob(folder: Path) -> Path:
    host = folder / "host.dtb"
    host.write_bytes(blob((DEMO / "host.dts").read_text()))
    return host


def test_list_starts_without_what_only_bind_needs(tmp_path: Path) -> None:
    """`list` must start fast: none of these is needed to read a blob and print a table."""
    slow = {"yaml", "devicetree", "west", "dataclasses", "subprocess", "json", "pathlib", "shutil"}
    assert not slow & imported_by("list", "--host", demo_blob(tmp_path))


def test_bind_starts_without_what_only_others_need(tmp_path: Path) -> None:
    """What each of these takes is told where it was left out: read/programs.py, tree/digest.py,
    read/profiles.py.
    """
    slow = {"yaml", "tempfile", "shutil", "random", "hashlib", "west", "jsonschema", "shlex"}
    host, guest = demo_blob(tmp_path), DEMO / "guest.overlay"
    assert not slow & imported_by("bind", "--host", host, guest, "-o", tmp_path / "out")


MAC = "/soc@e0000000/ethernet@100000"


def test_assign_and_audit_start_without_what_only_others_need(tmp_path: Path) -> None:
    slow = {"yaml", "hashlib", "west", "jsonschema", "dataclasses", "json"}
    on = ("--host", demo_blob(tmp_path), "--profile", "xen")
    (tmp_path / "Image").write_bytes(KERNEL)
    out = tmp_path / "out"
    kernel = ("--kernel", tmp_path / "Image", "-o", out)
    assert slow & imported_by("assign", *on, *kernel, "ethernet@100000") <= {"json"}
    only_written = {"devicetree", "subprocess", "pathlib", "west_viommu.plan.partial"}
    (tmp_path / "guest.cfg").write_text(
        f'irqs = [ 88 ]\niomem = [ "e0100,1" ]\ndtdev = [ "{MAC}" ]\n'
    )
    assert not (slow | only_written) & imported_by("audit", *on, tmp_path / "guest.cfg")


@pytest.mark.parametrize("command", [["list"], ["init"], ["system", "."], ["extract", "mac"]])
def test_a_profile_of_the_environment_that_there_is_none_of(
    command: list[str], viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIOMMU_PROFILE", "xen-rcf")
    outcome = viommu(*command, "--host", DEMO / "host.dts")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(
        "error: [malformed] the environment variable VIOMMU_PROFILE names no profile (expected "
    )
    assert outcome.err.endswith(", found xen-rcf)\nhint: did you mean xen-rfc?\n")


@pytest.mark.parametrize("command", [["list"], ["init"], ["system", "."], ["extract", "mac"]])
def test_a_host_of_the_environment_that_is_not_there(
    command: list[str], viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIOMMU_HOST_DTB", "hots.dtb")
    Path("host.dtb").touch()
    outcome = viommu(*command)
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        "error: [unreadable] the environment variable VIOMMU_HOST_DTB names a host tree that does "
        "not exist (found hots.dtb)\n"
        "hint: did you mean host.dtb? If not, correct the variable, or give --host HOST\n",
    )
