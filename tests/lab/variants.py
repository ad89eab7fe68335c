"""Images for the tests of updates: variants of the camera server's, made inside a registry.

Each is the server's image without camera packages, with another configuration, and so a matter of a
few requests: its layers are in the registry already. A variant's name says what it does:

- `good-1`, `good-2` …: streams a test pattern; its frames' width tells them apart (`width`).
- `listed-1` …: the same as `good-1`, behind a list for several architectures.
- `big-300`: a good one with so many megabytes in a layer of its own, which cannot be compressed.
- `pair-300`: the same with a layer of one megabyte below that.
- `exits`: ends at once with status 3, and says why on standard error.
- `hangs`: runs and serves nothing; its health check fails.
- `sickens`: streams; its health check fails while there is /sick/now.
- `unchecked`: streams, and has no health check.
- `stubborn`: streams, and does not end when it is asked to.
- `other-architecture`: a small one, whose program is for a processor that no device has.
- `others-listed`: that one behind a list that has nothing for the device.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

from . import camera_image, device
from .registry import PORT, REPOSITORIES, SECONDS, Registry

REPOSITORY = "anna/camera"
BASE_TAG = "base"
# What `exits` says.
LAST_WORDS = "camera-server: it rains"
EXIT_STATUS = 3
SICK = "/sick/now"

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_MEGABYTE = 1_000_000
_OTHER = "s390x"
_SERVER = "/opt/rpi_camera/current/venv/bin/camera-server"
_ASK = "/opt/rpi_camera/current/venv/bin/python -m camera_server.health"
# Docker has these in nanoseconds.
_SECOND = 1_000_000_000
_TIMES = {
    "Interval": 2 * _SECOND,
    "Timeout": 5 * _SECOND,
    "StartPeriod": 4 * _SECOND,
    "Retries": 2,
}
_WELL = {"Test": ["CMD-SHELL", _ASK], **_TIMES}
# The widths of those that stream beside the good ones, whose widths begin at _FIRST.
_FIRST, _STEP = 320, 32
_WIDTHS = {"big": 800, "sickens": 832, "unchecked": 864, "stubborn": 896, "pair": 928}


@dataclass(frozen=True)
class _Image:
    """What is put in the place of the base's own: settings, and further layers."""

    settings: dict[str, Any]
    width: int = 0
    # The layers on top, of random content (MB).
    layers: tuple[int, ...] = ()


_VARIANTS = {
    "big": _Image({"Healthcheck": _WELL}),
    "pair": _Image({"Healthcheck": _WELL}),
    "exits": _Image(
        {"Entrypoint": ["/bin/sh", "-c", f"echo '{LAST_WORDS}' >&2; exit {EXIT_STATUS}"]}
    ),
    "hangs": _Image({"Entrypoint": ["/bin/sleep", "infinity"], "Healthcheck": _WELL}),
    "sickens": _Image(
        {"Healthcheck": {"Test": ["CMD-SHELL", f"test ! -e {SICK} && {_ASK}"], **_TIMES}}
    ),
    "unchecked": _Image({"Healthcheck": {"Test": ["NONE"]}}),
    "stubborn": _Image(
        {
            "Entrypoint": [
                *["/bin/sh", "-c", f"trap '' TERM; {_SERVER} & while :; do sleep 1; done"],
            ],
            "Healthcheck": _WELL,
        }
    ),
}


def width(name: str) -> int:
    """Return how wide the frames of a variant are that streams."""
    kind, _hyphen, number = name.partition("-")
    return _WIDTHS.get(kind) or _FIRST + _STEP * (int(number) - 1)


def _image(name: str) -> _Image:
    kind, _hyphen, number = name.partition("-")
    if kind in ("good", "listed"):
        return _Image({"Healthcheck": _WELL}, width(name))
    layers = {"big": (int(number),), "pair": (1, int(number))}.get(kind, ()) if number else ()
    return replace(_VARIANTS[kind], width=_WIDTHS.get(kind, 0), layers=layers)


def _slowed(settings: dict[str, Any], slowness: int) -> dict[str, Any]:
    """Return settings whose health check, if there is one, has so many times the time."""
    check = settings.get("Healthcheck", {})
    longer = {key: slowness * check[key] for key in ("Timeout", "StartPeriod") if key in check}
    return settings | {"Healthcheck": check | longer} if longer else settings


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _packed(file: IO[bytes], name: str, content: Iterator[bytes], size: int) -> None:
    """Write a layer of one file, which may be run."""
    information = tarfile.TarInfo(name)
    information.size, information.mode = size, 0o755
    file.write(information.tobuf(tarfile.PAX_FORMAT))
    for chunk in content:
        file.write(chunk)
    # To the block's end, and two empty ones.
    file.write(bytes(-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))


def _random(megabytes: int) -> Iterator[bytes]:
    """Yield content that is the same each time and cannot be compressed."""
    return (
        hashlib.shake_256(f"{number} of {megabytes}".encode()).digest(_MEGABYTE)
        for number in range(megabytes)
    )


def ballast(megabytes: int) -> str:
    """Return the SHA-256 of what is in a layer of so many megabytes, as /ballast-MEGABYTES."""
    digest = hashlib.sha256()
    for chunk in _random(megabytes):
        digest.update(chunk)
    return digest.hexdigest()


class Variants:
    """Makes variants in a registry that has their base."""

    def __init__(self, registry: Registry, slowness: int = 1) -> None:
        """Take note of the registry; nothing is asked yet.

        Args:
            registry: where they are put.
            slowness: how many times as long everything takes where they run.
        """
        self._registry = registry
        self._slowness = slowness

    @property
    def repository(self) -> str:
        """The images' name, without a tag."""
        return f"{self._registry.name}/{REPOSITORY}"

    def push_base(self) -> None:
        """Put into the registry what all variants begin with."""
        self._registry.push_from_engine(camera_image.small(), f"{REPOSITORY}:{BASE_TAG}")

    def push(self, name: str, tag: str) -> str:
        """Have a tag lead to a variant, and return the digest of what is behind the tag.

        Args:
            name: the variant's, as the module's text has it.
            tag: the tag, which is moved when it is another image's.
        """
        with self._connection() as client:
            manifest = client.manifest(BASE_TAG)
            config = json.loads(client.get(f"blobs/{manifest['config']['digest']}"))
            if name in ("other-architecture", "others-listed"):
                made = client.other(config)
                architecture = _OTHER
            else:
                wanted = _image(name)
                settings = _slowed(wanted.settings, self._slowness)
                made = client.variant(replace(wanted, settings=settings), manifest, config)
                architecture = str(config["architecture"])
            if name != "others-listed" and not name.startswith("listed-"):
                return client.put_manifest(tag, _MANIFEST, made)
            members = [(architecture, made)]
            if architecture != _OTHER:
                members.insert(0, (_OTHER, client.other(config)))
            return client.put_list(tag, members)

    def own_layer(self, tag: str) -> str:
        """Return the digest of the last layer of the image behind a tag."""
        with self._connection() as client:
            return str(client.manifest(tag)["layers"][-1]["digest"])

    def remove(self, tag: str) -> None:
        """Take a tag away; what was behind it stays."""
        self._registry.on(f'rm -r "$1/{REPOSITORY}/_manifests/tags/$2"', REPOSITORIES, tag)

    @contextmanager
    def _connection(self) -> Iterator[_Client]:
        context = ssl.create_default_context(cadata=self._registry.ca)
        address = device.address(self._registry.group, self._registry.device), PORT
        with (
            socket.create_connection(address, SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=self._registry.device) as secured,
        ):
            yield _Client(secured, self._registry)


class _Client:
    """Speaks with a registry, as "HTTP API V2" of docker/distribution has it."""

    def __init__(self, connected: socket.socket, registry: Registry) -> None:
        self._connection = http.client.HTTPConnection(registry.device, PORT)
        self._connection.sock = connected
        basic = b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {basic}"}

    def _ask(
        self, method: str, path: str, body: bytes | IO[bytes] = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        sent = self._headers | {name.replace("_", "-"): text for name, text in headers.items()}
        self._connection.request(method, path, body or None, sent)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, (method, path, answer.status, content)
        return answer, content

    def get(self, what: str, accept: str = "*/*") -> bytes:
        """Return what the registry has of a repository at a path below it."""
        return self._ask("GET", f"/v2/{REPOSITORY}/{what}", accept=accept)[1]

    def manifest(self, tag: str) -> dict[str, Any]:
        """Return the manifest of the image behind a tag."""
        return dict(json.loads(self.get(f"manifests/{tag}", accept=_MANIFEST)))

    def _put_blob(self, digest: str, body: bytes | IO[bytes], size: int) -> None:
        answer, _content = self._ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/", content_length="0")
        # The place has the registry's name in it, and a state in its query.
        path = answer.headers["Location"].split("/", 3)[3]
        self._ask(
            "PUT",
            f"/{path}&digest={digest}",
            body,
            content_type="application/octet-stream",
            content_length=str(size),
        )

    def _put_layer(self, name: str, content: Iterator[bytes], size: int) -> dict[str, Any]:
        with tempfile.TemporaryFile() as file:
            _packed(file, name, content, size)
            packed = file.tell()
            file.seek(0)
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            file.seek(0)
            self._put_blob(digest, file, packed)
        return {"mediaType": _LAYER, "size": packed, "digest": digest}

    def _put_image(self, config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
        """Put an image's configuration; return the manifest, which is not put yet."""
        content = json.dumps(config).encode()
        digest = _digest(content)
        self._put_blob(digest, content, len(content))
        described = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(content),
            "digest": digest,
        }
        return json.dumps(
            {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}
        ).encode()

    def variant(self, wanted: _Image, base: dict[str, Any], config: dict[str, Any]) -> bytes:
        """Put all of a variant but its manifest, and return that."""
        layers = list(base["layers"])
        settings = config["config"] | wanted.settings
        told = {"CAMERA": "test-pattern", "ACCESS": "open", "HEIGHT": "240"}
        if wanted.width:
            told["WIDTH"] = str(wanted.width)
        own = [f"CAMERA_SERVER_{name}={value}" for name, value in told.items()]
        settings["Env"] = [*settings["Env"], *own]
        made = {**config, "config": settings}
        # What it was built by does not matter, and would have to tell of each layer.
        made.pop("history", None)
        own_layers = [
            self._put_layer(f"ballast-{megabytes}", _random(megabytes), megabytes * _MEGABYTE)
            for megabytes in wanted.layers
        ]
        diffs = [*config["rootfs"]["diff_ids"], *(layer["digest"] for layer in own_layers)]
        made["rootfs"] = {**config["rootfs"], "diff_ids": diffs}
        layers += own_layers
        return self._put_image(made, layers)

    def other(self, config: dict[str, Any]) -> bytes:
        """Put all of an image for another architecture but its manifest, and return that."""
        # As much of an ELF file as a kernel looks at: 64 bit, big-endian, executable, IBM S/390.
        program = b"\x7fELF\x02\x02\x01".ljust(16, b"\0") + b"\0\x02\0\x16\0\0\0\x01"
        program = program.ljust(64, b"\0")
        layer = self._put_layer("server", iter([program]), len(program))
        made = {
            "architecture": _OTHER,
            "os": "linux",
            "created": config["created"],
            "config": {"Entrypoint": ["/server"], "Healthcheck": _WELL},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        return self._put_image(made, [layer])

    def put_manifest(self, tag: str, kind: str, content: bytes) -> str:
        """Put a manifest behind a tag (or, as every manifest, behind its digest); return that."""
        self._ask("PUT", f"/v2/{REPOSITORY}/manifests/{tag}", content, content_type=kind)
        return _digest(content)

    def put_list(self, tag: str, members: list[tuple[str, bytes]]) -> str:
        """Put images and a list of them, behind a tag; return the list's digest."""
        described = [
            {
                "mediaType": _MANIFEST,
                "size": len(content),
                "digest": self.put_manifest(_digest(content), _MANIFEST, content),
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for architecture, content in members
        ]
        content = json.dumps({"schemaVersion": 2, "mediaType": _LIST, "manifests": described})
        return self.put_manifest(tag, _LIST, content.encode())
