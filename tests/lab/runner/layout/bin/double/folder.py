"""What the runner keeps in its folder."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / ".runner"
CREDENTIALS = ROOT / ".credentials"
KEY = ROOT / ".credentials_rsaparams"
SERVICE = ROOT / ".service"
_NAME_LENGTH = 150
_OWNER_LENGTH = 70


def version() -> str:
    """Return the runner's version."""
    return (ROOT / "bin/version").read_text().strip()


def architecture() -> str:
    """Return what the runner was built for, as its label says it: X64, ARM64 or ARM."""
    return (ROOT / "bin/architecture").read_text().strip().upper()


@dataclass(frozen=True)
class Settings:
    """What `.runner` holds: who the runner is to GitHub, and where it works."""

    agent_id: int
    agent_name: str
    pool_id: int
    pool_name: str
    server_url: str
    github_url: str
    work_folder: str
    disable_update: bool = False
    ephemeral: bool = False

    @property
    def work(self) -> Path:
        """The folder that jobs run in."""
        return ROOT / self.work_folder

    def save(self) -> None:
        """Write `.runner`."""
        chosen = {"disableUpdate": self.disable_update, "ephemeral": self.ephemeral}
        _write(
            SETTINGS,
            {
                "agentId": self.agent_id,
                "agentName": self.agent_name,
                "poolId": self.pool_id,
                "poolName": self.pool_name,
                **{name: True for name, value in chosen.items() if value},
                "serverUrl": self.server_url,
                "gitHubUrl": self.github_url,
                "workFolder": self.work_folder,
            },
        )

    @classmethod
    def load(cls) -> Settings:
        """Read `.runner`."""
        found = _read(SETTINGS)
        return cls(
            agent_id=found["agentId"],
            agent_name=found["agentName"],
            pool_id=found["poolId"],
            pool_name=found["poolName"],
            server_url=found["serverUrl"],
            github_url=found["gitHubUrl"],
            work_folder=found["workFolder"],
            disable_update=found.get("disableUpdate", False),
            ephemeral=found.get("ephemeral", False),
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    # With a byte order mark, as the real one writes it.
    path.write_text(json.dumps(content, indent=2), encoding="utf-8-sig")


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8-sig")))


def make_key() -> None:
    """Make the runner's key, unless one was left behind."""
    if not KEY.exists():
        with open(os.open(KEY, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump({"exponent": "AQAB", "d": secrets.token_urlsafe(256)}, file, indent=2)


def save_credentials(client: str, server_url: str) -> None:
    """Write `.credentials`: with what the runner logs in, and where."""
    data = {
        "clientId": client,
        "authorizationUrl": f"{server_url}/oauth",
        "requireFipsCryptography": "True",
    }
    _write(CREDENTIALS, {"scheme": "OAuth", "data": data})


def client_id() -> str:
    """Return with what the runner logs in."""
    return str(_read(CREDENTIALS)["data"]["clientId"])


def delete() -> None:
    """Delete the local configuration, and say so."""
    if CREDENTIALS.exists() or _migrated(CREDENTIALS).exists():
        for path in (CREDENTIALS, _migrated(CREDENTIALS), KEY):
            path.unlink(missing_ok=True)
        print("√ Removed .credentials")
    else:
        print("Does not exist. Skipping Removing .credentials")
    if SETTINGS.exists():
        for path in (SETTINGS, _migrated(SETTINGS)):
            path.unlink(missing_ok=True)
        print("√ Removed .runner")
    else:
        print("Does not exist. Skipping Removing .runner")


def _migrated(path: Path) -> Path:
    return path.with_name(f"{path.name}_migrated")


def write_service_script(settings: Settings) -> None:
    """Write `svc.sh`, which knows the unit's name."""
    owner = re.sub(r"[^0-9a-zA-Z._-]", "-", settings.github_url.split("/", 3)[3].strip("/"))
    text = (ROOT / "bin/systemd.svc.sh.template").read_text()
    text = text.replace("{{SvcNameVar}}", _unit(owner, settings.agent_name))
    described = f"GitHub Actions Runner ({owner}.{settings.agent_name})"
    script = ROOT / "svc.sh"
    script.write_text(text.replace("{{SvcDescription}}", described))
    script.chmod(0o755)


def _unit(owner: str, name: str) -> str:
    unit = f"actions.runner.{owner}.{name}.service"
    if len(unit) <= _NAME_LENGTH:
        return unit
    # First the owner is cut, then the name as far as there must be room for the suffix.
    suffix = f"-{secrets.randbelow(8999) + 1000}"
    excess = len(unit) + len(suffix) - _NAME_LENGTH - max(0, len(owner) - _OWNER_LENGTH)
    kept = name[: len(name) - max(0, excess)]
    return f"actions.runner.{owner[:_OWNER_LENGTH]}.{kept}{suffix}.service"
