"""Lets ``python -m camera_server`` do what the command ``camera-server`` does."""

import sys

from camera_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
