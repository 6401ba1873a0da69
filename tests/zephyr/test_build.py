# SPDX-License-Identifier: Apache-2.0
"""Binding by itself during a Zephyr build: the devicetree stage of a real Zephyr, and an image."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support import CHECKOUT, DEMO
from tests.zephyr.workspace import (
    AFTER_US,
    ETHERNET,
    ETHERNET_IOMMUS,
    FIRST,
    GICV3,
    OVERLAY,
    SAMPLE,
    VERSION,
    VSMMU,
    Workspace,
    another,
    needs_toolchain,
    needs_zephyr,
    of_4_3,
    since,
)

pytestmark = needs_zephyr

SAMPLE_IOMMUS = {
    "/passthrough/ethernet@e0100000": [[VSMMU, 0x40]],
    "/passthrough/dma-controller@e0200000": [[VSMMU, 0x48], [VSMMU, 0x49]],
}


@pytest.fixture
def app(workspace: Workspace) -> Path:
    """The application, with the demo host beside it and one device in its overlay."""
    shutil.copy(DEMO / "host.dts", workspace.app)
    (workspace.app / "viommu.yml").write_text("host: host.dts\n")
    (workspace.app / "app.overlay").write_text(OVERLAY % ETHERNET)
    return workspace.app


@pytest.mark.parametrize("board", ["xenvm", GICV3])
def test_the_sample_is_bound(board: str, workspace: Workspace) -> None:
    ran = workspace.stage("-DEXTRA_GEN_EDT_ARGS=--edtlib-Werror", app=SAMPLE, board=board)
    assert ran.status == 0, ran.log
    assert ran.log.count("-- viommu: bound 2 devices of ") == 1
    assert workspace.iommus() == SAMPLE_IOMMUS
    plan = json.loads((workspace.build / "viommu/viommu.json").read_text())
    assert [device["node"] for device in plan["devices"]] == list(SAMPLE_IOMMUS)


HOST_OF_SHAPES = """/dts-v1/; / {
	#address-cells = <2>; #size-cells = <2>;
	interrupt-parent = <&gic>;
	gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; };
	smmu: iommu@10000000 { compatible = "arm,smmu-v3"; reg = <0 0x10000000 0 0x40000>;
		#iommu-cells = <1>; };
	a@20000000 { reg = <0 0x20000000 0 0x1000>; interrupts = <0 41 4>; iommus = <&smmu 1>; };
	b@20001000 { reg = <0 0x20001000 0 0x1000>; interrupts = <0 42 4>; iommus = <&smmu 2>; };
	c@20002000 { reg = <0 0x20002000 0 0x1000>; iommus = <&smmu 3>; };
	d@20003000 { reg = <0 0x20003000 0 0x1000>; iommus = <&smmu 4>; };
	e@20004000 { reg = <0 0x20004000 0 0x1000>; iommus = <&smmu 5>; };
	f@20005000 { reg = <0 0x20005000 0 0x1000>; iommus = <&smmu 6>; };
	g@20006000 { reg = <0 0x20006000 0 0x1000>; interrupts = <0 43 4>; iommus = <&smmu 7>; };
	h@20007000 { reg = <0 0x20007000 0 0x1000>; iommus = <&smmu 8>; };
	i@20008000 { reg = <0 0x20008000 0 0x1000>; iommus = <&smmu 9>; };
}; """
# What xlnx,gem requires in Zephyr 4.3.
GEM = """interrupts = <GIC_SPI 56 IRQ_TYPE_LEVEL 0>; clock-frequency = <1>; mdc-divider = <0>;
	mdio-phy-address = <0>; phy-poll-interval = <1000>; link-speed = <1>;
	amba-ahb-burst-length = <16>; hw-rx-buffer-size = <0>; hw-rx-buffer-offset = <0>;
	rx-buffer-descriptors = <1>; rx-buffer-size = <64>;
	tx-buffer-descriptors = <1>; tx-buffer-size = <64>;"""
# The label is what arm,pl011 requires in Zephyr 3.1.
SHAPES = """
	a@20000000 { compatible = "arm,pl011", "arm,primecell"; reg = <0 0x20000000 0 0x1000>;
		iommus = <0 1>; interrupts = <GIC_SPI 41 IRQ_TYPE_LEVEL 0>; label = "U"; };
	b@20001000 { compatible = "nobody,knows", "arm,pl011"; reg = <0 0x20001000 0 0x1000>;
		interrupts = <GIC_SPI 42 IRQ_TYPE_LEVEL 0>; label = "U"; iommus = <0 2>; };
	c@20002000 { compatible = "nobody,else"; reg = <0 0x20002000 0 0x1000>; iommus = <0 3>;
		some-flag; some-cells = <1 2>; xen,path = "/c@20002000"; };
	d@20003000 { reg = <0 0x20003000 0 0x1000>; xen,path = "/d@20003000"; };
	e@20004000 { compatible = "app,device"; reg = <0 0x20004000 0 0x1000>; iommus = <0 5>;
		only-app = <1>; };
	f@20005000 { compatible = "app,with-iommus"; reg = <0 0x20005000 0 0x1000>;
		iommus = <0 6>; };
	bus { compatible = "simple-bus"; #address-cells = <2>; #size-cells = <2>; ranges;
		g@20006000 { compatible = "arm,pl011"; reg = <0 0x20006000 0 0x1000>; iommus = <0 7>;
			interrupts = <GIC_SPI 43 IRQ_TYPE_LEVEL 0>; label = "U"; };
	};
	h@20007000 { compatible = "nobody,else"; reg = <0 0x20007000 0 0x1000>; iommus = <0 8>;
		other-flag; xen,reg = <0 0x20007000 0 0x1000 0 0x20007000>; };
	i@20008000 { compatible = "app,under-another-name"; reg = <0 0x20008000 0 0x1000>;
		iommus = <0 9>; only-app = <1>; };
"""
APP_BINDING = """description: A device that only the application knows
compatible: "%s"
include: base.yaml
properties:
  only-app:
    type: int
"""


def test_devices_of_every_shape_keep_their_bindings(workspace: Workspace) -> None:
    app = workspace.app
    (app / "host.dts").write_text(HOST_OF_SHAPES)
    (app / "app.overlay").write_text(OVERLAY % SHAPES)
    bindings = app / "dts/bindings"
    bindings.mkdir(parents=True)
    (bindings / "app,device.yaml").write_text(APP_BINDING % "app,device")
    (bindings / "odd.yaml").write_text(APP_BINDING % "app,under-another-name")
    (bindings / "app,with-iommus.yaml").write_text(
        APP_BINDING % "app,with-iommus"
        + "  iommus:\n    type: phandle-array\n    required: true\n    specifier-space: iommu\n"
    )
    (bindings / "vendor-prefixes.txt").write_text("app\tThe application\n")
    werror = () if VERSION < (3, 2) else ("-DEXTRA_GEN_EDT_ARGS=--edtlib-Werror",)
    ran = workspace.stage("-DVIOMMU_HOST_DTB=host.dts", *werror)
    assert ran.status == 0, ran.log
    assert workspace.iommus() == {
        "/passthrough/a@20000000": [[VSMMU, 1]],
        "/passthrough/b@20001000": [[VSMMU, 2]],
        "/passthrough/c@20002000": [[VSMMU, 3]],
        "/passthrough/e@20004000": [[VSMMU, 5]],
        "/passthrough/f@20005000": [[VSMMU, 6]],
        "/passthrough/bus/g@20006000": [[VSMMU, 7]],
        "/passthrough/h@20007000": [[VSMMU, 8]],
        "/passthrough/i@20008000": [[VSMMU, 9]],
    }
    text = (workspace.build / "zephyr/zephyr.dts").read_text()
    assert text.count("iommus = < &vsmmu") == 9
    assert "nobody\t" in (workspace.build / "viommu/dts/bindings/vendor-prefixes.txt").read_text()


@since(4, 0, "an older xlnx,gem binding does not have the properties")
@pytest.mark.parametrize("compatible", ['"xlnx,gem"', '"nobody,mac", "xlnx,gem"'])
def test_a_binding_with_required_properties_still_requires_them(
    compatible: str, app: Path, workspace: Workspace
) -> None:
    device = ETHERNET.replace('"cdns,gem"', compatible)
    (app / "app.overlay").write_text(OVERLAY % device)
    log = workspace.stage().log
    assert "app.overlay:7: error: [malformed] Zephyr's binding of the device requires " in log
    assert "/dts/bindings/ethernet/xlnx,gem.yaml: copy what is of the host" in log
    assert "build/viommu/dts/bindings" not in log
    (app / "app.overlay").write_text(OVERLAY % device.replace("iommus", f"{GEM}\n iommus"))
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


OTHER_SMMU = """description: SMMUv3, for a driver of this application
compatible: "arm,smmu-v3"
include: base.yaml
properties:
  cmdq-size: {type: int, required: true}
  evtq-size: {type: int, required: true}
"""


@pytest.mark.parametrize(
    ("binding", "fits"),
    [
        (OTHER_SMMU, False),
        (OTHER_SMMU.split("properties")[0] + "iommu-cells: [stream-id]\n", True),
    ],
    ids=["one that does not fit", "one that fits"],
)
def test_beside_an_smmu_binding_of_the_application(
    binding: str, fits: bool, app: Path, workspace: Workspace
) -> None:
    bindings = app / "dts/bindings"
    bindings.mkdir(parents=True)
    (bindings / "arm,smmu-v3.yaml").write_text(binding)
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS
    text = (workspace.build / "zephyr/zephyr.dts").read_text()
    assert '"arm,smmu-v3"' in text
    assert ('"viommu,smmu-v3"' not in text) == fits
    checked = workspace.run("west", "viommu-check", "-d", str(workspace.build), "--host=host.dts")
    assert checked.status == 0, checked.log


def test_the_overlays_of_the_application_may_extend_the_vsmmu(
    app: Path, workspace: Workspace
) -> None:
    overlay = (app / "app.overlay").read_text()
    overlay += "/ { aliases { smmu = &vsmmu; }; chosen { app,smmu = &vsmmu; }; };\n"
    (app / "app.overlay").write_text(overlay + "&vsmmu {\n\tdma-coherent;\n};\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS
    header = workspace.header()
    assert "#define DT_N_ALIAS_smmu" in header and "#define DT_CHOSEN_app_smmu" in header
    assert "#define DT_N_S_iommu_4040000_P_dma_coherent 1" in header
    last = len((app / "app.overlay").read_text().splitlines())
    text = (workspace.build / "zephyr/zephyr.dts").read_text()
    assert f"app.overlay:{last - 1} */" in text or VERSION < (4, 0)


def test_an_extra_overlay(app: Path, workspace: Workspace) -> None:
    (app / "app.overlay").rename(app / "extra.overlay")
    variable = "EXTRA_DTC_OVERLAY_FILE" if VERSION >= (3, 5) else "DTC_OVERLAY_FILE"
    ran = workspace.stage(f"-D{variable}={app}/extra.overlay")
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


@since(3, 5, "older Zephyrs have no snippets")
def test_a_snippet(app: Path, workspace: Workspace) -> None:
    snippet = app / "snippets" / "mac"
    snippet.mkdir(parents=True)
    (app / "app.overlay").rename(snippet / "mac.overlay")
    (snippet / "snippet.yml").write_text(
        "name: mac\nappend:\n  EXTRA_DTC_OVERLAY_FILE: mac.overlay\n"
    )
    ran = workspace.stage("-DSNIPPET=mac", f"-DSNIPPET_ROOT={app}")
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_a_shield(app: Path, workspace: Workspace) -> None:
    shield = app / "boards" / "shields" / "mac"
    shield.mkdir(parents=True)
    (app / "app.overlay").rename(shield / "mac.overlay")
    (shield / "Kconfig.shield").write_text("config SHIELD_MAC\n\tdef_bool y\n")
    ran = workspace.stage("-DSHIELD=mac", f"-DBOARD_ROOT={app}")
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_an_overlay_of_an_earlier_run_given_by_hand(app: Path, workspace: Workspace) -> None:
    assert workspace.stage().status == 0
    shutil.copytree(workspace.build / "viommu", app / "earlier")
    ran = workspace.stage(
        f"-DDTC_OVERLAY_FILE={app}/app.overlay;{app}/earlier/viommu.overlay",
        f"-DDTS_ROOT={app}/earlier",
    )
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_each_place_of_the_configuration_gives_way_to_the_one_before(
    app: Path, workspace: Workspace
) -> None:
    for name in ("option", "environment", "cmake", "west"):
        shutil.copy(app / "host.dts", app / f"{name}.dts")
    (app / "before.cmake").write_text("set(VIOMMU_HOST_DTB cmake.dts)\n")
    workspace.run("west", "config", "viommu.host-dtb", "west.dts")

    def host(*options: str, **variables: str) -> str:
        # The stage alone does not run CMakeLists.txt, which has the set().
        command = ["cmake", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app), *options]
        ran = workspace.run(*command, variables=variables)
        shutil.rmtree(workspace.build)
        (line,) = [line for line in ran.log.splitlines() if "-- viommu: " in line]
        return line.split(" of ")[1].split(" to ")[0].removeprefix(f"{app}/")

    assert host("-DVIOMMU_HOST_DTB=option.dts", VIOMMU_HOST_DTB="environment.dts") == "option.dts"
    assert host(VIOMMU_HOST_DTB="environment.dts") == "environment.dts"
    assert host() == "cmake.dts"
    (app / "before.cmake").unlink()
    assert host() == "west.dts"
    workspace.run("west", "config", "-d", "viommu.host-dtb")
    assert host() == "host.dts"
    (app / "other").mkdir()
    (app / "viommu.yml").rename(app / "other/viommu.yml")
    (app / "host.dts").rename(app / "other/host.dts")
    assert host("-DVIOMMU_CONFIG=other/viommu.yml") == "other/host.dts"


def test_no_host_is_refused_with_what_to_do(app: Path, workspace: Workspace) -> None:
    (app / "viommu.yml").unlink()
    ran = workspace.stage()
    assert ran.status == 1
    message, hint = [line for line in ran.log.splitlines() if "no-host" in line or "hint" in line]
    assert message.startswith(f"{app}/app.overlay:10: error: [no-host] a host device is asked for")
    assert "-DVIOMMU_HOST_DTB=FILE" in hint and "west config" in hint
    assert ran.log.index(message) < ran.log.index("CMake Error")


@pytest.mark.parametrize("name", ["VIOMMU_HOST", "viommu_host_dtb", "VIOMMU_XEN_VERSION"])
def test_a_variable_that_is_nearly_one_of_ours(name: str, app: Path, workspace: Workspace) -> None:
    ran = workspace.stage(f"-D{name}=host.dts", app=app)
    assert ran.status == 1
    log = " ".join(ran.log.split())
    assert f"west-viommu: nothing reads {name}. The variables are VIOMMU_HOST_DTB" in log


def test_a_variable_of_somebody_else(app: Path, workspace: Workspace) -> None:
    assert workspace.stage("-DVIOMMU_MINE=1", app=app).status == 0


def test_refusal_leaves_nothing_and_the_next_build_recovers(
    app: Path, workspace: Workspace
) -> None:
    configure = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app))
    assert workspace.run(*configure).status == 0
    overlay = (app / "app.overlay").read_text()
    (app / "app.overlay").write_text(overlay.replace("0x40>", "0x41>"))
    ran = workspace.run("ninja", "-C", str(workspace.build), "build.ninja")
    assert ran.status == 1
    assert f"{app}/app.overlay:10: error: [stream-mismatch]" in ran.log
    assert ran.log.index("[stream-mismatch]") < ran.log.index("CMake Error")
    assert not (workspace.build / "viommu/viommu.json").exists()
    assert not (workspace.build / "viommu/viommu.overlay").exists()
    (app / "app.overlay").write_text(overlay)
    assert workspace.run("ninja", "-C", str(workspace.build), "build.ninja").status == 0
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_configures_again_when_an_input_changes_once_and_only_then(
    app: Path, workspace: Workspace
) -> None:
    (app / "nested.dtsi").write_text("/ { };\n")
    (app / "app.overlay").write_text('#include "nested.dtsi"\n' + OVERLAY % ETHERNET)
    configure = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app))
    ran = workspace.run(*configure)
    assert ran.status == 0, ran.log

    def configured() -> int:
        ran = workspace.run("ninja", "-C", str(workspace.build), "build.ninja")
        assert ran.status == 0, ran.log
        return ran.log.count("-- viommu: bound")

    assert configured() == 0
    for name in ("host.dts", "viommu.yml", "app.overlay", "nested.dtsi"):
        file = app / name
        comment = "# again\n" if name.endswith(".yml") else "/* again */\n"
        file.write_text(file.read_text() + comment)
        assert configured() == 1, name
        assert workspace.iommus() == ETHERNET_IOMMUS, name
        assert configured() == 0, name
    (app / "app.overlay").write_text(OVERLAY % "")
    assert configured() == 0
    assert workspace.iommus() == {}
    assert not (workspace.build / "viommu/viommu.json").exists()


def test_a_viommu_yml_that_appears_later_counts(app: Path, workspace: Workspace) -> None:
    (app / "viommu.yml").unlink()
    configure = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app))
    ran = workspace.run(*configure, "-DVIOMMU_HOST_DTB=host.dts")
    assert "(xen-rfc (default), identity)" in ran.log
    (app / "viommu.yml").write_text("profile: xen-v3-dom0less\n")
    again = ("ninja", "-C", str(workspace.build), "build.ninja")
    assert "(xen-v3-dom0less, first-free)" in workspace.run(*again).log
    assert "viommu: bound" not in workspace.run(*again).log


def test_what_is_gone_from_the_folder_comes_back(app: Path, workspace: Workspace) -> None:
    configure = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app))
    assert workspace.run(*configure).status == 0
    folder = workspace.build / "viommu"
    wanted = sorted(file for file in folder.rglob("*") if file.is_file())

    def configured() -> int:
        ran = workspace.run("ninja", "-C", str(workspace.build), "build.ninja")
        assert ran.status == 0, ran.log
        return ran.log.count("-- viommu: bound")

    shutil.rmtree(folder)
    assert configured() == 1
    assert sorted(file for file in folder.rglob("*") if file.is_file()) == wanted
    (folder / "xl.cfg").unlink()
    assert configured() == 1
    assert configured() == 0


def test_a_preprocessor_that_fails_leaves_nothing_stale(app: Path, workspace: Workspace) -> None:
    configure = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(app))
    assert workspace.run(*configure).status == 0
    (app / "app.overlay").write_text('#include "missing.dtsi"\n' + OVERLAY % ETHERNET)
    ran = workspace.run("ninja", "-C", str(workspace.build), "build.ninja")
    assert ran.status == 1
    assert "missing.dtsi: No such file" in ran.log
    left = [file for file in (workspace.build / "viommu").rglob("*") if file.is_file()]
    assert [file.name for file in left if file.stat().st_size] == []


BY_PATH = """include(${ZEPHYR_BASE}/cmake/modules/dts.cmake OPTIONAL RESULT_VARIABLE found)
if(NOT found)
  include(${ZEPHYR_BASE}/cmake/dts.cmake)
endif()
"""
ALONG_THE_PATH = """list(REMOVE_ITEM CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
include(dts)
list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
"""
# As sdk-nrf does: partitions for some boards before all overlays of the application.
WITH_AN_OVERLAY = f"""list(PREPEND DTC_OVERLAY_FILE ${{CMAKE_CURRENT_LIST_DIR}}/other.overlay)
{ALONG_THE_PATH}"""
OWN_PREPROCESSOR = f"set(CMAKE_DTS_PREPROCESSOR ${{CMAKE_C_COMPILER}})\n{ALONG_THE_PATH}"


def configure(workspace: Workspace) -> tuple[str, ...]:
    build, app = str(workspace.build), str(workspace.app)
    return ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", build, "-S", app)


@pytest.mark.parametrize(
    ("place", "dts", "why"),
    [
        (FIRST, BY_PATH, "other/cmake/dts.cmake came first and does not include the next"),
        (AFTER_US, OWN_PREPROCESSOR, "a module set CMAKE_DTS_PREPROCESSOR after west-viommu did"),
    ],
    ids=["includes Zephyr's by its path", "another preprocessor"],
)
def test_a_module_that_goes_round_ours_ends_the_configure(
    place: str, dts: str, why: str, app: Path, workspace: Workspace
) -> None:
    """Also if a configure before that one was bound."""
    assert workspace.run(*configure(workspace)).status == 0
    ran = workspace.run(*configure(workspace), another(workspace, place, dts=dts))
    assert ran.status == 1
    log = " ".join(ran.log.split())
    assert "west-viommu: no device is bound, as " in log
    assert why in log


@pytest.mark.parametrize(
    ("place", "dts"),
    [(AFTER_US, BY_PATH), (AFTER_US, ALONG_THE_PATH), (FIRST, ALONG_THE_PATH)],
    ids=["by its path, after ours", "along the path, after ours", "along the path, before ours"],
)
def test_a_module_with_a_dts_cmake_of_its_own(
    place: str, dts: str, app: Path, workspace: Workspace
) -> None:
    ran = workspace.run(*configure(workspace), another(workspace, place, dts=dts))
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


@pytest.mark.parametrize("place", [FIRST, AFTER_US], ids=["before ours", "after ours"])
def test_a_module_that_adds_an_overlay_of_its_own(
    place: str, app: Path, workspace: Workspace
) -> None:
    option = another(workspace, place, dts=WITH_AN_OVERLAY)
    (workspace.top / "other/cmake/other.overlay").write_text("/ { of-the-other; };\n")
    ran = workspace.run(*configure(workspace), option)
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS
    assert "of-the-other;" in (workspace.build / "zephyr/zephyr.dts").read_text()


def test_a_module_that_goes_round_ours_matters_to_nobody_without_devices(
    app: Path, workspace: Workspace
) -> None:
    (app / "app.overlay").unlink()
    (app / "viommu.yml").unlink()
    ran = workspace.run(*configure(workspace), another(workspace, FIRST, dts=BY_PATH))
    assert ran.status == 0, ran.log


@pytest.fixture
def later(app: Path, workspace: Workspace) -> Path:
    """The application of `app`, with a Zephyr after 4.3."""
    workspace.put_stage_off()
    return app


@of_4_3
def test_after_4_3_the_host_and_the_settings_are_watched(later: Path, workspace: Workspace) -> None:
    again = ("ninja", "-C", str(workspace.build), "build.ninja")
    (later / "viommu.yml").unlink()
    ran = workspace.run(*configure(workspace), "-DVIOMMU_HOST_DTB=host.dts")
    assert ran.status == 0, ran.log
    assert ran.log.count("-- viommu: bound 1 device of ") == 1
    assert workspace.iommus() == ETHERNET_IOMMUS
    assert "viommu: bound" not in workspace.run(*again).log
    (later / "viommu.yml").write_text("host: host.dts\nprofile: xen-amd\n")
    assert "(xen-amd, identity)" in workspace.run(*again).log
    info = yaml.safe_load((workspace.build / "build_info.yml").read_text())
    files = info["cmake"]["devicetree"]["files"]
    assert files[-1] == str(workspace.build / "viommu/viommu.overlay")

    check = ("ninja", "-C", str(workspace.build), "viommu_inputs")
    assert workspace.run(*check).status == 0
    host = later / "host.dts"
    host.write_text(host.read_text().replace("<&smmu0 0x40>", "<&smmu0 0x41>", 1))
    os.utime(host, (1, 1))
    ran = workspace.run(*check)
    assert ran.status == 1
    assert f"{host} is not the file that was bound" in " ".join(ran.log.split())


@of_4_3
@pytest.mark.parametrize(
    ("place", "dts", "why"),
    [
        (FIRST, BY_PATH, "other/cmake/dts.cmake came first and does not include the next"),
        (AFTER_US, OWN_PREPROCESSOR, "a module set CMAKE_DTS_PREPROCESSOR after west-viommu did"),
        (AFTER_US, BY_PATH, ""),
        (FIRST, ALONG_THE_PATH, ""),
    ],
    ids=["round, by its path", "round, another preprocessor", "by its path", "along the path"],
)
def test_after_4_3_with_another_module(
    place: str, dts: str, why: str, later: Path, workspace: Workspace
) -> None:
    ran = workspace.run(*configure(workspace), another(workspace, place, dts=dts))
    assert ran.status == bool(why), ran.log
    if why:
        assert why in " ".join(ran.log.split())
    else:
        assert workspace.iommus() == ETHERNET_IOMMUS


def test_an_older_host_in_the_place_of_the_bound_one(app: Path, workspace: Workspace) -> None:
    """Its time is before that of the configure, so that CMake sees nothing."""
    assert workspace.run(*configure(workspace)).status == 0
    check = ("ninja", "-C", str(workspace.build), "viommu_inputs")
    assert workspace.run(*check).status == 0
    host = app / "host.dts"
    host.write_text(host.read_text().replace("<&smmu0 0x40>", "<&smmu0 0x41>", 1))
    os.utime(host, (1, 1))
    ran = workspace.run(*check)
    assert ran.status == 1
    assert f"{host} is not the file that was bound" in " ".join(ran.log.split())
    again = workspace.run(*check)
    assert again.status == 1
    assert "app.overlay:10: error: [" in again.log


@pytest.mark.parametrize("character", ";[]")
def test_a_character_of_cmake_in_the_name_of_the_host(
    character: str, app: Path, workspace: Workspace
) -> None:
    written = r"\;" if character == ";" else character
    ran = workspace.stage(f"-DVIOMMU_HOST_DTB=a{written}b.dts")
    assert ran.status == 1
    log = " ".join(ran.log.split())
    assert f"CMake cannot pass on the '{character}' in VIOMMU_HOST_DTB: " in log


@since(4, 0, "older Zephyrs do not write build_info.yml")
def test_build_info_names_the_overlay(app: Path, workspace: Workspace) -> None:
    """Editors take the files of the devicetree from there."""
    assert workspace.run(*configure(workspace)).status == 0
    info = yaml.safe_load((workspace.build / "build_info.yml").read_text())
    files = info["cmake"]["devicetree"]["files"]
    assert files[-1] == str(workspace.build / "viommu/viommu.overlay")
    assert str(app / "app.overlay") in files


def test_a_build_directory_with_a_space(app: Path, workspace: Workspace) -> None:
    workspace.build = workspace.top / "a build"
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


@pytest.mark.parametrize("name", ["my host.dts", "my[host.dts"])
def test_a_host_that_cmake_cannot_watch_works_with_a_note(
    name: str, app: Path, workspace: Workspace
) -> None:
    (app / "host.dts").rename(app / name)
    (app / "viommu.yml").write_text(f"host: '{name}'\n")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert "go unnoticed" in ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_nothing_asked_for_changes_nothing(workspace: Workspace) -> None:
    assert workspace.stage().status == 0
    with_module = (workspace.build / "zephyr/zephyr.dts.pre").read_bytes()
    header = workspace.header()
    assert not list((workspace.build / "viommu").rglob("*.overlay"))
    (workspace.app / "west.yml").write_text("manifest: {projects: []}\n")
    assert workspace.stage().status == 0
    assert (workspace.build / "zephyr/zephyr.dts.pre").read_bytes() == with_module
    assert workspace.header() == header


def test_passthrough_without_requests_is_left_alone(workspace: Workspace) -> None:
    (workspace.app / "app.overlay").write_text(OVERLAY % "")
    ran = workspace.stage()
    assert ran.status == 0, ran.log
    assert "viommu:" not in ran.log


@since(3, 4, "older Zephyrs have no sysbuild")
def test_sysbuild(app: Path, workspace: Workspace) -> None:
    ran = workspace.run(
        "west", "build", "--sysbuild", "--cmake-only", "-b", "xenvm", "-d", str(workspace.build)
    )
    assert ran.status == 0, ran.log
    assert ran.log.count("-- viommu: bound 1 device of ") == 1
    assert workspace.iommus(workspace.build / "app") == ETHERNET_IOMMUS
    listed = workspace.run("west", "viommu-bind", "-d", str(workspace.build))
    assert listed.status == 0, listed.log


def test_bind_for_a_board_and_for_a_build(app: Path, workspace: Workspace) -> None:
    ran = workspace.run("west", "viommu-bind", "--host", "host.dts", "-b", "xenvm")
    assert ran.status == 0, ran.log
    assert "wrote viommu/viommu.overlay" in ran.log
    assert "for Zephyr to viommu/dts/bindings" in ran.log
    by_board = (app / "viommu/viommu.overlay").read_text()
    assert "iommus = <&vsmmu 0x40>;" in by_board

    workspace.run("west", "config", "build.board", "xenvm")
    ran = workspace.run("west", "viommu-bind")
    assert ran.status == 0, ran.log

    assert workspace.stage().status == 0
    ran = workspace.run("west", "viommu-bind", "-d", str(workspace.build))
    assert ran.status == 0, ran.log
    assert f"wrote {workspace.build}/viommu/viommu.overlay" in ran.log
    again = (workspace.build / "viommu/viommu.overlay").read_text()
    assert again.splitlines()[8:] == by_board.splitlines()[8:]


def test_bind_and_check_alone_take_the_build_of_west(app: Path, workspace: Workspace) -> None:
    nothing = workspace.run("west", "viommu-bind", "--host", "host.dts")
    assert nothing.status == 2
    assert "there is no build here, and no board is known: name the guest's" in nothing.log
    ran = workspace.run("west", "build", "--cmake-only", "-b", "xenvm")
    assert ran.status == 0, ran.log
    ran = workspace.run("west", "viommu-bind", "--host", "host.dts")
    assert ran.status == 0, ran.log
    assert "wrote build/viommu/viommu.overlay" in ran.log
    ran = workspace.run("west", "viommu-check", "--host", "host.dts")
    assert ran.status == 0, ran.log
    assert "note: this takes the build in build\n" in ran.log


def test_bind_for_a_board_that_zephyr_does_not_know(app: Path, workspace: Workspace) -> None:
    ran = workspace.run("west", "viommu-bind", "-b", "no_such_board")
    assert ran.status == 1
    assert "error: [unreadable] Zephyr's devicetree stage failed: " in ran.log
    assert "Traceback" not in ran.log


def test_bind_refuses_what_zephyr_refuses(app: Path, workspace: Workspace) -> None:
    (app / "app.overlay").write_text(OVERLAY % ETHERNET + "&gic { no-such-property; };\n")
    ran = workspace.run("west", "viommu-bind", "-b", "xenvm")
    assert ran.status == 1
    assert "Zephyr's devicetree stage refuses the bound tree: devicetree error:" in ran.log
    assert not (app / "viommu/viommu.json").exists()
    assert not (app / "viommu/viommu.overlay").exists()


@needs_toolchain
def test_the_sample_builds_an_image(workspace: Workspace) -> None:
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "xenvm", "-d", str(workspace.build)),
        str(SAMPLE),
        *("--", "-DEXTRA_CFLAGS=-mno-outline-atomics"),
    )
    assert ran.status == 0, ran.log
    assert (workspace.build / "zephyr/zephyr.elf").is_file()
    assert workspace.iommus() == SAMPLE_IOMMUS


@needs_toolchain
def test_an_image_without_passthrough_is_the_same_with_and_without_the_module(
    workspace: Workspace,
) -> None:
    build = ("west", "build", "-p", "always", "-b", "xenvm", "-d", str(workspace.build))
    images = []
    for manifest in (
        (workspace.app / "west.yml").read_text(),
        "manifest: {projects: [{name: zephyr, url: https://example.org/zephyr, revision: main,"
        " west-commands: scripts/west-commands.yml}]}\n",
    ):
        (workspace.app / "west.yml").write_text(manifest)
        ran = workspace.run(*build, "--", "-DEXTRA_CFLAGS=-mno-outline-atomics")
        assert ran.status == 0, ran.log
        images.append((workspace.build / "zephyr/zephyr.bin").read_bytes())
        modules = (workspace.build / "zephyr_modules.txt").read_text()
        assert ("west-viommu" in modules) == (len(images) == 1)
    assert images[0] == images[1]


@since(3, 4, "older twisters lack --cmake-only")
def test_twister_on_the_sample(workspace: Workspace) -> None:
    twister = str(workspace.top / "zephyr/scripts/twister")
    out = workspace.top / "twister-out"
    ran = workspace.run(
        *("python3", twister, "-T", str(workspace.top / "west-viommu/samples/passthrough")),
        *("-p", "xenvm", "--cmake-only", "-O", str(out), "--inline-logs"),
    )
    assert ran.status == 0, ran.log
    (pickle,) = out.rglob("edt.pickle")
    assert workspace.iommus(pickle.parent.parent) == SAMPLE_IOMMUS


@needs_toolchain
@pytest.mark.parametrize("cell", ["", "sid"], ids=["our binding", "another, another name"])
def test_the_macros_hold_when_compiled(cell: str, workspace: Workspace) -> None:
    bindings = workspace.top / "other/dts/bindings"
    bindings.mkdir(parents=True)
    if cell:
        (bindings / "arm,smmu-v3.yaml").write_text(
            OTHER_SMMU.split("properties")[0] + f"iommu-cells: [{cell}]\n"
        )
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "xenvm", "-d", str(workspace.build)),
        str(CHECKOUT / "tests/zephyr/macros"),
        *("--", "-DEXTRA_CFLAGS=-mno-outline-atomics", f"-DDTS_ROOT={workspace.top}/other"),
    )
    assert ran.status == 0, ran.log
    ran = workspace.run("west", "build", "-d", str(workspace.build), "-t", "help")
    assert "viommu_check" in ran.log and "viommu_bind" in ran.log
    ran = workspace.run("west", "build", "-d", str(workspace.build), "-t", "viommu_check")
    assert ran.status == 0, ran.log
    assert "agrees with" in ran.log and "(1 device)" in ran.log
    ran = workspace.run("west", "build", "-d", str(workspace.build), "-t", "viommu_bind")
    assert ran.status == 0, ran.log
    assert "wrote " in ran.log


def test_a_module_that_no_manifest_lists(app: Path, workspace: Workspace) -> None:
    (app / "west.yml").write_text("manifest: {projects: []}\n")
    variable = "EXTRA_ZEPHYR_MODULES" if VERSION >= (3, 4) else "ZEPHYR_EXTRA_MODULES"
    ran = workspace.stage(f"-D{variable}={workspace.top}/west-viommu")
    assert ran.status == 0, ran.log
    assert workspace.iommus() == ETHERNET_IOMMUS


def test_the_sample_without_the_module_does_not_configure(workspace: Workspace) -> None:
    (workspace.app / "west.yml").write_text("manifest: {projects: []}\n")
    ran = workspace.run("cmake", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", str(SAMPLE))
    assert ran.status == 1
    assert "This build does not run the module west-viommu" in " ".join(ran.log.split())
