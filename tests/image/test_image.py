"""A user's repository, copied from examples/camera-repo: commits become images, or say why not.

The workflow's own commands run on a simulated Pi, against a registry that wants TLS and a login.
"""

from __future__ import annotations

import pytest

from tests.image.conftest import (
    ARCHIVE,
    BUILDER,
    HUB,
    IMAGE,
    NEIGHBOUR,
    REGISTRY,
    Site,
    digest_told,
    on,
)
from tests.lab.registry import START, STOP

VERSION = 'version = "0.1.0"'
# Without the first, systemd would refuse the fourth start within a minute.
RESTART = "systemctl reset-failed docker; systemctl restart docker"
# A registry that is being looked after.
CONFIG = "/etc/docker/registry/config.yml"
READ_ONLY = "maintenance: {readonly: {enabled: true}}, "
NO_INDEX = f"http://{HUB}:8000/simple"
# Signs another archive, namely Raspberry Pi's.
OTHER_KEY = "server/container/raspberrypi-archive-keyring.asc"


def pulled(digest: str) -> str:
    """Pull the tag on another device; return the version of its server, if it has that digest."""
    on(HUB, f"docker pull --quiet {IMAGE}:latest")
    assert f"{IMAGE}@{digest}" in on(HUB, f"docker inspect {IMAGE}:latest")
    ask = "from importlib.metadata import version; print(version('camera-server'))"
    return on(HUB, f'docker run --rm --entrypoint python3 {IMAGE}:latest -c "$1"', ask).strip()


def refused(site: Site, message: str, **changes: str) -> str:
    """See that a run fails with a message and changes nothing; return its output."""
    before = site.hub.links()
    run = site.run(**changes)
    assert not run.went_well
    assert message in run.output
    assert site.hub.links() == before
    return run.output


def test_the_first_image_is_behind_the_tag(first: str) -> None:
    assert pulled(first) == "0.1.0"


def test_a_commit_is_behind_the_tag_and_another_device_pulls_it(site: Site, first: str) -> None:
    site.commit("server/pyproject.toml", VERSION, 'version = "0.1.7"')
    run = site.run()
    assert run.went_well
    digest = digest_told(run.summary)
    assert digest != first
    assert pulled(digest) == "0.1.7"


def test_the_same_again_is_the_same_digest(site: Site, first: str) -> None:
    run = site.run()
    assert run.went_well
    assert digest_told(run.summary) == first


def test_a_run_leaves_nothing_of_its_own_and_all_of_others(site: Site, first: str) -> None:
    assert first
    assert site.left_on_the_pi() == [NEIGHBOUR]


@pytest.mark.usefixtures("first")
def test_settings_of_the_repository_count(site: Site, small: str) -> None:
    links = [line for line in site.hub.links().splitlines() if line.startswith("anna/camera/")]
    moved = [link for link in links if "/tags/" in link and link.endswith(f"/current/link:{small}")]
    assert [link.split("/tags/")[1].split("/")[0] for link in moved] == ["small"]
    look = f"docker run --rm --entrypoint python3 {IMAGE}@{small} -c 'import picamera2' 2>&1 || :"
    assert "No module named 'picamera2'" in on(HUB, look)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "server/src/camera_server/cameras/test_pattern.py",
            "import io\n",
            "raise SystemExit('broken')\nimport io\n",
            "The image shows 0 live frames within 30 s and has to show 60",
        ),
        (
            "server/src/camera_server/cli.py",
            "import argparse\n",
            "raise SystemExit('broken')\nimport argparse\n",
            "The server has ended",
        ),
        (
            "server/src/camera_server/cameras/picamera2_source.py",
            '"""A camera on',
            'raise SystemExit("broken")\n"""A camera on',
            "The image cannot load what its cameras need",
        ),
    ],
    ids=["no frames", "no server", "no cameras"],
)
@pytest.mark.usefixtures("first")
def test_an_image_without_frames_goes_nowhere(
    site: Site, name: str, old: str, new: str, message: str
) -> None:
    site.commit(name, old, new)
    output = refused(site, f"::error::{message}")
    assert "broken" in output, "the server's own words are shown"
    assert site.left_on_the_pi() == [NEIGHBOUR]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"IMAGE": "hub:5000/Anna/Camera"},
            "The variable IMAGE is 'hub:5000/Anna/Camera'; allowed is REGISTRY/NAME in lower case",
        ),
        ({"IMAGE": f"{IMAGE}:latest"}, f"The variable IMAGE is '{IMAGE}:latest'; allowed is"),
        ({"IMAGE": "anna/camera"}, "The variable IMAGE is 'anna/camera'; allowed is REGISTRY/NAME"),
        ({"TAG": "v1 beta"}, "The variable TAG is 'v1 beta'; allowed are up to 128 letters,"),
        ({"TAG": "$(touch /tmp/x)"}, "The variable TAG is '$(touch /tmp/x)'; allowed are"),
        ({"ROOM_MB": "3 GB"}, "The variable ROOM_MB is '3 GB'; allowed is a whole number"),
        # GitHub's token is for GitHub's registry, which takes this one for none of its own.
        ({"IMAGE": "", "REGISTRY_USERNAME": "", "PASSWORD": ""}, "ghcr.io "),
        (
            {"PASSWORD": "not-the-hub-s"},
            f"{REGISTRY} refuses the login of anna: look at the variable",
        ),
        (
            {"REGISTRY_USERNAME": "", "PASSWORD": ""},
            f"{REGISTRY} wants a login: set the variable REGISTRY_USERNAME and the secret",
        ),
    ],
    ids=[
        "case",
        "a tag in it",
        "no registry",
        "tag",
        "command",
        "room",
        "ghcr",
        "password",
        "no login",
    ],
)
@pytest.mark.usefixtures("first")
def test_bad_settings_are_refused(site: Site, changes: dict[str, str], message: str) -> None:
    output = refused(site, f"::error::{message}", **changes)
    # The runner would have put these in a secret's place.
    assert "***" not in output
    assert site.left_on_the_pi() == [NEIGHBOUR]
    assert ("wants a login" in output) == ("wants a login" in message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BASE": f"{REGISTRY}/debian:jessie"}, f"{REGISTRY}/debian:jessie: not found"),
        (
            {"ARCHIVE_KEY": ""},
            f"ARCHIVE is '{ARCHIVE}' and ARCHIVE_KEY is empty; it has to hold the public key",
        ),
        (
            {"ARCHIVE_KEY": OTHER_KEY},
            f"ARCHIVE is '{ARCHIVE}': it gives no list of packages that the key has signed",
        ),
        ({"ARCHIVE_KEY": "82B129927FA3303E"}, "ARCHIVE_KEY is no public key, ASCII-armored"),
        ({"ARCHIVE": "http://hub:8000 sid"}, "ARCHIVE is 'http://hub:8000 sid'; allowed is URI"),
        ({"CAMERA_PACKAGES": "python3-picamera3"}, "CAMERA_PACKAGES is 'python3-picamera3': they"),
        ({"PIP_INDEX_URL": NO_INDEX}, f"could not be had from {NO_INDEX} (PIP_INDEX_URL); pip"),
    ],
    ids=["base", "no key", "another key", "key", "archive", "packages", "index"],
)
@pytest.mark.usefixtures("first")
def test_a_build_that_fails_says_why(site: Site, changes: dict[str, str], message: str) -> None:
    if changes.get("ARCHIVE_KEY") == OTHER_KEY:
        changes = {"ARCHIVE_KEY": (site.repository / OTHER_KEY).read_text()}
    output = refused(site, message, **changes)
    assert "::error::The image could not be built; the step that failed says why" in output
    assert site.left_on_the_pi() == [NEIGHBOUR]


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        (
            BUILDER,
            "mkdir -p /mnt/small; mount -t tmpfs -o size=64m small /mnt/small"
            "; cp /etc/docker/daemon.json /run"
            """; jq '."data-root" = "/mnt/small"' /run/daemon.json > /etc/docker/daemon.json"""
            f"; {RESTART}",
            f"cp /run/daemon.json /etc/docker; {RESTART}; umount /mnt/small",
            "/mnt/small on builder has 6",
        ),
        (
            BUILDER,
            "systemctl stop docker.socket docker",
            "systemctl start docker.socket docker",
            "Docker's engine does not answer on builder: see that it runs",
        ),
        (
            BUILDER,
            "mv /usr/bin/skopeo /usr/bin/away",
            "mv /usr/bin/away /usr/bin/skopeo",
            "builder has no skopeo; README.md says what to install there",
        ),
        (
            BUILDER,
            "mv /usr/libexec/docker/cli-plugins /usr/libexec/docker/away",
            "mv /usr/libexec/docker/away /usr/libexec/docker/cli-plugins",
            "builder has no BuildKit; install the package docker-buildx there",
        ),
        (
            HUB,
            STOP,
            START,
            f"{REGISTRY} does not answer as a registry does: look at the variable IMAGE",
        ),
        (
            HUB,
            f"sed -i 's/^storage: {{/&{READ_ONLY}/' {CONFIG}; {STOP}; {START}",
            f"sed -i 's/{READ_ONLY}//' {CONFIG}; {STOP}; {START}",
            f"skopeo cannot push to {IMAGE} (README.md has what the login must be allowed), and",
        ),
    ],
    ids=["room", "engine", "skopeo", "BuildKit", "registry", "read only"],
)
@pytest.mark.usefixtures("first")
def test_what_is_missing_is_named(
    site: Site, name: str, before: str, after: str, message: str
) -> None:
    on(name, before)
    try:
        refused(site, f"::error::{message}")
    finally:
        on(name, after)
    assert site.left_on_the_pi() == [NEIGHBOUR]


@pytest.mark.usefixtures("first")
def test_a_repository_without_the_server_is_told_to_copy_it(site: Site) -> None:
    site.git("rm", "--quiet", "server/Dockerfile")
    site.git("commit", "--quiet", "--message", "No server")
    refused(site, "::error::server/Dockerfile is missing: copy files/server of the collection")
