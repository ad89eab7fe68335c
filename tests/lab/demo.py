"""`make demo`: a simulated Raspberry Pi, bootstrapped by the collection, streaming."""

from __future__ import annotations

import shutil
import subprocess
import time

from . import collection, device, image
from .console import BIN, CACHE, ROOT, LabError, environment, heading, say
from .engine import NoEngineError, docker_command, lease

NAME = "camera-1"


def bootstrap(group: str) -> float:
    """Run the installed collection's bootstrap against a group's devices.

    Returns:
        How long it took, in seconds.

    Raises:
        LabError: the playbook failed; its own output says why.
    """
    inventory = device.folder(group) / "inventory.yml"
    began = time.monotonic()
    command = [
        *[str(BIN / "ansible-playbook"), "rpi_camera.fleet.bootstrap"],
        *["--inventory", str(inventory)],
    ]
    if subprocess.run(command, env=environment(group), cwd=CACHE, check=False).returncode:
        raise LabError("bootstrap failed: the first `fatal:` above says why")
    return time.monotonic() - began


def up(group: str) -> None:
    """Bring the demo up; a second run finds everything in place and changes nothing.

    Raises:
        LabError: a step failed; says what to do.
    """
    with lease():
        heading("Collection: build the archive and install it")
        collection.install(group)
        heading("Simulated Raspberry Pi")
        inventory = device.up(group, [NAME], {"camera_app_access": "open"})
        heading("ansible-playbook rpi_camera.fleet.bootstrap, over SSH, sudo with a password")
        seconds = bootstrap(group)
        port = device.port(group, NAME, device.SERVER_PORT)
    heading(f"The camera streams (bootstrap took {seconds:.0f} s)")
    say("The demo sets `camera_app_access: open`: whoever reaches the port sees the picture.")
    say("Here that is this machine alone. `make demo-down` removes it all.")
    say(f"stream:    http://127.0.0.1:{port}/")
    say(f"inventory: {inventory.relative_to(ROOT)}")


def down(group: str) -> None:
    """Remove what the demo made: device, network, image, keys, and the engine if it is the lab's.

    Raises:
        LabError: something could not be removed.
    """
    heading("Remove the demo")
    try:
        docker_command()
    except NoEngineError:
        # No engine, so no device: do not start one to find that out.
        shutil.rmtree(device.folder(group), ignore_errors=True)
        say("   No Docker engine answers: there is nothing but files to remove")
        return
    with lease():
        device.down(group)
        removed = image.remove_if_unused()
    say("   Removed the simulated device, its network and its keys")
    if removed:
        say("   Removed its image")
    else:
        say("   Kept its image: another simulated device of this checkout runs on it")
    say("   Left, as they speed up the next time: the packages that were installed, the tools in")
    say("   .cache (`make clean`), and the engine's build cache (`docker builder prune`)")


def bench_bootstrap(group: str) -> None:
    """Bootstrap a bare device twice; print both times and their ratio.

    Raises:
        LabError: a step failed.
    """
    with lease():
        device.down(group)
        collection.install(group)
        device.up(group, [NAME], {"camera_app_access": "open"})
        try:
            first, second = bootstrap(group), bootstrap(group)
        finally:
            device.down(group)
    heading("Bootstrap of one simulated device")
    say(f"first: {first:.1f} s, second: {second:.1f} s, ratio: {second / first:.2f}")
