"""A double of GitHub on a simulated device, and what tests do with it.

Devices of its group reach it by its name, this machine and they by its address; its certificate is
for both, and of a CA of its own.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.lab import device
from tests.lab.console import LabError

REPOSITORY = "repos/octo/camera"
ORGANIZATION = "orgs/octo"
UNIT = "github-double.service"
PACKAGES = ("openssl", "python3-cryptography", "python3-jsonschema")
SECONDS = 600
# How long it may take from its start to its first answer, and a runner to come or to go (s).
START_SECONDS = 30
RUNNER_SECONDS = 60
AUTOMATIC_LABELS = ("self-hosted", "Linux", "ARM64")

_HERE = Path(__file__).parent
_FOLDER = "/etc/github-double"
_UNIT_FILE = f"""\
[Unit]
Description=A double of GitHub, for tests

[Service]
ExecStart=/usr/bin/python3 {_FOLDER}/server.py --certificate={_FOLDER}/server.crt \\
    --key={_FOLDER}/server.key --token-file={_FOLDER}/token

[Install]
WantedBy=multi-user.target
"""
_INSTALL = """
dpkg --status "$@" > /dev/null 2>&1 || {
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "$@"
} > /dev/null
"""
# $1 is the device's name, $2 its address; what is there already is kept, unless the address is
# another than before.
_CERTIFY = f"""
umask 077
mkdir -p {_FOLDER}
cd {_FOLDER}
key() {{ openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc "$@" 2>&1; }}
[ -s token ] || openssl rand -hex 24 > token
[ -s ca.crt ] || key -x509 -days 30 -subj "/CN=lab GitHub" \\
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt
names="DNS:$1,IP:$2"
[ "$(cat names 2> /dev/null)" = "$names" ] || {{
    key -subj "/CN=$1" -addext "subjectAltName=$names" -keyout server.key -out server.csr
    openssl x509 -req -days 30 -in server.csr -copy_extensions copy -CA ca.crt -CAkey ca.key \\
        -out server.crt 2>&1
    rm server.csr
    echo "$names" > names
    systemctl stop {UNIT} 2> /dev/null || :
}}
"""
# Writes its input to $1; what is new there is loaded at the unit's next start.
_WRITE = f"""
cat > "$1.new"
if cmp --silent "$1.new" "$1"; then
    rm "$1.new"
else
    mv "$1.new" "$1"
    systemctl stop {UNIT} 2> /dev/null || :
fi
"""
_START = f"systemctl daemon-reload && systemctl enable --quiet {UNIT} && systemctl start {UNIT}"
_TRUST = (
    "cat > /usr/local/share/ca-certificates/github-double.crt && update-ca-certificates > /dev/null"
)


@dataclass(frozen=True)
class App:
    """A GitHub App: its numbers, and its private key (PEM)."""

    id: int
    client_id: str
    installation: int
    key: str


@dataclass(frozen=True)
class Runner:
    """A registered runner; `labels` have `read-only` or `custom` for each name."""

    id: int
    scope: str
    name: str
    status: str
    busy: bool
    labels: dict[str, str]
    group_id: int
    ephemeral: bool
    disable_update: bool
    version: str

    @property
    def custom_labels(self) -> list[str]:
        """The labels that were asked for, in their order."""
        return [name for name, kind in self.labels.items() if kind == "custom"]


@dataclass(frozen=True)
class Job:
    """A job: `state` is queued, running or done, `runner` 0 while it has none."""

    id: int
    state: str
    runner: int
    conclusion: str
    log: str


@dataclass(frozen=True)
class Request:
    """A request that was made.

    `path` is with its query. `status` is None while it lasts, and 0 when no answer was sent.
    `authorization` is none, unknown, or the kind of token: fine-grained, installation, app (a JWT),
    registration, remove, session or listener.
    """

    number: int
    method: str
    path: str
    status: int | None
    authorization: str


@dataclass(frozen=True)
class Violation:
    """A request, or an answer to it, that GitHub's description does not allow."""

    method: str
    path: str
    error: str


class Double:
    """A running double, at an address.

    Scopes are `repos/OWNER/NAME` or `orgs/NAME`, as in the paths of GitHub's REST interface.
    """

    def __init__(self, host: str, port: int, ca: str, lab_token: str) -> None:
        self._host = host
        self._port = port
        self._ca = ca
        self._lab_token = lab_token

    # How this machine reaches it. Where it is can be known later than the object is made.

    def _where(self) -> tuple[str, int, str, str]:
        """Return its host, its port, its CA's certificate and the lab's token."""
        return self._host, self._port, self._ca, self._lab_token

    @property
    def ca(self) -> str:
        """The certificate of the CA that its own is of, as PEM."""
        return self._where()[2]

    @property
    def address(self) -> str:
        """Its IP address."""
        return self._where()[0]

    def url(self, path: str = "") -> str:
        """Return the URL of a path, as `octo/camera` or `api/v3`."""
        host, port, *_others = self._where()
        return f"https://{host}{'' if port == 443 else f':{port}'}/{path.lstrip('/')}"

    def connection(self, seconds: float = 60) -> http.client.HTTPSConnection:
        """Return a connection to it, past any proxy."""
        host, port, ca, _token = self._where()
        believe = ssl.create_default_context(cadata=ca)
        # As the devices' newer Python does by itself.
        believe.verify_flags |= ssl.VERIFY_X509_STRICT
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=believe)

    def _call(self, what: str, /, **values: object) -> Any:
        connection = self.connection(seconds=120)
        headers = {"X-Lab-Token": self._where()[3]}
        try:
            connection.request("POST", f"/_lab/{what}", json.dumps(values), headers)
            answer = connection.getresponse()
            body = json.load(answer)
        finally:
            connection.close()
        if answer.status != 200:
            raise LabError(f"the double of GitHub refused {what}: {body['message']}")
        return body["result"]

    def reset(self) -> None:
        """Begin anew.

        There are then the organization `octo`, the repositories `octo/camera` (private) and
        `octo/open` (public), a token and an app that may do everything with these; no runners,
        jobs, releases, faults, requests or violations.
        """
        self._call("reset")

    # Who gets in.

    @property
    def token(self) -> str:
        """The fine-grained token that there is from the beginning."""
        return str(self._call("token"))

    @property
    def app(self) -> App:
        """The app."""
        return App(**self._call("app"))

    def mint(
        self,
        permissions: Mapping[str, str],
        *,
        kind: str = "fine-grained",
        seconds: float = 3600,
    ) -> str:
        """Return a new token.

        Args:
            permissions: for each scope that it sees `write`, `read`, or `none`, with which it
                knows that the scope is there and gets 403.
            kind: `fine-grained` or `installation`.
            seconds: how long it is good.
        """
        values = {"permissions": dict(permissions), "kind": kind, "seconds": seconds}
        return str(self._call("mint", **values))

    def permit(self, token: str, permissions: Mapping[str, str]) -> None:
        """Give a token other permissions, as for `mint`."""
        self._call("set_token", value=token, changes={"permissions": dict(permissions)})

    def permit_app(self, permissions: Mapping[str, str]) -> None:
        """Give the tokens other permissions that the app gets from now on, as for `mint`."""
        self._call("set_app", permissions=dict(permissions))

    def expire(self, token: str) -> None:
        """Have any token that it gave out expire now."""
        self._call("set_token", value=token, changes={"seconds": 0})

    def validity(self, seconds: float) -> None:
        """Set how long tokens to register and to remove are good that it gives out from now on."""
        self._call("validity", seconds=seconds)

    def expire_registrations(self) -> None:
        """Have all tokens to register and to remove expire that it has given out."""
        self._call("expire_registrations")

    def secrets(self) -> list[str]:
        """Return all tokens ever given out, also before a reset, and a line of the app's key."""
        return [str(value) for value in self._call("secrets")]

    # Repositories, groups and runners.

    def set_repository(self, name: str, *, private: bool = True) -> None:
        """Add a repository `OWNER/NAME`, or make one private or public; no token sees a new one."""
        self._call("set_repository", name=name, private=private)

    def add_group(
        self, name: str, *, org: str = "octo", visibility: str = "all", public: bool = False
    ) -> int:
        """Add a runner group to an organization, or change the one of that name; return its number.

        Args:
            name: its name.
            org: the organization.
            visibility: `all`, `selected` or `private`.
            public: whether public repositories may use it.
        """
        values = {"name": name, "org": org, "visibility": visibility, "public": public}
        return int(self._call("add_group", **values))

    def add_runner(
        self,
        name: str,
        *,
        scope: str = REPOSITORY,
        status: str = "offline",
        busy: bool = False,
        labels: Sequence[str] = (),
        automatic_labels: Sequence[str] = AUTOMATIC_LABELS,
        group_id: int = 1,
        ephemeral: bool = False,
        version: str = "2.336.0",
    ) -> Runner:
        """Add a runner that has no listener, and is what is said here until that is changed."""
        values = {
            "name": name,
            "scope": scope,
            "forced_status": status,
            "forced_busy": busy,
            "labels": {
                **dict.fromkeys(automatic_labels, "read-only"),
                **dict.fromkeys(labels, "custom"),
            },
            "group_id": group_id,
            "ephemeral": ephemeral,
            "version": version,
        }
        return Runner(**self._call("add_runner", **values))

    def runners(self, scope: str = "") -> list[Runner]:
        """Return the runners of a scope, or all."""
        return [Runner(**found) for found in self._call("runners", scope=scope)]

    def runner(self, name: str, scope: str = REPOSITORY) -> Runner:
        """Return a runner by its name.

        Raises:
            LabError: there is none.
        """
        for found in self.runners(scope):
            if found.name == name:
                return found
        raise LabError(f"{scope} has no runner {name}")

    def _set_runner(self, number: int, **changes: object) -> Runner:
        return Runner(**self._call("set_runner", number=number, changes=changes))

    def force(self, number: int, *, status: str = "", busy: bool | None = None) -> Runner:
        """Say whether a runner is online and busy, or have it be as it is (without a value)."""
        return self._set_runner(number, forced_status=status, forced_busy=busy)

    def set_labels(self, number: int, labels: Sequence[str]) -> Runner:
        """Give a runner other labels of its own; the automatic ones stay."""
        found = next((item for item in self.runners() if item.id == number), None)
        if found is None:
            raise LabError(f"there is no runner {number}")
        fixed = {name: kind for name, kind in found.labels.items() if kind == "read-only"}
        return self._set_runner(number, labels=fixed | dict.fromkeys(labels, "custom") | fixed)

    def set_version(self, number: int, version: str) -> Runner:
        """Say which version a runner has."""
        return self._set_runner(number, version=version)

    def remove_runner(self, number: int) -> None:
        """Delete a registration, as GitHub does after weeks offline; its listener gets 404."""
        self._call("remove_runner", number=number)

    def wait_for_runner(
        self,
        name: str,
        status: str = "online",
        *,
        scope: str = REPOSITORY,
        busy: bool | None = None,
        seconds: float = RUNNER_SECONDS,
    ) -> Runner:
        """Wait until a runner is there, online or offline, and busy or not if that is said.

        Raises:
            LabError: it is not so by then.
        """
        end = time.monotonic() + seconds
        while True:
            found = [item for item in self.runners(scope) if item.name == name]
            for runner in found:
                if runner.status == status and busy in (None, runner.busy):
                    return runner
            if time.monotonic() > end:
                raise LabError(f"{scope} has no {status} runner {name} in {seconds} s: {found}")
            time.sleep(0.2)

    # Jobs.

    def queue_job(
        self,
        *steps: str,
        scope: str = REPOSITORY,
        labels: Sequence[str] = ("self-hosted",),
        runner: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Have a job wait for a runner, and return its number.

        Args:
            steps: what it runs, each a shell's text.
            scope: whose job it is; a repository's can also go to a runner of its owner.
            labels: what a runner has to have.
            runner: the number of the only runner that it may go to, or 0.
            env: its environment.
        """
        values = {"scope": scope, "labels": list(labels), "runner": runner}
        job = self._call("queue_job", **values, steps=list(steps), env=dict(env or {}))
        return int(job)

    def job(self, number: int, wait: float = 0) -> Job:
        """Return a job once it is done, or after so many seconds as it is."""
        found = self._call("job", number=number, wait=wait)
        found["id"] = found.pop("number")
        return Job(**{name: found[name] for name in Job.__dataclass_fields__})

    def wait_for_job(self, number: int, seconds: float = RUNNER_SECONDS) -> Job:
        """Wait until a job is done.

        Raises:
            LabError: it is not by then.
        """
        end = time.monotonic() + seconds
        while True:
            found = self.job(number, max(min(end - time.monotonic(), 45), 0))
            if found.state == "done":
                return found
            if time.monotonic() > end:
                raise LabError(f"the job is not done in {seconds} s: {found}")

    # Releases.

    def put_release(
        self,
        version: str,
        architecture: str,
        content: bytes,
        *,
        checksum: str = "",
        published_at: str = "",
    ) -> str:
        """Publish an archive of the runner, and return its SHA-256.

        The highest version that there is counts as the newest, which `downloads` lists.

        Args:
            version: as `2.336.0`.
            architecture: `arm64`, `arm` or `x64`.
            content: the archive.
            checksum: what is published as its SHA-256, if that shall be wrong.
            published_at: when, as `2026-01-31T12:00:00Z`; now if empty.
        """
        text = base64.b64encode(content).decode()
        values = {"version": version, "architecture": architecture, "content": text}
        done = self._call("put_release", **values, checksum=checksum, published_at=published_at)
        return str(done)

    # How it can fail.

    def fault(
        self,
        pattern: str,
        *,
        times: int | None = None,
        after: int = 0,
        status: int = 0,
        message: str = "",
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0,
        close: bool = False,
        cut: int | None = None,
    ) -> None:
        """Have something happen to requests; of several faults, the first one does.

        Args:
            pattern: a regular expression that is searched for in `METHOD PATH?QUERY`, as
                `^POST /api/v3/repos/.*-token$`.
            times: to how many requests, or to all until the faults are cleared.
            after: how many requests that the pattern finds are left in peace first.
            status: answer this, and do not do what was asked for.
            message: with this text.
            retry_after: with the header `Retry-After` (s).
            headers: with these headers.
            delay: wait before all else (s).
            close: close the connection, and do not do what was asked for.
            cut: do what was asked for, and close it after so many bytes of the answer's body.
        """
        with_answer = dict(headers or {})
        if retry_after is not None:
            with_answer["Retry-After"] = str(retry_after)
        self._call(
            "add_fault",
            pattern=pattern,
            times=times,
            after=after,
            status=status,
            message=message,
            headers=with_answer,
            delay=delay,
            close=close,
            cut=cut,
        )

    def clear_faults(self) -> None:
        """Have nothing fail any more."""
        self._call("clear_faults")

    # What it was asked for.

    def mark(self) -> int:
        """Return where the list of requests ends now."""
        return int(self._call("mark"))

    def requests(self, since: int = 0) -> list[Request]:
        """Return the requests since a mark, without those of the tests."""
        return [Request(**found) for found in self._call("requests", since=since)]

    def violations(self) -> list[Violation]:
        """Return where a request or an answer was not as GitHub describes it."""
        return [Violation(**found) for found in self._call("violations")]


class GitHub(Double):
    """A double on a device: the device's group and name."""

    def __init__(self, group: str, device: str = "github") -> None:
        self.group = group
        self.device = device

    def on(self, text: str, *arguments: str, stdin: str = "") -> str:
        """Run a script on its device as root and return its output."""
        return device.script(
            self.group, self.device, text, *arguments, stdin=stdin, timeout=SECONDS
        )

    @cached_property
    def _place(self) -> tuple[str, int, str, str]:
        found = self.on(f"cd {_FOLDER} && cat ca.crt && echo : && cat token")
        ca, _end, token = found.partition(":\n")
        return device.address(self.group, self.device), 443, ca, token.strip()

    def _where(self) -> tuple[str, int, str, str]:
        return self._place

    def serve(self) -> None:
        """Have the device run it, and wait until it answers.

        One that runs already goes on, unless its files are others now.

        Raises:
            LabError: that failed.
        """
        self.__dict__.pop("_place", None)
        self.on(_INSTALL, *PACKAGES)
        self.on(_CERTIFY, self.device, device.address(self.group, self.device))
        for name in ("server.py", "openapi.json"):
            self.on(_WRITE, f"{_FOLDER}/{name}", stdin=(_HERE / name).read_text())
        self.on(_WRITE, f"/etc/systemd/system/{UNIT}", stdin=_UNIT_FILE)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers; it begins anew unless it runs.

        Raises:
            LabError: it does not answer in time.
        """
        self.on(_START)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.mark()
            except OSError as error:
                if time.monotonic() > end:
                    log = self.on(f"journalctl --unit={UNIT} --lines=20 --no-pager")
                    raise LabError(f"{self.device} does not answer: {error}\n{log}") from error
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """Stop it: connections are refused from then on, and all that it knew is gone."""
        self.on(f"systemctl stop {UNIT}")

    def trust(self, name: str) -> None:
        """Have a device of its group believe its certificate."""
        device.script(self.group, name, _TRUST, stdin=self.ca, timeout=SECONDS)
