"""A Pi that builds images, and what it needs around it: a registry, and a package archive."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.image.workflow import TEMP, Run, Runner
from tests.lab import collection, image, registry
from tests.lab import device as lab
from tests.lab.console import CACHE, collections, output
from tests.lab.engine import lease
from tests.lab.registry import Registry

GROUP = "image"
BUILDER, HUB = "builder", "hub"
REGISTRY = f"{HUB}:{registry.PORT}"
IMAGE = f"{REGISTRY}/anna/camera"
BASE = f"{REGISTRY}/debian:trixie-slim"
ARCHIVE = f"http://{HUB}:8000 ./"
LOGIN = "anna"
# An image of somebody else on the Pi.
NEIGHBOUR = "neighbour:1"
# Where the runner's user may keep passwords; this one takes none. Docker does not mind the case.
STORE_OF_THE_USER = "secretservice"
STORES = f'"credsstore": "{STORE_OF_THE_USER}", "credHelpers": {{"{REGISTRY}": "his"}}'


def on(name: str, script: str, *arguments: str, stdin: str = "") -> str:
    """Run a script on a device as root and return its standard output."""
    return lab.script(GROUP, name, script, *arguments, stdin=stdin, timeout=registry.SECONDS)


@dataclass
class Site:
    """The Pi with the runner, the hub, and a user's repository."""

    repository: Path
    hub: Registry
    key: str

    def git(self, *arguments: str) -> str:
        """Run git in the user's repository."""
        who = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
        return output(["git", "-C", str(self.repository), *who, *arguments])

    def commit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of the user's repository, and commit that."""
        path = self.repository / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.git("commit", "--quiet", "--all", "--message", f"{name}: {new}")

    def run(self, **changes: str) -> Run:
        """Have the Pi run the workflow; changes are variables, and PASSWORD the secret."""
        password = changes.pop("PASSWORD", self.hub.password)
        told = {
            "ARCHIVE": ARCHIVE,
            "ARCHIVE_KEY": self.key,
            "BASE": BASE,
            "IMAGE": IMAGE,
            "REGISTRY_USERNAME": LOGIN,
            **changes,
        }
        runner = Runner(partial(lab.execute, GROUP, BUILDER), told)
        tokens = {"GITHUB_TOKEN": "ghs_of-no-use-elsewhere", "REGISTRY_PASSWORD": password}
        run = runner.run(self.repository, tokens)
        print(run.output)
        return run

    def left_on_the_pi(self) -> list[str]:
        """Return what runs have left: images, containers, files of theirs or with the password."""
        basic = base64.b64encode(f"{LOGIN}:{self.hub.password}".encode()).decode()
        return on(
            BUILDER,
            "docker images --format '{{.Repository}}:{{.Tag}}'; docker ps --all --quiet"
            "; grep -rlF --file=- --devices=skip /home /root /run /tmp /var/tmp || :"
            f"; find {TEMP} -mindepth 1 -maxdepth 1 ! -name _runner_file_commands",
            stdin=f"{self.hub.password}\n{basic}\n",
        ).split()


def digest_told(summary: str, tag: str = "latest") -> str:
    """Return the digest that a run's summary tells for a tag."""
    (digest,) = re.findall(rf"`{IMAGE}:{tag}` is now `(sha256:[0-9a-f]{{64}})`", summary)
    return str(digest)


@pytest.fixture(scope="session")
def pi() -> Iterator[Site]:
    """Yield the builder and the hub, and a repository made as examples/camera-repo says."""
    hub = Registry(GROUP, HUB, LOGIN, secrets.token_urlsafe(18))
    with lease():
        try:
            collection.install(GROUP)
            lab.up(GROUP, [f"{BUILDER}@docker", f"{HUB}@docker"], {})
            # Docker finds this one by itself.
            store = f"/usr/local/bin/docker-credential-{STORE_OF_THE_USER}"
            on(BUILDER, f"printf '#!/bin/sh\nexit 1\n' > {store} && chmod +x {store}")
            hub.serve()
            registry.trust(GROUP, BUILDER, hub.ca)
            hub.push_from_engine(image.build(image.DEBIAN), BASE.removeprefix(f"{REGISTRY}/"))
            serve = "systemd-run --quiet --unit=archive"
            on(HUB, f"{serve} python3 -m http.server --directory /srv/archive 8000")
            key = on(HUB, "cat /srv/archive/archive-keyring.asc")
            site = Site(CACHE / GROUP / "my-camera", hub, key)
            installed = collections(GROUP) / "ansible_collections/rpi_camera/fleet"
            shutil.copytree(installed / "examples/camera-repo", site.repository)
            shutil.copytree(installed / "files/server", site.repository / "server")
            site.git("init", "--quiet")
            site.git("add", "--all")
            site.git("commit", "--quiet", "--message", "The camera's image")
            yield site
        finally:
            lab.down(GROUP)


@pytest.fixture
def site(pi: Site) -> Iterator[Site]:
    """Yield the same, and take a test's commits back."""
    head = pi.git("rev-parse", "HEAD").strip()
    yield pi
    pi.git("reset", "--quiet", "--hard", head)


@pytest.fixture(scope="session")
def first(pi: Site) -> str:
    """Return the digest of the first image; all that it is made of is on the Pi from then on."""
    on(BUILDER, f"tar --create --files-from=/dev/null | docker import - {NEIGHBOUR}")
    run = pi.run()
    assert run.went_well
    return digest_told(run.summary)


@pytest.fixture(scope="session")
def small(pi: Site, first: str) -> str:
    """Return the digest of an image without camera packages, which has a tag of its own.

    The Pi's engine answers at another place than the usual one, as a rootless one does, and the
    runner's user has told Docker so, in a file that is a link and names a store for passwords.
    """
    assert first
    context = "runuser --user pi -- docker context"
    home = "/home/pi/.docker"
    on(
        BUILDER,
        "mv /run/docker.sock /run/own.sock"
        f" && {context} create own --docker host=unix:///run/own.sock && {context} use own"
        f""" && cd {home} && sed '1s/{{/{{{STORES},/' config.json > linked.json"""
        " && chown pi: linked.json && ln -sf linked.json config.json",
    )
    told = on(BUILDER, f"cat {home}/linked.json")
    try:
        run = pi.run(CAMERA_PACKAGES="none", TAG="small")
        assert on(BUILDER, f"cat {home}/linked.json") == told
    finally:
        on(BUILDER, f"mv /run/own.sock /run/docker.sock; rm -r {home}")
    assert run.went_well
    return digest_told(run.summary, "small")
