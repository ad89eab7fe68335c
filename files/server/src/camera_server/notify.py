"""Tells systemd how the server is, as sd_notify(3) does: one datagram for each message."""

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def notify(message: str, environment: Mapping[str, str] | None = None) -> bool:
    """Send a message to the service manager; return whether there was one to send it to.

    A manager that cannot be reached is no reason to stop streaming: errors count as none.
    ``environment`` is this process's own if None.
    """
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):  # an abstract socket, whose name begins with a zero byte
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(message.encode(), address)
        except OSError:
            return False
    return True


def watchdog_interval(environment: Mapping[str, str] | None = None) -> float | None:
    """Return how often, in seconds, the watchdog wants to hear from us: half of its patience.

    None when systemd did not ask, or asked another process.
    """
    environment = os.environ if environment is None else environment
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 2 / 1e6 if microseconds > 0 else None
