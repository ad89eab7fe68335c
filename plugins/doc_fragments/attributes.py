# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection's information modules have in common in their documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of a module that only looks."""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say there what it says otherwise.
    support: full
    details:
      - The module changes nothing, in check mode or out of it.
  diff_mode:
    description: Returns what has changed, or would change, in diff mode.
    support: N/A
    details:
      - The module changes nothing, so there is no difference to show.
"""
