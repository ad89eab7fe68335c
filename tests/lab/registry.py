"""A registry on a simulated device: with TLS and a login, and with the faults that registries have.

It is Debian's `docker-registry`, reached by the device's name. Devices believe its certificates by
a CA of its own, so that it can get another certificate without their being told.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import device
from .console import LabError
from .engine import docker_command

PORT = 5000
STORE = "/var/lib/docker-registry"
REPOSITORIES = f"{STORE}/docker/registry/v2/repositories"
SECONDS = 600

_FOLDER = "/etc/docker/registry"
_CONFIG = f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: {STORE}}}}}
auth: {{htpasswd: {{realm: lab, path: {_FOLDER}/htpasswd}}}}
http:
  addr: :{PORT}
  tls: {{certificate: {_FOLDER}/hub.crt, key: {_FOLDER}/hub.key}}
"""
# Started, and answering.
START = (
    "systemctl start docker-registry && curl --silent --insecure --output /dev/null"
    f" --retry 20 --retry-delay 1 --retry-connrefused https://localhost:{PORT}/"
)
STOP = "systemctl stop docker-registry"
_KEY = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
_NEW_CA = (
    f"cd {_FOLDER} && {_KEY} -x509 -days 2 -subj /CN=lab -keyout ca.key -out ca.crt 2>&1"
    " && chmod 600 ca.key"
)
# $1 is the device's name; from $2 to $3 the certificate is valid, both as date(1) takes times.
_CERTIFY = f"""
cd {_FOLDER}
stamp() {{ date --utc --date="$1" +%Y%m%d%H%M%SZ; }}
{_KEY} -subj "/CN=$1" -addext "subjectAltName=DNS:$1" -keyout hub.key -out hub.csr 2>&1
openssl x509 -req -in hub.csr -copy_extensions copy -CA ca.crt -CAkey ca.key \\
    -not_before "$(stamp "$2")" -not_after "$(stamp "$3")" -out hub.crt 2>&1
rm hub.csr
chgrp docker-registry hub.key
chmod 640 hub.key
"""
# Takes every connection, and says nothing.
_SILENT = f"""
import socket
with socket.create_server(("", {PORT})) as server:
    taken = []
    while True:
        taken.append(server.accept())
"""


# Has a device, and its Docker engine if one runs, believe a CA, whose certificate it reads.
TRUST = (
    "cat > /usr/local/share/ca-certificates/hub.crt && update-ca-certificates"
    " && { ! systemctl --quiet is-active docker || systemctl restart docker; }"
)


def trust(group: str, name: str, certificate: str) -> None:
    """Have a device and its Docker engine, if one runs, believe a CA.

    Args:
        group: the device's group.
        name: the device's name.
        certificate: the CA's certificate, as PEM.
    """
    device.script(group, name, TRUST, stdin=certificate, timeout=SECONDS)


@dataclass(frozen=True)
class Registry:
    """A registry on a device: the device's group and name, and the login that it lets in."""

    group: str
    device: str
    username: str
    password: str

    @property
    def name(self) -> str:
        """What its images' names begin with."""
        return f"{self.device}:{PORT}"

    def on(self, text: str, *arguments: str, stdin: str = "") -> str:
        """Run a script on its device as root and return its output."""
        return device.script(
            self.group, self.device, text, *arguments, stdin=stdin, timeout=SECONDS
        )

    def serve(self) -> None:
        """Have the device run the registry, and believe it."""
        self.on(f"cat > {_FOLDER}/config.yml", stdin=_CONFIG)
        self.allow()
        self.on(_NEW_CA)
        self.certify()
        trust(self.group, self.device, self.ca)

    @property
    def ca(self) -> str:
        """The certificate of the CA that its own is of, as PEM."""
        return self.on(f"cat {_FOLDER}/ca.crt")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.on(START)

    def stop(self) -> None:
        """Stop it: connections are refused from then on."""
        self.on(STOP)

    # Who gets in.

    def certify(self, since: str = "-1 day", until: str = "+2 days") -> None:
        """Give it a new certificate, and restart it.

        Args:
            since: when that begins to be valid, as date(1) takes it.
            until: when it ends to be.
        """
        self.on(_CERTIFY, self.device, since, until)
        self.on(STOP)
        self.start()

    @contextmanager
    def valid_from_tomorrow(self) -> Iterator[None]:
        """Have a certificate that is not valid yet, as for a device whose clock is behind."""
        self.certify("+1 day")
        try:
            yield
        finally:
            self.certify()

    def allow(self, password: str = "") -> None:
        """Let its user in by a password, which is its own unless another is given."""
        self.on(
            f"cd {_FOLDER} && htpasswd -niB {self.username} > htpasswd"
            " && chgrp docker-registry htpasswd && chmod 640 htpasswd",
            stdin=password or self.password,
        )

    @contextmanager
    def revoked(self) -> Iterator[None]:
        """Let nobody in."""
        # It reads the file anew when that has another time.
        self.on(f": > {_FOLDER}/htpasswd")
        try:
            yield
        finally:
            self.allow()

    # How it can fail.

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have nothing at its port: connections are refused."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Have connections taken and never answered."""
        unit = "silent-registry"
        self.stop()
        try:
            self.on(
                f'systemd-run --quiet --collect --unit={unit} python3 -c "$1"'
                f" && until ss --listening --numeric --tcp | grep -q ':{PORT} '"
                "; do sleep 0.1; done",
                _SILENT,
            )
            yield
        finally:
            self.on(f"systemctl stop {unit} || :")
            self.start()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Have every packet to it lost: connections are neither taken nor refused."""
        rule = f"INPUT --protocol tcp --dport {PORT} --jump DROP"
        self.on(f"iptables --insert {rule}")
        try:
            yield
        finally:
            self.on(f"iptables --delete {rule}")

    @contextmanager
    def slow(self, rate: str = "4mbit") -> Iterator[None]:
        """Have its device send no faster than a rate, as tc(8) takes it (`4mbit` is 0.5 MB/s)."""
        self.on(f"tc qdisc replace dev eth0 root tbf rate {rate} burst 32kbit latency 400ms")
        try:
            yield
        finally:
            self.on("tc qdisc delete dev eth0 root")

    @contextmanager
    def corrupt(self, digest: str) -> Iterator[None]:
        """Have another content in the place of one of its blobs, of the same size.

        Args:
            digest: the blob's, as `sha256:` and 64 hexadecimal digits.
        """
        algorithm, _colon, text = digest.partition(":")
        path = f"{STORE}/docker/registry/v2/blobs/{algorithm}/{text[:2]}/{text}/data"
        self.on(
            'cp --preserve=all "$1" "$1.kept"'
            ' && printf "%64s" | dd of="$1" conv=notrunc status=none'
            ' oflag=seek_bytes seek=$(($(stat --format=%s "$1") / 2))',
            path,
        )
        try:
            yield
        finally:
            self.on('mv "$1.kept" "$1"', path)

    # What it has, and what it was asked for.

    def links(self) -> str:
        """Return all that it has of images: every tag and every manifest.

        Each is a line with its name and its digest.
        """
        return self.on(f"cd {REPOSITORIES} && grep -r . --include=link | sort")

    def cursor(self) -> str:
        """Return where its log ends now."""
        show = "journalctl --unit=docker-registry --lines=0 --show-cursor"
        return self.on(f"journalctl --sync && {show}").rpartition("-- cursor: ")[2].strip()

    def requests(self, cursor: str) -> list[str]:
        """Return what it has been asked for since a cursor, as `GET /v2/anna/camera/…`."""
        read = 'journalctl --sync && journalctl --unit=docker-registry --output=json "$1"'
        found = []
        for line in self.on(read, f"--after-cursor={cursor}").splitlines():
            # Of each answer, it writes a line as web servers do: "METHOD PATH PROTOCOL" in quotes.
            _before, quote, rest = str(json.loads(line)["MESSAGE"]).partition('] "')
            if quote:
                found.append(rest.partition(" HTTP/")[0])
        return found

    def push_from_engine(self, image: str, name: str) -> None:
        """Put an image of the engine that the lab runs on into the registry.

        Args:
            image: its name there.
            name: its name here, without the registry's.

        Raises:
            LabError: that failed.
        """
        login = f"docker login --username {self.username} --password-stdin {self.name}"
        self.on(login, stdin=self.password)
        own = device.container(self.group, self.device)
        copy = ["skopeo", "copy", "--quiet", "docker-archive:/dev/stdin"]
        saved = subprocess.Popen([*docker_command(), "save", image], stdout=subprocess.PIPE)
        done = subprocess.run(
            [
                *[*docker_command(), "exec", "--interactive", own],
                *[*copy, f"docker://{self.name}/{name}"],
            ],
            stdin=saved.stdout,
            check=False,
        )
        if (saved.wait(), done.returncode) != (0, 0):
            raise LabError(f"{image} could not be put into {self.name}")
