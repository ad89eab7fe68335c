"""Serve a registry with an image to a group's Pis: `python -m tests.docker_boot.prepare GROUP`.

Its login is in the group's registry.yml (mode 0600), as variables of the role.
"""

from __future__ import annotations

import sys

from tests.docker_boot.pi import OLD, Pi
from tests.lab.engine import lease

if __name__ == "__main__":
    with lease():
        Pi(sys.argv[1]).prepare()
        Pi(sys.argv[1], OLD).join()
