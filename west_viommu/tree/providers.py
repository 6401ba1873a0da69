# SPDX-License-Identifier: Apache-2.0
"""Properties by which a device names its providers: clocks, resets, power. A table, as in dtc's
checks.c; what is no such property goes by the references that the source shows.
"""

from __future__ import annotations

import re

# Property, by a pattern for its whole name -> the property that names its entries, and what it
# means for a guest of Xen that it is left out.
_PROVIDERS = {
    r"clocks": ("clock-names", "its clocks; they must be running already"),
    r"assigned-clocks": ("assigned-clock-rates", "clock set-up, for firmware or dom0"),
    r"assigned-clock-parents": ("", "clock set-up, for firmware or dom0"),
    r"resets": ("reset-names", "its reset lines; it must be out of reset already"),
    r"power-domains": ("power-domain-names", "its power domain; it must be on already"),
    r"pinctrl-[0-9]+": ("pinctrl-names", "its pins; firmware or dom0 must have set them up"),
    r"[a-z0-9,-]+-supply": ("", "a power supply; it must be on already"),
    r"[a-z0-9,-]+-gpios?|gpios?": ("", "GPIOs, which the guest does not have"),
    r"dmas": ("dma-names", "channels of a DMA controller, which the guest does not have"),
    r"phys": ("phy-names", "its PHY; it must be set up already"),
    r"phy-handle": ("", "its PHY, another node"),
    r"mboxes": ("mbox-names", "mailboxes, which the guest does not have"),
    r"interconnects": ("interconnect-names", "bandwidth votes, which the guest cannot make"),
    r"nvmem-cells": (
        "nvmem-cell-names",
        "values in fuses or EEPROM, which the guest does not have",
    ),
    r"io-channels": ("io-channel-names", "ADC channels, which the guest does not have"),
    r"operating-points-v2": ("", "a table of frequencies, another node"),
    r"msi-parent|msi-map": ("", "message-signalled interrupts, which the guest does not have"),
    r"memory-region": ("memory-region-names", "reserved memory of the host"),
    r"hwlocks": ("hwlock-names", "hardware locks, which the guest does not have"),
    r"pwms": ("pwm-names", "PWM channels, which the guest does not have"),
    r"thermal-sensors|cooling-device": ("", "thermal management of the host"),
    r"remote-endpoint": ("", "the other end of a link, another node"),
    r"interrupt-map|interrupt-map-mask": ("", "interrupts of other buses"),
}
_TABLE = [(re.compile(pattern), *row) for pattern, row in _PROVIDERS.items()]


def is_provider(name: str) -> bool:
    """Whether property `name` refers to providers, also where it was written in numbers."""
    return any(pattern.fullmatch(name) for pattern, _, _ in _TABLE)


def companions(name: str) -> list[str]:
    """The properties that mean nothing without property `name`."""
    return [names for pattern, names, _ in _TABLE if names and pattern.fullmatch(name)]


def meaning(name: str) -> str:
    """What it means that property `name`, one of a provider, is left out."""
    return next((why for pattern, _, why in _TABLE if pattern.fullmatch(name)), "")
