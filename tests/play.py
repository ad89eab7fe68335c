"""What a run of a playbook has come to, as tests look at it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Play:
    """How a run went on its one device: whether well, and what it printed."""

    went_well: bool
    output: str

    @property
    def changed(self) -> int:
        """How many tasks have changed something, or in check mode would have."""
        (changed,) = re.findall(r"changed=(\d+)", self.output)
        return int(changed)
