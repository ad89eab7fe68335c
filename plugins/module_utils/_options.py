# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of options that an argument specification cannot state."""

from __future__ import annotations

import math


class OptionError(ValueError):
    """An option's value is not allowed; the text names option, value and what is allowed."""


def require_positive(name: str, value: float) -> None:
    """Raise OptionError unless *value* is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"{name} is {value}, but must be a number above 0.")
