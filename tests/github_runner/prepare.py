"""Serve a double of GitHub to a group's Pis: `python -m tests.github_runner.prepare GROUP`.

Its address and a token are in the group's github.yml (mode 0600), as variables of the role.
"""

from __future__ import annotations

import sys

from tests.github_runner.pi import OLD, PI, Pi
from tests.lab.engine import lease

if __name__ == "__main__":
    with lease():
        Pi(sys.argv[1]).prepare([PI, OLD])
