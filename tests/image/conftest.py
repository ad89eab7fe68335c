"""A Pi that builds images, and what it needs around it: a registry, and a package archive."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.image.workflow import TEMP, Run, Runner
from tests.lab import collection, image
from tests.lab import device as lab
from tests.lab.console import CACHE, collections, output
from tests.lab.engine import docker_command, lease

GROUP = "image"
BUILDER, HUB = "builder", "hub"
REGISTRY = f"{HUB}:5000"
IMAGE = f"{REGISTRY}/anna/camera"
BASE = f"{REGISTRY}/debian:trixie-slim"
ARCHIVE = f"http://{HUB}:8000 ./"
LOGIN = "anna"
# An image of somebody else on the Pi.
NEIGHBOUR = "neighbour:1"
STORE = "/var/lib/docker-registry"
SECONDS = 600
# Where the runner's user may keep passwords; this one takes none. Docker does not mind the case.
STORE_OF_THE_USER = "secretservice"
STORES = f'"credsstore": "{STORE_OF_THE_USER}", "credHelpers": {{"{REGISTRY}": "his"}}'

# Started, and answering.
START_REGISTRY = (
    "systemctl start docker-registry && curl --silent --insecure --output /dev/null"
    f" --retry 20 --retry-delay 1 --retry-connrefused https://{REGISTRY}/"
)
REGISTRY_CONFIG = f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: {STORE}}}}}
auth: {{htpasswd: {{realm: lab, path: /etc/docker/registry/htpasswd}}}}
http:
  addr: :5000
  tls: {{certificate: /etc/docker/registry/hub.crt, key: /etc/docker/registry/hub.key}}
"""


def on(name: str, script: str, *arguments: str, stdin: str = "") -> str:
    """Run a script on a device as root and return its standard output."""
    command = ("bash", "-euo", "pipefail", "-c", script, "-", *arguments)
    return lab.execute(GROUP, name, *command, stdin=stdin, timeout=SECONDS)


def serve_registry(password: str) -> str:
    """Have the hub run a registry that wants TLS and a login; return its certificate."""
    on(HUB, "htpasswd -niB anna > /etc/docker/registry/htpasswd", stdin=password)
    on(HUB, "cat > /etc/docker/registry/config.yml", stdin=REGISTRY_CONFIG)
    on(
        HUB,
        "cd /etc/docker/registry"
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2"
        f"     -subj /CN={HUB} -addext subjectAltName=DNS:{HUB} -keyout hub.key -out hub.crt 2>&1"
        " && chgrp docker-registry hub.key htpasswd && chmod 640 hub.key htpasswd"
        f" && {START_REGISTRY}",
    )
    return on(HUB, "cat /etc/docker/registry/hub.crt")


def trust(name: str, certificate: str) -> None:
    """Have a device and its Docker engine believe a certificate."""
    on(
        name,
        "cat > /usr/local/share/ca-certificates/hub.crt"
        " && update-ca-certificates && systemctl restart docker",
        stdin=certificate,
    )


def push_base(password: str) -> None:
    """Put Debian's image into the registry, from the engine that the lab runs on."""
    login = f"docker login --username {LOGIN} --password-stdin {REGISTRY}"
    on(HUB, login, stdin=password)
    into = [*docker_command(), "exec", "--interactive", lab.container(GROUP, HUB)]
    saved = subprocess.Popen(
        [*docker_command(), "save", image.build(image.DEBIAN)], stdout=subprocess.PIPE
    )
    copy = ["skopeo", "copy", "--quiet", "docker-archive:/dev/stdin", f"docker://{BASE}"]
    done = subprocess.run([*into, *copy], stdin=saved.stdout, check=False)
    assert (saved.wait(), done.returncode) == (0, 0)


@dataclass
class Site:
    """The Pi with the runner, the hub, and a user's repository."""

    repository: Path
    password: str
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
        password = changes.pop("PASSWORD", self.password)
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

    def registry(self) -> str:
        """Return all that the registry has of images: every tag and every manifest.

        Each is a line with its name and its digest.
        """
        return on(
            HUB, f"cd {STORE}/docker/registry/v2/repositories && grep -r . --include=link | sort"
        )

    def left_on_the_pi(self) -> list[str]:
        """Return what runs have left: images, containers, files of theirs or with the password."""
        basic = base64.b64encode(f"{LOGIN}:{self.password}".encode()).decode()
        return on(
            BUILDER,
            "docker images --format '{{.Repository}}:{{.Tag}}'; docker ps --all --quiet"
            "; grep -rlF --file=- --devices=skip /home /root /run /tmp /var/tmp || :"
            f"; find {TEMP} -mindepth 1 -maxdepth 1 ! -name _runner_file_commands",
            stdin=f"{self.password}\n{basic}\n",
        ).split()


def digest_told(summary: str, tag: str = "latest") -> str:
    """Return the digest that a run's summary tells for a tag."""
    (digest,) = re.findall(rf"`{IMAGE}:{tag}` is now `(sha256:[0-9a-f]{{64}})`", summary)
    return str(digest)


@pytest.fixture(scope="session")
def pi() -> Iterator[Site]:
    """Yield the builder and the hub, and a repository made as examples/camera-repo says."""
    password = secrets.token_urlsafe(18)
    with lease():
        try:
            collection.install(GROUP)
            lab.up(GROUP, [f"{BUILDER}@docker", f"{HUB}@docker"], {})
            # Docker finds this one by itself.
            store = f"/usr/local/bin/docker-credential-{STORE_OF_THE_USER}"
            on(BUILDER, f"printf '#!/bin/sh\nexit 1\n' > {store} && chmod +x {store}")
            certificate = serve_registry(password)
            for name in (BUILDER, HUB):
                trust(name, certificate)
            push_base(password)
            serve = "systemd-run --quiet --unit=archive"
            on(HUB, f"{serve} python3 -m http.server --directory /srv/archive 8000")
            key = on(HUB, "cat /srv/archive/archive-keyring.asc")
            site = Site(CACHE / GROUP / "my-camera", password, key)
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
