"""How a virtual machine gets its keys and its password, and under which emulator it runs."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import vm
from tests.lab.console import LabError


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    vm._accelerator.cache_clear()
    yield
    vm._accelerator.cache_clear()


def test_secrets_reach_a_machine_in_files_of_their_owners(tmp_path: Path) -> None:
    archive = tmp_path / "access.tar"
    host_key = vm._write_access(archive, tmp_path, "secret")
    assert archive.stat().st_mode & 0o777 == 0o600
    # QEMU wants whole sectors.
    assert archive.stat().st_size % 512 == 0
    with tarfile.open(archive) as content:
        members = {member.name: (member.mode, member.uid) for member in content.getmembers()}
    assert members["etc/ssh/ssh_host_ed25519_key"] == (0o600, 0)
    assert members["home/pi/.ssh/authorized_keys"] == (0o600, 1000)
    assert members["run/lab-password"] == (0o600, 0)
    # The private host key is the machine's alone.
    assert not (tmp_path / "ssh_host_ed25519_key").exists()
    assert (tmp_path / "ssh_host_ed25519_key.pub").read_text() == host_key


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.parametrize(
    ("qemu", "accelerator"),
    [
        ("echo '[    0.000000] Linux version 6.12' >console.log; exec sleep 60", "kvm"),
        ("echo 'KVM internal error'; exec sleep 60", "tcg"),
        ("exit 1", "tcg"),
    ],
    ids=["boots", "stops at an instruction", "is refused"],
)
def test_kvm_is_used_where_a_kernel_starts_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qemu: str, accelerator: str
) -> None:
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\n{qemu}\n")
    program.chmod(0o755)
    board = vm._Platform("", str(program), "", "")
    monkeypatch.setattr(vm, "_platform", lambda: board)
    monkeypatch.setattr(vm, "build", lambda: tmp_path)
    monkeypatch.setattr(vm, "CACHE", tmp_path)
    monkeypatch.setattr(vm, "KVM_SECONDS", 2)
    monkeypatch.setattr("os.access", lambda *_arguments: True)
    assert vm._accelerator() == accelerator


def test_a_machine_that_the_lab_cannot_make_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LabError, match="no virtual machines here on riscv64"):
        vm._platform()
