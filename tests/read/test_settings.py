# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from west_viommu.diagnostics import Refused
from west_viommu.read.settings import Settings, check_host, settings, terms
from west_viommu.read.west import west_board


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application in a west workspace."""
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(tmp_path / "user"))
    (tmp_path / ".west").mkdir()
    (tmp_path / "app").mkdir()
    return tmp_path / "app"


def write(file: Path, *lines: str) -> None:
    file.write_text("".join(f"{line}\n" for line in lines))


def test_nobody_chose(app: Path) -> None:
    assert settings({}, str(app)) == Settings(None, None, None, ())
    assert west_board(str(app)) is None


def test_outside_of_any_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(tmp_path / "user"))
    assert settings({}, str(tmp_path)) == Settings(None, None, None, ())


def test_options_then_west_then_the_file(app: Path) -> None:
    write(app / "viommu.yml", "host: hosts/yml.dtb", "profile: xen-rfc", "vsid: identity")
    write(app.parent / ".west/config", "[viommu]", "host-dtb = west.dtb", "profile = by-west")
    write(app.parent / "user", "[viommu]", "profile = by-user", "vsid = by-user")
    files = (f"{app.parent}/.west/config", f"{app.parent}/user", f"{app}/viommu.yml")
    assert settings({"host": "option.dtb"}, str(app)) == Settings(
        "option.dtb",
        "by-west",
        "by-user",
        files,
    )
    assert settings({}, str(app)).host == f"{app}/west.dtb"
    (app.parent / ".west/config").unlink()
    (app.parent / "user").unlink()
    found = settings({}, str(app))
    assert found[:3] == (f"{app}/hosts/yml.dtb", "xen-rfc", "identity")


def test_the_board_of_the_workspace(app: Path) -> None:
    write(app.parent / ".west/config", "[viommu]")
    write(app.parent / "user", "[build]", "board = xenvm")
    assert west_board(str(app)) == "xenvm"


def test_a_workspace_elsewhere(app: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / ".west").mkdir(parents=True)
    write(other / ".west/config", "[viommu]", "host-dtb = h.dtb")
    assert settings({}, str(app), None, str(other)).host == f"{app}/h.dtb"


def test_a_file_elsewhere(app: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.yml", "host: h.dtb")
    assert settings({}, str(app), str(tmp_path / "other.yml")).host == f"{tmp_path}/h.dtb"


def test_an_empty_file_says_nothing(app: Path) -> None:
    write(app / "viommu.yml", "# nothing yet")
    assert settings({}, str(app)).host is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["host: h.dtb", "profil: xen-rfc", "zzz: 1"],
            "{file}:2: error: [malformed] unknown key profil (expected host, profile, vsid, "
            "vsids, domain, cpus, xen-version, dom0, hardware-domain, allow, regions, found "
            "profil)\nhint: did you mean profile?\n"
            "{file}:3: error: [malformed] unknown key zzz (expected host, profile, vsid, vsids, "
            "domain, cpus, xen-version, dom0, hardware-domain, allow, regions, found zzz)\n"
            "hint: write one of those, or remove it",
        ),
        (
            ["host: [a, b]"],
            "{file}:1: error: [malformed] host is not text (found a list)\n"
            "hint: write a single value",
        ),
        (
            ["profile: xen-rcf", "vsid: zzz"],
            "{file}:1: error: [malformed] no profile has this name (expected xen-rfc or "
            "xen-amd or xen-amd-4.20 or xen-v3-dom0less or xen-v3-libxl or xen or qemu-virt, found "
            "xen-rcf)\n"
            "hint: did you mean "
            "xen-rfc?\n{file}:2: error: [malformed] no vsid has this name (expected identity or "
            "first-free or explicit, found zzz)\nhint: write one of those, or remove it",
        ),
        (
            ["profile: 3"],
            "{file}:1: error: [malformed] profile is not text (found 3)\n"
            'hint: quote the value: "3"',
        ),
        (
            ["xen-version: 4.20"],
            "{file}:1: error: [malformed] xen-version is not text (found 4.20)\n"
            'hint: quote the value: "4.20"',
        ),
        (
            ["cpus: 0"],
            "{file}:1: error: [malformed] cpus does not fit (expected 1 to 128, found 0)\n"
            "hint: write a number from 1 to 128",
        ),
        (
            ['allow: [{hazard: shared-page, device: /a, reason: "..."}]'],
            "{file}:1: error: [malformed] reason gives no reason (found ...)\n"
            "hint: write why: it goes into viommu.json and the generated files",
        ),
        (
            ["- host"],
            "{file}:1: error: [malformed] the file is not a mapping (found a list)\n"
            "hint: write `key: value` lines",
        ),
        (
            ["host: 'a"],
            "{file}:1: error: [malformed] not valid YAML: a quote that is not closed\n"
            "hint: close the quote",
        ),
        (
            ["profile: xen", "\tcpus: 2"],
            "{file}:2: error: [malformed] not valid YAML: a tab before a key or a value\n"
            "hint: indent with blanks",
        ),
        (
            ["host: a: b"],
            "{file}:1: error: [malformed] not valid YAML: a second colon in a line, or a line that "
            "is indented too far\n"
            "hint: quote a value that has a colon and a blank, or indent the line as its "
            "neighbours",
        ),
        (
            ["\0"],
            "{file}: error: [malformed] not valid YAML: no text\nhint: write UTF-8 text",
        ),
    ],
)
def test_a_file_that_is_refused(lines: list[str], message: str, app: Path) -> None:
    write(app / "viommu.yml", *lines)
    with pytest.raises(Refused) as caught:
        settings({}, str(app))
    assert str(caught.value) == message.format(file=app / "viommu.yml")


def test_a_file_that_is_not_there(app: Path) -> None:
    with pytest.raises(Refused, match=r"no.yml: error: \[unreadable\] No such file"):
        settings({}, str(app), "no.yml")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = 1", 1, "this is not below a [section]\nhint: write the section above it: [viommu]"),
        (
            "[a]\nx",
            2,
            "this is neither a [section] nor a line `key = value`\nhint: correct the line",
        ),
        ("[a]\nx = 1\nx = 2", 3, "x appears twice\nhint: remove one"),
        ("[a]\n[b]\n[a]", 3, "a appears twice\nhint: remove one"),
        ("[a]\nx = \udcff", 2, "this is not UTF-8 text\nhint: write it in UTF-8"),
    ],
)
def test_a_broken_configuration_of_west(text: str, line: int, says: str, app: Path) -> None:
    file = app.parent / ".west/config"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(Refused) as caught:
        settings({}, str(app))
    assert str(caught.value) == f"{file}:{line}: error: [malformed] {says}"


def test_a_profile_beside_the_file_needs_no_suffix(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(app / "mine", "name: mine")
    for value, found in (("./mine", "./mine"), ("./mine.yml", "mine.yml"), ("sub/x", "sub/x")):
        (app / value).parent.mkdir(exist_ok=True)
        (app / value).touch()
        write(app / "viommu.yml", f"profile: {value}")
        assert settings({}, str(app)).profile == str(app / value)
        monkeypatch.chdir(app)
        assert settings({}, ".").profile == found


def check(options: dict[str, str | None], app: Path) -> None:
    chosen = settings(options, str(app))
    check_host(chosen.host, chosen.host_where)


def test_the_line_that_names_a_host_which_is_not_there(app: Path, tmp_path: Path) -> None:
    file = app / "viommu.yml"
    write(file, "profile: xen-rfc", "host: hosts/board.dtb")
    (app / "hosts").mkdir()
    (app / "hosts/board.dts").touch()
    with pytest.raises(Refused) as caught:
        check({}, app)
    assert str(caught.value) == (
        f"{file}:2: error: [unreadable] this names a host tree that does not exist (found "
        f"{app}/hosts/board.dtb)\nhint: did you mean {app}/hosts/board.dts? If not, correct the "
        "path, which is relative to this file"
    )
    # Another one counts, and this is nobody's business.
    check({"host": "option.dtb"}, app)
    west = app.parent / ".west/config"
    write(west, "[viommu]", "profile = xen", "host-dtb = nowhere.dtb")
    with pytest.raises(Refused) as caught:
        check({}, app)
    assert str(caught.value) == (
        f"{west}:3: error: [unreadable] this names a host tree that does not exist (found "
        f"{app}/nowhere.dtb)\nhint: correct the path, which is relative to the application: west "
        "config viommu.host-dtb PATH"
    )


@pytest.mark.parametrize("name", ["viommu.yaml", ".viommu.yml"])
def test_a_file_of_nearly_that_name(name: str, app: Path) -> None:
    write(app / name, "host: h.dtb")
    with pytest.raises(Refused) as caught:
        settings({}, str(app))
    assert str(caught.value) == (
        f"{app}/{name}: error: [malformed] nothing reads {name} (expected viommu.yml, found "
        f"{name})\nhint: rename it to viommu.yml, or name it with --config or VIOMMU_CONFIG"
    )
    assert settings({}, str(app), str(app / name)).host == f"{app}/h.dtb"
    write(app / "viommu.yml", "host: other.dtb")
    assert settings({}, str(app)).host == f"{app}/other.dtb"


def test_the_version_of_the_hypervisor(app: Path) -> None:
    assert terms(settings({"profile": "xen"}, str(app))).versions[0] == "4.17"
    assert terms(settings({"profile": "qemu-virt"}, str(app))).versions == ("",)
    write(app / "viommu.yml", "profile: xen", 'xen-version: "4.20.4"', "cpus: 4")
    found = terms(settings({}, str(app)))
    assert (found.versions, found.cpus) == (("4.20",), 4)
    assert terms(settings({"xen_version": "4.18"}, str(app))).versions == ("4.18",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["profile: xen", 'xen-version: "4.2"'],
            "{file}:2: error: [malformed] the profile xen knows no version 4.2 (expected 4.17 or "
            "4.18 or 4.19 or 4.20 or 4.21 or 4.22, found 4.2)\nhint: write one of those; `viommu "
            "profiles --from DIR` makes a profile of another source",
        ),
        (
            ["profile: xen-rfc", 'xen-version: "4.20"'],
            "{file}:2: error: [malformed] the profile xen-rfc knows no version 4.20 (found 4.20)\n"
            "hint: remove it: the profile xen-rfc is for one version alone",
        ),
        (
            ["profile: xen", "hardware-domain: true"],
            "{file}:2: error: [malformed] hardware-domain says that another domain than dom0 gets "
            "the rest of the host\nhint: write dom0: none as well, or remove hardware-domain",
        ),
        (
            ["profile: xen-amd", "dom0: none", "hardware-domain: true"],
            "{file}:3: error: [malformed] the hypervisor of the profile xen-amd creates no "
            "hardware domain at boot\n"
            "hint: remove hardware-domain; Xen has it from 4.21 on (the profile xen)",
        ),
        (
            ["profile: xen", 'xen-version: "4.20"', "dom0: none", "hardware-domain: true"],
            "{file}:4: error: [malformed] 4.20 creates no hardware domain at boot\n"
            "hint: remove hardware-domain, or take 4.21 or later",
        ),
    ],
)
def test_terms_that_are_refused(lines: list[str], message: str, app: Path) -> None:
    write(app / "viommu.yml", *lines)
    with pytest.raises(Refused) as caught:
        terms(settings({}, str(app)))
    assert str(caught.value) == message.format(file=app / "viommu.yml")


def test_a_hardware_domain_takes_what_no_guest_asks_for(app: Path) -> None:
    write(app / "viommu.yml", "profile: xen", "dom0: none", "hardware-domain: true")
    found = terms(settings({}, str(app)))
    assert (found.has_dom0, found.gives_rest) == (False, True)
