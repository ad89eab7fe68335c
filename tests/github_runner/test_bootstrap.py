"""bootstrap has a device be a runner where github_runner_url is set, beside its camera."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.github_runner.pi import Pi
from tests.lab import device as lab
from tests.play import Play, run_playbook
from tests.viewer import Viewer

CAMERA = {
    "camera_app_cameras": [{"name": "front", "source": "test-pattern"}],
    "camera_app_access": "open",
}


def bootstrap(pi: Pi, *options: str, **variables: object) -> Play:
    """Run the playbook with the runner of the scenario."""
    given = lab.folder(pi.group) / "bootstrap.json"
    given.touch(mode=0o600)
    given.write_text(json.dumps({**CAMERA, **pi.variables(), **variables}))
    return run_playbook(
        pi.group,
        "rpi_camera.fleet.bootstrap",
        *[f"--limit={pi.name}", f"--extra-vars=@{given}", *options],
        env=pi.environment,
    )


def snapshot(pi: Pi) -> Mapping[str, str]:
    """Return what is on it, without what apt and systemd write by themselves."""
    return {
        path: what
        for path, what in lab.snapshot(pi.group, pi.name).items()
        if not path.startswith(("/var/lib/apt", "/var/cache", "/var/lib/systemd"))
    }


def test_a_runner_that_cannot_be_is_refused_before_the_camera_is_touched(pi: Pi) -> None:
    before = snapshot(pi)
    play = bootstrap(pi, github_runner_url=pi.github.url("octo/open"))
    assert not play.went_well
    assert "is public" in play.output
    play = bootstrap(pi, github_runner_labels=["two words"])
    assert not play.went_well
    assert "github_runner_labels" in play.output
    assert snapshot(pi) == before
    assert pi.is_listening


def test_a_bare_device_streams_and_is_a_runner(pi: Pi) -> None:
    assert pi.apply(state="absent").went_well
    play = bootstrap(pi)
    assert play.went_well, play.output
    assert pi.is_listening
    pi.github.wait_for_runner(pi.name)
    url = f"http://{lab.address(pi.group, pi.name)}:{lab.SERVER_PORT}/video"
    assert Viewer(url).first().decode().size
    mark = pi.github.mark()
    again = bootstrap(pi)
    assert again.went_well, again.output
    assert again.changed == 0
    asked = [one for one in pi.github.requests(mark) if one.path.startswith("/api/v3/")]
    assert len(asked) <= 3
    assert {one.method for one in asked} == {"GET"}
    # Away with what the other tests do not reckon with.
    assert bootstrap(pi, camera_app_state="absent", github_runner_url="").went_well
