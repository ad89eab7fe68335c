"""How the lab is told of devices, and whom it believes to be one."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.lab import device, image
from tests.lab.console import LabError


def test_a_device_is_of_the_first_kind_unless_its_name_says_another() -> None:
    assert device.split_name("camera-1") == ("camera-1", "trixie")
    assert device.split_name("camera-2@bookworm") == ("camera-2", "bookworm")


def test_a_kind_that_the_lab_has_not_is_refused() -> None:
    with pytest.raises(
        LabError, match=r"camera-1@buster: .*allowed is trixie or bookworm or docker"
    ):
        device.split_name("camera-1@buster")


def test_each_kind_has_an_image_of_its_own() -> None:
    kinds = [*image.KINDS, image.DEBIAN]
    names = [image.name(kind) for kind in kinds]
    assert len(set(names)) == len(kinds)
    # Also when only the text of the tag were to tell them apart.
    assert len({name.rpartition("-")[2] for name in names}) == len(kinds)


@pytest.mark.parametrize("name", ["plain", "with a blank"])
def test_ssh_takes_only_the_known_hosts_of_the_device(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    host = device.inventory_host(home, "camera-1", 2222, 8080, "secret", ["ssh-ed25519 AAAA one"])
    # As Ansible does: it splits the words and gives them to ssh, which reads its own option.
    words = shlex.split(host["ansible_ssh_common_args"])
    done = subprocess.run(
        ["ssh", "-G", *words, "-p", str(host["ansible_port"]), host["ansible_host"]],
        capture_output=True,
        text=True,
        check=True,
    )
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    known_hosts = home / "known_hosts.camera-1"
    assert options["userknownhostsfile"].strip('"') == str(known_hosts)
    assert options["stricthostkeychecking"] == "true"
    assert known_hosts.read_text() == "[127.0.0.1]:2222 ssh-ed25519 AAAA one\n"
