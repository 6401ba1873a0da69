# SPDX-License-Identifier: Apache-2.0
"""Properties that refer to other nodes (clocks, resets, power), as a table like the one in dtc's
checks.c: if only numbers are known, the table shows which of them are phandles.
"""

import re
from functools import lru_cache
from typing import NamedTuple


class Provider(NamedTuple):
    """A kind of property that is a list of entries, each a phandle and arguments.

    `cells`: the property of the target node with the number of arguments; "" without arguments;
    None if the value is no such list. `names`: the property that names the entries. `why`: the
    meaning for a guest of Xen that has to do without the property.
    """

    cells: str | None
    names: str
    why: str


_SET_UP = "clock set-up, for firmware or dom0"
_ABSENT = "which the guest does not have"
# By a pattern for the whole name of the property. The number of arguments as in dtc's checks.c
# and in the common bindings of dt-schema.
_PROVIDERS = {
    r"clocks": ("#clock-cells", "clock-names", "its clocks; they must be running already"),
    r"assigned-clocks": ("#clock-cells", "assigned-clock-rates", _SET_UP),
    r"assigned-clock-parents": ("#clock-cells", "", _SET_UP),
    r"resets": ("#reset-cells", "reset-names", "its reset lines; it must be out of reset already"),
    r"power-domains": (
        "#power-domain-cells",
        "power-domain-names",
        "its power domain; it must be on already",
    ),
    r"pinctrl-[0-9]+": ("", "pinctrl-names", "its pins; firmware or dom0 must have set them up"),
    r"([a-z0-9,._-]+-)?supply": ("", "", "a power supply; it must be on already"),
    r"([a-z0-9,._-]+-)?gpios?": ("#gpio-cells", "", f"GPIOs, {_ABSENT}"),
    r"dmas": ("#dma-cells", "dma-names", f"channels of a DMA controller, {_ABSENT}"),
    r"phys": ("#phy-cells", "phy-names", "its PHY; it must be set up already"),
    r"phy-handle|phy|phy-device": ("", "", "its PHY, another node"),
    r"pcs-handle|sfp|usb-phy|ethernet|mdio-parent-bus": ("", "", "another node"),
    r"mboxes": ("#mbox-cells", "mbox-names", f"mailboxes, {_ABSENT}"),
    r"interconnects": (
        "#interconnect-cells",
        "interconnect-names",
        "bandwidth votes, which the guest cannot make",
    ),
    r"nvmem-cells": (
        "#nvmem-cell-cells",
        "nvmem-cell-names",
        f"values in fuses or EEPROM, {_ABSENT}",
    ),
    r"nvmem": ("", "nvmem-names", f"fuses or EEPROM, {_ABSENT}"),
    r"io-channels": ("#io-channel-cells", "io-channel-names", f"ADC channels, {_ABSENT}"),
    r"io-backends": ("#io-backend-cells", "io-backend-names", f"ADC channels, {_ABSENT}"),
    r"operating-points-v2": ("", "", "a table of frequencies, another node"),
    r"msi-parent": ("#msi-cells", "", f"message-signalled interrupts, {_ABSENT}"),
    r"msi-map": (None, "msi-map-mask", f"message-signalled interrupts, {_ABSENT}"),
    r"memory-region": ("", "memory-region-names", "reserved memory of the host"),
    r"shmem": ("", "", "shared memory, another node"),
    r"hwlocks": ("#hwlock-cells", "hwlock-names", f"hardware locks, {_ABSENT}"),
    r"pwms": ("#pwm-cells", "pwm-names", f"PWM channels, {_ABSENT}"),
    r"sound-dai": ("#sound-dai-cells", "", "the other end of an audio link, another node"),
    r"iio-device|ports?-handle|backlight|panel|ddc-i2c-bus": ("", "", "another node"),
    r"thermal-sensors": ("#thermal-sensor-cells", "", "thermal management of the host"),
    r"cooling-device": ("#cooling-cells", "", "thermal management of the host"),
    r"trusted-foundations|access-controllers": (
        "#access-controller-cells",
        "access-controller-names",
        "access control of the host",
    ),
    r"remote-endpoint": ("", "", "the other end of a link, another node"),
    r"interrupt-map": (None, "interrupt-map-mask", "interrupts of other buses"),
    r"interrupts-extended": ("#interrupt-cells", "interrupt-names", "interrupts"),
    r"interrupt-parent": ("", "", "the controller of its interrupts"),
}


def _is_plain(pattern: str) -> bool:
    """Return whether `pattern` is one name, or several."""
    return pattern.translate({ord("-"): None, ord("|"): None}).isalnum()


# Most patterns are names. To compile all of them would delay the start of each command.
_BY_NAME = {
    name: Provider(*row)
    for pattern, row in _PROVIDERS.items()
    if _is_plain(pattern)
    for name in pattern.split("|")
}
_BY_PATTERN = [
    (pattern, Provider(*row)) for pattern, row in _PROVIDERS.items() if not _is_plain(pattern)
]
# A block of registers that others set bits in: a phandle, and numbers as the binding has them.
_SYSCON = r"([a-z0-9,._-]+[,-])?(syscon|sysmgr|sysreg|regmap)([-,][a-z0-9,._-]+)?"
_SYSCON_WHY = "registers of another node"

# Properties that have numbers, by name (dt-schema, property-units.yaml, and the common bindings).
_NUMBER = (
    r"#.*|(.*,)?(max|min|num|nr|reg|is|lanes)-.*|bus-range|(.*[-,])?"
    r"(hz|mhz|khz|bits|ms|us|ns|ps|mw|ohms|microvolt|microamp|percent|bp|width|depth|size|shift|"
    r"count|number|frequency|speed|rate|level|channels|mask|offset|delay|cells|lanes|ports|"
    r"domain|hw)|reg|ranges|dma-ranges|.*-map-mask"
)


@lru_cache(1024)
def provider(name: str) -> Provider | None:
    """Return the row of the table for property `name`."""
    known = _BY_NAME.get(name)
    if known:
        return known
    return next((row for pattern, row in _BY_PATTERN if re.fullmatch(pattern, name)), None)


def is_syscon(name: str) -> bool:
    """Return whether property `name` begins with the phandle of a block of registers."""
    return bool(re.fullmatch(_SYSCON, name))


def is_number(name: str) -> bool:
    """Return whether, by its name, property `name` has numbers and no phandles."""
    return bool(re.fullmatch(_NUMBER, name))


def companions(name: str) -> list[str]:
    """Return the properties that mean nothing without property `name`."""
    row = provider(name)
    return [row.names] if row and row.names else []


def meaning(name: str) -> str:
    """Return what a guest loses if property `name`, which refers to another node, is left out."""
    row = provider(name)
    return row.why if row else _SYSCON_WHY if is_syscon(name) else ""
