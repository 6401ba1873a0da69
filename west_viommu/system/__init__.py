# SPDX-License-Identifier: Apache-2.0
"""Several guests of one host, judged together."""
