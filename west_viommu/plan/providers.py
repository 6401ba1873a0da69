# SPDX-License-Identifier: Apache-2.0
"""Properties by which a device names its providers: clocks, resets, power. A table, as in dtc's
checks.c; what is no such property goes by the references that the source shows.
"""

from __future__ import annotations

import re

# Property, by a pattern for its whole name -> the property that names its entries.
_PROVIDERS = {
    r"clocks": "clock-names",
    r"assigned-clocks": "assigned-clock-rates",
    r"assigned-clock-parents": "",
    r"resets": "reset-names",
    r"power-domains": "power-domain-names",
    r"pinctrl-[0-9]+": "pinctrl-names",
    r"[a-z0-9,-]+-supply": "",
    r"[a-z0-9,-]+-gpios?|gpios?": "",
    r"dmas": "dma-names",
    r"phys": "phy-names",
    r"phy-handle": "",
    r"mboxes": "mbox-names",
    r"interconnects": "interconnect-names",
    r"nvmem-cells": "nvmem-cell-names",
    r"io-channels": "io-channel-names",
    r"operating-points-v2": "",
    r"msi-parent|msi-map": "",
    r"memory-region": "memory-region-names",
    r"hwlocks": "hwlock-names",
    r"pwms": "pwm-names",
    r"thermal-sensors|cooling-device": "",
    r"remote-endpoint": "",
}
_TABLE = [(re.compile(pattern), names) for pattern, names in _PROVIDERS.items()]


def is_provider(name: str) -> bool:
    """Whether property `name` refers to providers, also where it was written in numbers."""
    return any(pattern.fullmatch(name) for pattern, _ in _TABLE)


def companions(name: str) -> list[str]:
    """The properties that mean nothing without property `name`."""
    return [names for pattern, names in _TABLE if names and pattern.fullmatch(name)]
