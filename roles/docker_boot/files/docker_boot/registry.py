"""What a tag means at its registry, how much of it is not here yet, and whom it is for.

skopeo asks, which Debian has for this: it knows the ways in which registries want to be asked.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from . import app, engine

SECONDS = 30
# What is said when trying again does not help, and what when it may.
_REFUSED = re.compile(
    r"unauthorized|authentication required|(?<!permission )denied|invalid username", re.I
)
_UNKNOWN = re.compile(r"manifest unknown|not found|name unknown|StatusCode: 404", re.I)
_CLOCK = re.compile(r"certificate has expired or is not yet valid", re.I)
_INDEX = ("manifest.list", "image.index")


class RefusedError(Exception):
    """There is no use in trying again; the text says why."""


class LaterError(Exception):
    """It may go well later; the text says what was in the way."""


@dataclass(frozen=True)
class Found:
    """What a tag means now."""

    reference: str  # REPOSITORY@DIGEST
    architecture: str  # Go's word; empty if there is none for this device
    offered: list[str]  # all architectures that there are
    layers: list[tuple[str, int]]  # of each: the digest of what is unpacked, bytes as sent


def _clock() -> str:
    """Say whether the clock may be the reason."""
    asked = ["/usr/bin/timedatectl", "show", "--value", "--property=NTPSynchronized"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return "" if answer == "yes" else "; the clock has not been set by a time server yet"


def _judge(words: str, host: str) -> Exception:
    """Return what skopeo's last words mean."""
    if _CLOCK.search(words):
        return LaterError(f"the certificate of {host} is not valid now{_clock()}: {words}")
    if _REFUSED.search(words):
        return RefusedError(f"{host} refuses the login or the image: {words}")
    if _UNKNOWN.search(words):
        return RefusedError(f"{host} has no such image: {words}")
    return LaterError(f"{host} cannot be asked: {words}")


def _insecure(host: str, info: dict[str, Any]) -> bool:
    """Return whether the engine itself would talk to a registry without TLS."""
    told = info.get("RegistryConfig") or {}
    known = (told.get("IndexConfigs") or {}).get(host)
    if known is not None:
        return not known["Secure"]
    try:
        address = ipaddress.ip_address(host.partition(":")[0].replace("localhost", "127.0.0.1"))
    except ValueError:
        return False
    nets = told.get("InsecureRegistryCIDRs") or []
    return any(address in ipaddress.ip_network(net) for net in nets)


class Registry:
    """The registry of an app's image."""

    def __init__(self, of: app.App) -> None:
        """Take over login, proxies and trust; nothing is asked yet."""
        self._app = of
        info = engine.info()
        accounts = {}
        if of.registry:
            pair = f"{of.registry['username']}:{of.registry['password']}"
            accounts[of.registry_host] = {"auth": base64.b64encode(pair.encode()).decode()}
        self._account = app.runtime(of.name) / "registry.json"
        app.write(self._account, json.dumps({"auths": accounts}), 0o600)
        self._options = [f"--authfile={self._account}"]
        if _insecure(of.registry_host, info):
            self._options.append("--tls-verify=false")
        # The engine's own, which it may have from another place than the environment.
        self._proxies = {
            name: info[key]
            for name, key in (
                ("HTTP_PROXY", "HttpProxy"),
                ("HTTPS_PROXY", "HttpsProxy"),
                ("NO_PROXY", "NoProxy"),
            )
            if info.get(key)
        }

    def _inspect(self, name: str, *options: str) -> bytes:
        command = [
            *["/usr/bin/skopeo", f"--command-timeout={SECONDS}s", "inspect", "--raw"],
            *[*self._options, *options, f"docker://{name}"],
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                env={**os.environ, **self._proxies},
                timeout=2 * SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LaterError(f"{self._app.registry_host} does not answer") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            words = re.search(r'msg="((?:[^"\\]|\\.)*)"', lines[-1]) if lines else None
            said = words[1].replace('\\"', '"') if words else " ".join(lines[-1:])
            raise _judge(said, self._app.registry_host)
        return done.stdout

    def find(self) -> Found:
        """Return what the app's tag means now, or its pinned digest.

        Raises:
            LaterError: the registry cannot be asked now.
            RefusedError: it says no.

        """
        raw = self._inspect(self._app.image)
        try:
            return self._read(raw)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RefusedError(f"{self._app.image} is no image: {error!r}") from error

    def _read(self, raw: bytes) -> Found:
        """Return what a manifest says, or a list of manifests."""
        reference = f"{self._app.repository}@sha256:{hashlib.sha256(raw).hexdigest()}"
        mine = str(engine.version()["Arch"])
        manifest = json.loads(raw)
        one = reference
        if any(kind in manifest.get("mediaType", "") for kind in _INDEX) or "manifests" in manifest:
            platforms = [
                (entry["platform"]["architecture"], entry["digest"])
                for entry in manifest["manifests"]
                if entry.get("platform", {}).get("os") == "linux"
            ]
            offered = sorted({architecture for architecture, _digest in platforms})
            if mine not in offered:
                return Found(reference, "", offered, [])
            digest = next(digest for architecture, digest in platforms if architecture == mine)
            one = f"{self._app.repository}@{digest}"
            manifest = json.loads(self._inspect(one))
        config = json.loads(self._inspect(one, "--config"))
        architecture = str(config.get("architecture", ""))
        if architecture != mine:
            return Found(reference, "", [architecture], [])
        unpacked = config["rootfs"]["diff_ids"]
        sizes = [int(layer["size"]) for layer in manifest["layers"]]
        return Found(reference, mine, [mine], list(zip(unpacked, sizes, strict=True)))


def missing_bytes(found: Found) -> int:
    """Return how many bytes have to be fetched, given the layers that the engine has."""
    wanted = [layer for layer, _size in found.layers]
    shared = 0
    for known in {entry["Id"] for entry in engine.images()}:
        have = ((engine.image(known) or {}).get("RootFS") or {}).get("Layers") or []
        common = 0
        while common < min(len(have), len(wanted)) and have[common] == wanted[common]:
            common += 1
        shared = max(shared, common)
    return sum(size for _layer, size in found.layers[shared:])
