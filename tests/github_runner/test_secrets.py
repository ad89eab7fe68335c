"""Nobody reads a token, a key or a runner's credentials who is not meant to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.github_runner.pi import FOLDER, PI, Pi, Run

WATCHED = "/run/processes-watched"
SOUGHT = "/run/secrets-sought"
# All that runs there, as everybody on the device may see it, twenty times a second.
WATCH = f"""
systemd-run --quiet --collect --unit=watch-processes \
    bash -c 'while ps axww -o args; do sleep 0.05; done > {WATCHED}'
"""
# Prints which of the texts of its input are to be found, and where.
SEEK = f"""
trap 'rm --force {SOUGHT}' EXIT
(umask 077; cat > {SOUGHT})
grep --only-matching --fixed-strings --file={SOUGHT} {WATCHED} | sed 's/^/a process: /' || :
journalctl --sync
journalctl --quiet --no-pager --output=export > {SOUGHT}.journal
grep --text --only-matching --fixed-strings --file={SOUGHT} {SOUGHT}.journal \
    | sed 's/^/the journal: /' || :
rm {SOUGHT}.journal
find /opt /etc /var/lib /var/log /tmp /var/tmp /home /run -type f -perm /044 -print0 \
    | xargs --null grep --text --with-filename --only-matching --fixed-strings --file={SOUGHT} || :
"""


@contextmanager
def watching(pi: Pi) -> Iterator[None]:
    """Write down all processes of the device meanwhile."""
    pi.run(WATCH)
    try:
        yield
    finally:
        pi.run("systemctl stop watch-processes")


def secrets_of(pi: Pi) -> list[str]:
    """Return all that is secret: what the double has given out, and what the runner has."""
    kept = pi.read(f"{FOLDER}/.credentials").lstrip("\ufeff") or '{"data": {"clientId": ""}}'
    key = pi.read(f"{FOLDER}/.credentials_rsaparams") or '{"d": ""}'
    own = [json.loads(kept)["data"]["clientId"], json.loads(key)["d"]]
    return [*pi.github.secrets(), *filter(None, own)]


def check(pi: Pi, *runs: Run) -> None:
    """See that nothing secret is in what runs printed and returned, nor readable on the device."""
    sought = secrets_of(pi)
    assert len(sought) > len(runs)
    for run in runs:
        said = run.play.output.replace("\\n", "\n") + json.dumps(run.result)
        assert [text for text in sought if text in said] == []
    assert pi.run(SEEK, stdin="\n".join(sought) + "\n") == ""
    # It was looked at what matters: config.sh has run, and what it was given is to be seen.
    assert f"{FOLDER}/config.sh --unattended" in pi.read(WATCHED)


@pytest.mark.parametrize("kind", ["token", "app", "registration"])
def test_no_secret_is_to_be_read_anywhere(pi: Pi, kind: str) -> None:
    given = pi.credentials(kind)
    runs = []
    with watching(pi):
        if kind == "token":
            runs += [pi.apply("-vvv", state="absent")]
        else:
            pi.run(f"cd {FOLDER}; systemctl disable --now --quiet $(cat .service); rm .runner")
            pi.github.remove_runner(pi.github.runner(PI).id)
        pi.github.fault("^(POST|PUT) /_services/.*/agents", status=500, message="out of order")
        failed = pi.apply("-vvv", **given)
        pi.github.clear_faults()
        assert not failed.went_well
        assert "config.sh has ended with status 1" in failed.output
        assert "out of order" in failed.output
        runs += [failed, pi.apply("-vvv", **given)]
    assert runs[-1].went_well, runs[-1].play.output
    assert pi.github.wait_for_runner(PI)
    check(pi, *runs)
