# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of options that an argument specification cannot state."""

from __future__ import annotations

# The seconds of a day, and as many frames: more than anybody waits for, less than clocks can take.
MOST = 86400


class OptionError(ValueError):
    """An option's value is not allowed; the text names option, value and what is allowed."""


def require_positive(name: str, value: float) -> None:
    """Raise OptionError unless *value* is a number above 0, and MOST at most."""
    if not 0 < value <= MOST:
        raise OptionError(f"{name} is {value}, but must be a number above 0, {MOST} at most.")
