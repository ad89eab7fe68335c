"""A virtual machine with the role docker_boot, and a simulated device with its registry.

It is the Pi of tests/docker_boot with a kernel of its own.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from tests.docker_boot.pi import FIRST, HUB, LOGIN, PI, SCENARIO, UPDATE, USE, Pi
from tests.lab import collection, vm
from tests.lab import device as lab
from tests.lab.console import say
from tests.lab.engine import lease
from tests.lab.registry import Registry
from tests.lab.variants import Variants, ballast
from tests.viewer import Viewer
from tests.vm.conftest import Ansible, eventually

GROUP = "vm-docker-boot"
HUB_GROUP = f"{GROUP}-hub"
# Its disk, when it has an image that streams.
STREAMING = "streaming"
# Emulated, beside others that work, the server takes a minute to start.
SLOWNESS = 30
VARIABLES = {
    "docker_boot_env": {"CAMERA_SERVER_FPS": 5},
    "docker_boot_health_window": 300,
    "docker_boot_health_interval": 15,
    "docker_boot_update_window": 3600,
}
# For a boot, an engine's start and a container's; or for a switch (s).
PATIENCE = 600.0


@dataclass(kw_only=True)
class VirtualPi(Pi):
    """The Pi as a virtual machine; the hub is a simulated device of another group."""

    machine: vm.Machine

    def _registry(self, password: str) -> Registry:
        return Registry(HUB_GROUP, HUB, LOGIN, password)

    @cached_property
    def variants(self) -> Variants:
        """What makes images in the registry."""
        return Variants(self.hub, SLOWNESS)

    def run(self, script: str, *arguments: str, stdin: str = "", timeout: float = 600) -> str:
        """Run a script on it as root and return its standard output."""
        bash = ("bash", "-euo", "pipefail", "-c", script, "-", *arguments)
        return self.machine.run(*bash, stdin=stdin, timeout=timeout)

    def last_words(self) -> str:
        """Return the last lines that updates have said since it was switched on."""
        read = "journalctl --boot --quiet --output=cat --lines=8"
        return self.run(f"{read} --unit={UPDATE}")

    def kill(self) -> None:
        """Cut its power, with every name of its file system on its disk."""
        self.machine.write_names()
        say("   cut the power")
        self.machine.cut_power()

    def switch_on(self) -> None:
        """Switch it on, and wait for nothing.

        systemd calls a boot finished when the update after it has ended, which may have to wait.
        """
        self.machine.switch_on()

    def settle(self) -> None:
        """Switch it on, and wait until it streams and knows that there is nothing newer."""
        self.switch_on()
        self.wait_for_stream(FIRST)
        self.wait_until("it is up to date", lambda: "up_to_date" in self.last_words())
        self.wait_until("the update has ended", lambda: not self.updating())

    def url(self) -> str:
        """Return the stream's address."""
        return f"http://127.0.0.1:{self.machine.server_port}/video"

    def viewer(self) -> Viewer:
        """Connect to its stream."""
        return Viewer(self.url(), timeout=20)

    def streams(self, variant: str) -> bool:
        """Whether it streams, and what a variant does."""
        try:
            return super().streams(variant)
        except http.client.HTTPException:
            # QEMU answers for a port that nobody listens on yet, and hangs up.
            return False

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition, and fail when it does not come."""
        eventually(what, condition, patience=PATIENCE)

    def wait_for_stream(self, variant: str) -> None:
        """Wait until it streams what a variant does."""
        self.wait_until(f"it streams {variant}", lambda: self.streams(variant))

    def wait_for(self, reference: str) -> None:
        """Wait until an image is the last good one."""
        self.wait_until(f"it keeps {reference}", lambda: self.current() == reference)

    def has(self, megabytes: int) -> bool:
        """Whether the container sees a layer of so many megabytes as it was made."""
        digest = self.run(f"docker exec {USE} sha256sum /ballast-{megabytes}").split()[0]
        return digest == ballast(megabytes)


@contextmanager
def virtual_pi() -> Iterator[VirtualPi]:
    """Have it for as long as the block runs, switched off, with a saved disk."""
    with lease(), vm.machine(GROUP, PI, {}) as machine:
        lab.down(HUB_GROUP)
        try:
            lab.up(HUB_GROUP, [f"{HUB}@docker"], {})
            collection.install(GROUP)
            pi = VirtualPi(GROUP, machine=machine)
            machine.start()
            pi.run("cat >> /etc/hosts", stdin=f"{lab.address(HUB_GROUP, HUB)} {HUB}\n")
            pi.prepare()
            play = (str(SCENARIO / "converge.yml"), "--extra-vars", json.dumps(VARIABLES))
            run = Ansible("the role", ("ansible-playbook", *play), GROUP).wait()
            assert run.went_well, run.output
            pi.wait_for_stream(FIRST)
            machine.shut_down()
            machine.save(STREAMING)
            yield pi
        finally:
            lab.down(HUB_GROUP)
