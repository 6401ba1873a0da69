# SPDX-License-Identifier: Apache-2.0
"""The schemas of what is written, and of viommu.yml, hold what they say: not less, and not more."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cli.pair import AT_BOOT, make_pair
from tests.cli.refused_cases import CASES
from tests.support import CHECKOUT, DEMO, HOSTS, PACKAGE, PARTIAL_TREE, Run, corpus_params
from tests.system.guests import Guest, bound, judged
from west_viommu.diagnostics import Refused
from west_viommu.names import PROFILES
from west_viommu.names import SCHEMAS as ON_THE_NETWORK
from west_viommu.read.settings import config_of, settings, terms
from west_viommu.read.system import system_file

SCHEMAS = PACKAGE / "schemas"
TWO_SMMUS = HOSTS / "two-smmus.dts"
WRITTEN_HOSTS = [DEMO / "host.dts", *sorted(HOSTS.glob("*.dts"))]


def validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_each_schema_has_its_place_on_the_network_as_its_name() -> None:
    for file in SCHEMAS.glob("*.json"):
        assert json.loads(file.read_text())["$id"] == f"{ON_THE_NETWORK}{file.name}"


def spoiled(value: Any, is_open: bool = False) -> Iterator[tuple[str, Any]]:
    """`value` with one thing wrong in it, each, and what that is. `is_open`: its keys are names."""
    if isinstance(value, dict):
        for key, each in value.items():
            rest = {other: value[other] for other in value if other != key}
            if not is_open:
                yield f"no {key}", rest
            for what, wrong in spoiled(each, is_open=key in ("files", "vsids", "trees")):
                yield f"{key}: {what}", {**value, key: wrong}
        yield "a key of nobody's", {**value, "nobody's": None}
    elif isinstance(value, list):
        for i, each in enumerate(value):
            for what, wrong in spoiled(each):
                yield f"{i}: {what}", [*value[:i], wrong, *value[i + 1 :]]
    yield "another type", {} if isinstance(value, list) else []
    if isinstance(value, int) and not isinstance(value, bool):
        yield "a negative number", -1
        yield "a fraction", value + 0.5
        yield "a text", str(value)
    if isinstance(value, str):
        yield "a number", 1


def filled(value: Any) -> set[str]:
    """The keys of all lists in `value` that are not empty, and of those that are."""
    found = set()
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, list):
                found.add(key if each else f"no {key}")
            found |= filled(each)
    elif isinstance(value, list):
        found = set().union(*map(filled, value)) if value else set()
    return found


def short(value: Any) -> Any:
    """`value` with one item in its lists of those that differ only in what they say."""
    if isinstance(value, dict):
        return {key: short(each) for key, each in value.items()}
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return list({tuple(sorted(filled(each))): short(each) for each in value}.values())
    return value


def check_both_ways(name: str, document: Any) -> None:
    """The schema takes `document`, and none that is spoiled."""
    schema = validator(name)
    schema.validate(document)
    schema.validate(short(document))
    assert [what for what, wrong in spoiled(short(document)) if schema.is_valid(wrong)] == []


def plan_of(viommu: Run, *arguments: object) -> Any:
    outcome = viommu("bind", *arguments)
    assert outcome.status == 0, outcome.err
    return json.loads(Path("viommu/viommu.json").read_text())


@pytest.mark.parametrize("host", WRITTEN_HOSTS, ids=lambda host: host.stem)
def test_inventory(host: Path, viommu: Run) -> None:
    check_both_ways("inventory", json.loads(viommu("list", "--host", host, "--format=json").out))


def test_these_inventories_have_everything(viommu: Run) -> None:
    seen = set()
    for host in WRITTEN_HOSTS:
        seen |= filled(json.loads(viommu("list", "--host", host, "--format=json").out))
    lists = {"iommus", "masters", "regions", "streams", "maps", "collisions", "shared"}
    assert seen >= lists | {f"no {name}" for name in ("regions", "streams", "maps", "shared")}


@pytest.mark.parametrize("file", corpus_params())
def test_inventory_of_a_real_host(file: Path, viommu: Run) -> None:
    document = json.loads(viommu("list", "--host", file, "--format", "json").out)
    validator("inventory").validate(document)


@pytest.mark.parametrize("profile", [name for name in PROFILES if name != "qemu-virt"])
def test_plan(profile: str, viommu: Run) -> None:
    arguments = ("--host", DEMO / "host.dts", "--profile", profile, DEMO / "guest.overlay")
    document = plan_of(viommu, *arguments)
    assert len(document["devices"]) == 2
    check_both_ways("plan", document)


def test_plan_with_maps(viommu: Run) -> None:
    device = 'pcie { xen,path = "/net@200c0000"; };'
    Path("guest.dts").write_text(PARTIAL_TREE % device)
    document = plan_of(viommu, "--host", TWO_SMMUS, "--profile", "qemu-virt", "guest.dts")
    assert document["devices"][0]["maps"]
    check_both_ways("plan", document)


def test_plan_with_a_permission_and_without_a_vsmmu(viommu: Run) -> None:
    Path("guest.dts").write_text(PARTIAL_TREE % 'serial { xen,path = "/serial@200a0000"; };')
    Path("viommu.yml").write_text(
        "allow: [{hazard: unprotected, device: /serial@200a0000, reason: no DMA}]\n"
    )
    document = plan_of(viommu, "--host", TWO_SMMUS, "guest.dts")
    assert document["viommu"] is None
    assert document["allowed"]
    check_both_ways("plan", document)


def test_differences(viommu: Run) -> None:
    make_pair(viommu, options=())
    outcome = viommu("check", "-d", "build", "--guest-dtb", AT_BOOT, "--format", "json")
    assert outcome.status == 1
    check_both_ways("differences", json.loads(outcome.out))


def test_audit(viommu: Run) -> None:
    board = CHECKOUT / "tests" / "audit" / "board"
    changed = (board / "domd.cfg").read_text().replace("73, ", "").replace('"10040,1"', '"1"')
    Path("domd.cfg").write_text(changed)
    # Without marks, a note.
    files = ("domd.cfg", board / "domd.dts")
    arguments = ("--host", board / "host.dts", "--profile", "xen", "--format", "json", *files)
    outcome = viommu("audit", *arguments)
    document = json.loads(outcome.out)
    assert outcome.status == 1
    assert {"devices", "pages", "intids", "problems", "notes"} <= filled(document)
    check_both_ways("audit", document)


def test_messages(viommu: Run) -> None:
    schema = validator("message")
    near = (DEMO / "guest.overlay").read_text().replace("iommus", "iommu = <1>; iommus", 1)
    Path("near.overlay").write_text(near)
    Path("wrong.overlay").write_text(near.replace("<0x0 0x40>", "<0x0 0x41>"))
    bind = ("bind", "--errors=json", "--host", DEMO / "host.dts")
    told = [
        json.loads(line)
        for run in (
            (*bind, "near.overlay"),
            (*bind, "wrong.overlay"),
            (*bind, "none.overlay"),
            ("bind", "--errors=json", "near.overlay"),
        )
        for line in viommu(*run).err.splitlines()
    ]
    assert {each["severity"] for each in told} == {"error", "warning", "note"}
    for document in told:
        schema.validate(document)
        wrong = [what for what, spoilt in spoiled(document) if schema.is_valid(spoilt)]
        assert wrong == []


def is_taken(text: str) -> bool:
    """Whether the program takes `text` for a viommu.yml."""
    Path("viommu.yml").write_text(text)
    try:
        terms(settings({}, "."))
    except Refused as refused:
        assert all(problem.id in ("malformed", "unreadable") for problem in refused.problems)
        return False
    return True


FULL = {
    "host": "host.dtb",
    "profile": "xen-rfc",
    "vsid": "explicit",
    "vsids": {"/soc/ethernet@1": [16, 17], "/soc/mmc@2": [0]},
    "domain": ["vpci", "acpi", "vpl011", "virtio"],
    "dom0": "none",
    "regions": [{"device": "/soc/mmc@2", "region": [0xFF5E0050, 4], "reason": "its clock"}],
    "allow": [{"hazard": "shared-page", "device": "/soc/uart@3", "reason": "one driver"}],
}

# Values that a key of either file could be given, most of them wrongly.
OF_A_KEY: tuple[object, ...] = ("", None, {}, [], [[]], 1)
OF_A_DOMAIN: tuple[object, ...] = (
    *(0, 1, 128, 129, 1 << 20, 1 << 21),
    *(True, "yes", None, [], {"kernel": 1}),
)


def test_config_and_its_schema_agree(viommu: Run) -> None:
    schema = validator("config")
    documents = [("full", FULL), *spoiled(FULL)]
    for word in ("identity", "first-free", "Identity", ""):
        documents.append((f"vsid {word}", {"vsid": word}))
    for number in (0, 0xFFFFFFFF, 0x100000000, True, None, "16"):
        documents.append((f"vsids {number}", {"vsid": "explicit", "vsids": {"/a": [number]}}))
    for key in FULL:
        documents += [(f"{key} {value!r}", {key: value}) for value in OF_A_KEY]
    agreed = {"taken": 0, "refused": 0}
    for what, document in documents:
        taken = schema.is_valid(document)
        assert is_taken(yaml.safe_dump(copy.deepcopy(document))) == taken, what
        agreed["taken" if taken else "refused"] += 1
    assert min(agreed.values()) > 8, agreed


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "[]", "text", "1"])
def test_a_config_without_keys(text: str, viommu: Run) -> None:
    assert validator("config").is_valid(yaml.safe_load(text)) == is_taken(text)


def test_the_configs_of_the_refused_cases(viommu: Run, tmp_path: Path) -> None:
    schema = validator("config")
    seen = set()
    # Whether a profile that is named is there, no schema says.
    (tmp_path / "missing.yaml").touch()
    for case in CASES:
        text = yaml.safe_load(case.read_text()).get("viommu.yml")
        if text is None:
            continue
        (tmp_path / "viommu.yml").write_text(text)
        try:
            config_of("viommu.yml")
            taken = True
        except Refused:
            taken = False
        assert schema.is_valid(yaml.safe_load(text)) == taken, case.stem
        seen.add(taken)
    assert seen == {True, False}


def test_the_config_that_init_writes(viommu: Run) -> None:
    assert viommu("init", "--host", DEMO / "host.dts", "--profile", "xen-rfc").status == 0
    validator("config").validate(yaml.safe_load(Path("viommu.yml").read_text()))


def system_of(viommu: Run, more: str, guests: Mapping[str, Guest]) -> Any:
    outcome = judged(
        viommu, "xen-rfc", guests, more, "    load: {kernel: 0x90000000, passthrough: 0x90010000}\n"
    )
    assert outcome.status == 0, outcome.err
    return json.loads(Path("viommu-system/system.json").read_text())


def test_a_system(viommu: Run) -> None:
    allow = "allow: [{hazard: shared-page, device: /mac@1000a000, reason: known}]\n"
    guests = {
        "a": Guest(["/mac@1000a000"], regions=1),
        "b": Guest(["/pwm@1000b100"], {"shared-page": "/pwm@1000b100"}),
        "c": Guest(
            raw=[0x1000A000, 0x20000000], allow={"shared-page": "/passthrough/shm@1000a000"}
        ),
    }
    document = system_of(viommu, allow, guests)
    assert {"dom0", "marks", "allowed", "unneeded", "raw", "devices"} <= filled(document)
    check_both_ways("system", document)


def test_a_system_without_dom0_and_kernels(viommu: Run) -> None:
    bound(viommu, "xen-rfc", {"a": Guest(["/net@10000000"])})
    Path("a/zephyr/zephyr.bin").unlink()
    Path("system.yml").write_text("host: host.dts\ndom0: none\ndomains: {a: {build: a}}\n")
    assert viommu("system", "system.yml").status == 0
    document = json.loads(Path("viommu-system/system.json").read_text())
    assert (document["dom0"], document["domains"][0]["kernel"]) == (None, None)
    validator("system").validate(document)


DOMAIN = {
    "build": "build",
    "kernel": "zephyr.bin",
    "cpus": 2,
    "memory": 64,
    "vpl011": True,
    "load": {"kernel": 0x50000000, "passthrough": 0x58000000},
}
SYSTEM = {
    "host": "host.dtb",
    "profile": "xen-rfc",
    "dom0": "none",
    "domains": {"net": DOMAIN},
    "allow": [{"hazard": "shared-page", "device": "/soc/uart@3", "reason": "one driver"}],
}


def test_a_system_file_and_its_schema_agree(viommu: Run) -> None:
    schema = validator("system-file")
    documents = [("full", SYSTEM), *spoiled(SYSTEM)]
    for name in ("a", "A-b_1", "1", "a b", "a/b", "", "x" * 31, "x" * 32):
        documents.append((f"domain {name!r}", {"domains": {name: {"build": "b"}}}))
    for key in ("cpus", "memory", "vpl011", "load"):
        for value in OF_A_DOMAIN:
            changed = {"domains": {"net": {**DOMAIN, key: value}}}
            documents.append((f"{key} {value!r}", changed))
    dom0 = {"kernel": "Image", "ramdisk": "rd", "bootargs": "console=hvc0"}
    documents += [(f"dom0: {what}", {**SYSTEM, "dom0": each}) for what, each in spoiled(dom0)]
    values: tuple[object, ...] = ("all", True, 1, {}, dom0, {"kernel": ""}, {"kernel": "Image"}, [])
    documents += [(f"dom0 {value!r}", {**SYSTEM, "dom0": value}) for value in values]
    agreed = {"taken": 0, "refused": 0}
    for what, document in documents:
        taken = schema.is_valid(document)
        assert is_system(yaml.safe_dump(copy.deepcopy(document))) == taken, what
        agreed["taken" if taken else "refused"] += 1
    assert min(agreed.values()) > 8, agreed


def is_system(text: str) -> bool:
    """Whether the program takes `text` for a system.yml."""
    Path("system.yml").write_text(text)
    try:
        system_file("system.yml")
    except Refused as refused:
        assert all(problem.id == "malformed" for problem in refused.problems)
        return False
    return True
