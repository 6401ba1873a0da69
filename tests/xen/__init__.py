# SPDX-License-Identifier: Apache-2.0
"""What Xen does with a partial devicetree, to judge what we write: written down a second time, as a
model (case, rules, guest), and seen on machines in QEMU (edu, machine, hypervisor, stage2, xl)."""
