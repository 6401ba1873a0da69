# SPDX-License-Identifier: Apache-2.0
"""What the guest tree asks for: passthrough requests and the guest's GIC. No I/O."""
