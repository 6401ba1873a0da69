# SPDX-License-Identifier: Apache-2.0
"""A sysbuild with a variant: a second image of an application, for the other slot of a boot loader.

Zephyr after 4.3 gives the variant the devicetree of the first image as its source, and a dts.cmake
of its own, which includes Zephyr's by the path. The place of that file in CMAKE_MODULE_PATH is not
known, so both places are tested. In sdk-nrf, the variant has a devicetree of its own, and a
property names the first image.
"""

from __future__ import annotations

import shutil

from tests.support import DEMO
from tests.zephyr.workspace import (
    AFTER_US,
    ETHERNET,
    ETHERNET_IOMMUS,
    FIRST,
    OVERLAY,
    Workspace,
    another,
    needs_zephyr,
    of_4_3,
)

pytestmark = [needs_zephyr, of_4_3]

# The files of the devicetree are those of the variant, and all else is as in any image.
OF_A_VARIANT = """include(${ZEPHYR_BASE}/cmake/modules/dts.cmake)
macro(dts_init)
  dts_configuration_files()
  zephyr_get(DTS_SOURCE SYSBUILD LOCAL)
  set(dts_files ${DTS_SOURCE} ${EXTRA_DTC_OVERLAY_FILE})
  dts_edt_pickle()
  dts_gen_defines()
  dts_gen_driver_kconfig()
  dts_dtc()
  dts_build_info_output()
endmacro()
"""
SOURCE = 'set(variant_DTS_SOURCE ${CMAKE_BINARY_DIR}/app/zephyr/zephyr.dts CACHE INTERNAL "")'
PROPERTY = "set_property(TARGET variant PROPERTY NCS_VARIANT_APPLICATION app)"


def configured(workspace: Workspace, what: str, *options: str) -> tuple[int, str]:
    """Return the status of a sysbuild of the demo's guest and of a second image of it, for which
    sysbuild.cmake says `what`, and its log in one line.
    """
    app = workspace.app
    shutil.copy(DEMO / "host.dts", app)
    (app / "viommu.yml").write_text("host: host.dts\n")
    (app / "app.overlay").write_text(OVERLAY % ETHERNET)
    (app / "sysbuild.cmake").write_text(
        "if(TARGET variant)\n  return()\nendif()\n"
        "ExternalZephyrProject_Add(APPLICATION variant SOURCE_DIR ${APP_DIR})\n"
        f"{what}\nsysbuild_add_dependencies(CONFIGURE variant app)\n"
    )
    sysbuild = str(workspace.top / "zephyr/share/sysbuild")
    command = ("cmake", "-GNinja", "-DBOARD=xenvm", "-B", str(workspace.build), "-S", sysbuild)
    ran = workspace.run(*command, f"-DAPP_DIR={app}", *options)
    return ran.status, " ".join(ran.log.split())


def in_the_variant(workspace: Workspace, place: str) -> str:
    """Put Zephyr's dts.cmake for variants at that `place`; return the option that gives it."""
    workspace.put_stage_off()
    place = f'if(APPLICATION_BINARY_DIR MATCHES "/variant$")\n{place}endif()\n'
    return another(workspace, place, dts=OF_A_VARIANT)


def test_a_variant_is_bound_and_is_no_second_guest(workspace: Workspace) -> None:
    option = in_the_variant(workspace, AFTER_US)
    status, log = configured(workspace, SOURCE, option)
    assert status == 0, log
    assert log.count("-- viommu: bound 1 device of ") == 2
    source = workspace.build / "app/zephyr/zephyr.dts"
    assert f"{source}:" in log  # the variant's warnings name it
    assert workspace.iommus(workspace.build / "app") == ETHERNET_IOMMUS
    assert workspace.iommus(workspace.build / "variant") == ETHERNET_IOMMUS


def test_a_variant_that_goes_round_us_ends_the_configure(workspace: Workspace) -> None:
    option = in_the_variant(workspace, FIRST)
    status, log = configured(workspace, SOURCE, option)
    assert status == 1
    assert log.count("-- viommu: bound 1 device of ") == 1
    assert "west-viommu: no device is bound, as " in log
    assert "other/cmake/dts.cmake came first and does not include the next" in log


def test_a_variant_of_sdk_nrf_is_no_second_guest(workspace: Workspace) -> None:
    status, log = configured(workspace, PROPERTY)
    assert status == 0, log
    assert workspace.iommus(workspace.build / "variant") == ETHERNET_IOMMUS


def test_a_variant_with_another_device_is_refused(workspace: Workspace) -> None:
    """It takes the device of the first image, and one more than that has."""
    more = workspace.app / "more.overlay"
    more.write_text(
        '/ { passthrough { dma-controller@e0200000 { compatible = "vnd,none"; '
        'reg = <0x0 0xe0200000 0x0 0x1000>; xen,path = "/soc@e0000000/dma-controller@200000"; '
        "}; }; };\n"
    )
    extra = f'set(variant_EXTRA_DTC_OVERLAY_FILE {more} CACHE INTERNAL "")'
    status, log = configured(workspace, f"{PROPERTY}\n{extra}")
    assert status == 1
    assert "/soc@e0000000/ethernet@100000 is given to two domains, app and variant" in log


def test_a_second_image_that_is_no_variant_is_refused(workspace: Workspace) -> None:
    status, log = configured(workspace, "")
    assert status == 1
    assert "/soc@e0000000/ethernet@100000 is given to two domains, app and variant" in log
