"""What the role makes of a device, what it refuses, and what it leaves when it goes."""

from __future__ import annotations

import yaml

from tests.conftest import ROOT, eventually
from tests.docker_boot.conftest import Watching
from tests.docker_boot.pi import CONFIG, FIRST, PI, SERVICE, STATE, UPDATE, USE, Pi
from tests.lab import device as lab
from tests.lab.registry import Registry
from tests.lab.variants import width
from tests.play import ask_module, refusals, run_playbook, told
from tests.viewer import Viewer

DIGEST = "sha256:" + "0" * 64
PRIVATE = "correct horse"
# A variable and the value that it must not have, and words of what is said of it.
REFUSALS: list[tuple[dict[str, object], str]] = [
    ({"docker_boot_name": "a/b"}, 'docker_boot_name is "a/b"'),
    ({"docker_boot_nmae": "a"}, "docker_boot_nmae"),
    ({"docker_boot_image": "https://hub/camera:1"}, "docker_boot_image is"),
    ({"docker_boot_image": "hub:5000/anna/Camera:1"}, "docker_boot_image is"),
    ({"docker_boot_image": "hub:5000/anna/camera"}, "say which tag"),
    ({"docker_boot_image": f"hub:5000/anna/camera:1@{DIGEST}"}, "a tag and a digest"),
    ({"docker_boot_ports": ["8080"]}, "no port to publish"),
    ({"docker_boot_ports": ["8080:8080", "8080:9090"]}, "each port of the device once"),
    ({"docker_boot_ports": ["22:8080"]}, "another program listens there: sshd"),
    ({"docker_boot_env": {"DB_PASSWORD": PRIVATE}}, "DB_PASSWORD means a secret"),
    ({"docker_boot_env": {"A-B": 1}}, "no name for a variable"),
    ({"docker_boot_secrets": [{"name": "a/b", "content": PRIVATE}]}, "docker_boot_secrets"),
    ({"docker_boot_volumes": ["data:relative"]}, "docker_boot_volumes"),
    ({"docker_boot_devices": ["/dev/video99"]}, "/dev/video99 is an unknown device"),
    ({"docker_boot_devices": ["/etc/passwd"]}, "docker_boot_devices"),
    ({"docker_boot_health": "frames"}, "docker_boot_health"),
    ({"docker_boot_health": "http"}, "docker_boot_health_urls"),
    ({"docker_boot_health_urls": ["http://127.0.0.1/"]}, "docker_boot_health_urls"),
    ({"docker_boot_health_window": 30, "docker_boot_health_interval": 30}, "health_window is 30"),
    ({"docker_boot_health_interval": 0}, "docker_boot_health_interval is 0"),
    ({"docker_boot_update_interval": "often"}, 'docker_boot_update_interval is "often"'),
    ({"docker_boot_update_window": 5}, "docker_boot_update_window is 5"),
    ({"docker_boot_stop_seconds": 0}, "docker_boot_stop_seconds is 0"),
    ({"docker_boot_registry_password": ""}, "docker_boot_registry_password"),
    ({"docker_boot_textfile_folder": "here"}, "docker_boot_textfile_folder is"),
]


def _files(pi: Pi) -> list[str]:
    """Return what there is of the role on the device, with its content."""
    return pi.run(
        "cd / && find etc/rpi_camera etc/systemd/system opt/rpi_camera var/lib/rpi_camera"
        " -type f -exec sha256sum {} + | sort; docker ps --quiet --no-trunc"
        "; docker images --quiet | sort"
    ).splitlines()


def test_bad_input_is_refused_before_any_change(pi: Pi) -> None:
    converge = yaml.safe_load((ROOT / "molecule/docker_boot/converge.yml").read_text())
    scenario = ROOT / "molecule/docker_boot"
    login = lab.folder(pi.group) / "registry.yml"
    files = [str(scenario / "vars/camera.yml"), str(login)]
    bare = {key: value for key, value in converge[0].items() if key != "roles"}
    role = {"name": "rpi_camera.fleet.docker_boot"}
    play = refusals(
        bare | {"vars_files": files}, role, [variables for variables, _words in REFUSALS]
    )
    playbook = lab.folder(pi.group) / "refusals.yml"
    playbook.write_text(yaml.safe_dump([play]))
    before = _files(pi)
    output = run_playbook(pi.group, playbook, "--limit", PI, "-vvv").output
    for number, (variables, words) in enumerate(REFUSALS):
        assert words in told(output, number), (variables, output[-3000:])
    assert PRIVATE not in output
    assert pi.hub.password not in output
    assert _files(pi) == before


def test_check_mode_tells_and_writes_nothing(pi: Pi) -> None:
    before = _files(pi)
    would = pi.apply("--check", docker_boot_env={"CAMERA_SERVER_FPS": 5})
    assert would.went_well, would.output
    assert would.changed > 0
    assert _files(pi) == before


def test_a_wrong_password_leaves_what_was_before(pi: Pi, hub: Registry, watching: Watching) -> None:
    before = pi.configuration()
    with watching("a wrong password"):
        play = pi.apply(docker_boot_registry_password=PRIVATE)
    assert not play.went_well
    assert "refuses the login" in play.output
    assert hub.password not in play.output
    assert pi.configuration() == before
    assert pi.run(f"stat --format='%a %U' {CONFIG}").strip() == "600 root"


def test_a_digest_that_is_pinned_stays(pi: Pi, hub: Registry) -> None:
    pinned = pi.push("good-2")
    assert pi.configure(image=pinned).went_well
    assert pi.state()["pinned"] is True
    pi.push("good-3")
    with hub.stopped():
        update = pi.update()
    assert update.went_well, "nobody has to be asked"
    assert pi.current() == pinned
    assert pi.streams("good-2")


def test_secrets_are_files_of_the_image_s_user_and_a_camera_is_all_that_is_granted(pi: Pi) -> None:
    secret = {"name": "door.key", "content": PRIVATE}
    play = pi.apply("-vvv", docker_boot_secrets=[secret], docker_boot_camera=True)
    assert play.went_well, play.output
    assert PRIVATE not in play.output
    assert pi.run(f"docker exec {USE} cat /run/secrets/door.key") == PRIVATE
    owner = pi.run(f"docker exec {USE} stat --format='%a %u' /run/secrets/door.key").strip()
    assert owner == "400 64080"
    assert PRIVATE not in pi.run(f"docker inspect {USE}; ps axww")
    found = pi.run(
        "grep --recursive --files-with-matches --devices=skip --file=- /etc /opt /run /tmp"
        " /var/lib/rpi_camera /var/log 2>/dev/null || :",
        stdin=PRIVATE,
    ).split()
    # In memory, and in a file of root's.
    assert {path.partition("/secrets.")[0] for path in found} == {
        CONFIG,
        f"/run/rpi_camera/docker_boot/{USE}",
    }
    assert pi.run(f"stat --format=%a /run/rpi_camera/docker_boot/{USE}").strip() == "700"

    assert "DeviceAllow=char-media rw" in pi.run(f"systemctl cat {SERVICE}")
    host = pi.container(".HostConfig")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert host["LogConfig"]["Config"]["max-size"] == "10m"
    assert host["RestartPolicy"]["Name"] in {"", "no"}
    first = pi.container(".Id")
    pi.run(f"systemctl restart {SERVICE}")
    eventually("it streams again", lambda: pi.streams(FIRST))
    assert pi.container(".Id") != first


def test_two_apps_on_one_device_know_nothing_of_each_other(pi: Pi) -> None:
    first = pi.container(".Id")
    other = {"docker_boot_name": "attic", "docker_boot_ports": ["8081:8080"]}
    try:
        play = pi.apply(**other)
        assert play.went_well, play.output
        address = lab.address(pi.group, PI)
        with Viewer(f"http://{address}:8081/video") as viewer:
            assert viewer.first().decode().width == width(FIRST)
        wanted = pi.push("good-2")
        assert pi.update().went_well
        assert pi.current() == wanted
        # The other's image is still there, and its container was not touched.
        assert pi.container(".Config.Labels", "attic")["rpi_camera.docker_boot"] == "attic"
        with Viewer(f"http://{address}:8081/video") as viewer:
            assert viewer.first().decode().width == width(FIRST)
    finally:
        play = pi.apply(docker_boot_state="absent", **other)
        assert play.went_well, play.output
    assert pi.container(".Id") not in (None, first)
    assert pi.streams("good-2")
    assert pi.run("ls /etc/rpi_camera/docker_boot").split() == [f"{USE}.json"]


def test_the_state_is_told_to_ansible_and_to_prometheus(pi: Pi) -> None:
    folder = "/var/lib/prometheus/node-exporter"
    pi.run(f"mkdir -p {folder}")
    try:
        assert pi.update().went_well
        metrics = pi.run(f"cat {folder}/rpi_camera_docker_boot_{USE}.prom")
        assert f'docker_boot_running_current{{name="{USE}"}} 1' in metrics.splitlines()
        assert f'docker_boot_last_check_success{{name="{USE}"}} 1' in metrics.splitlines()
        pi.push("exits")
        assert not pi.update().went_well
        metrics = pi.run(f"cat {folder}/rpi_camera_docker_boot_{USE}.prom")
        assert f'docker_boot_last_check_success{{name="{USE}"}} 0' in metrics.splitlines()
        assert f'docker_boot_rejected{{name="{USE}"}} 1' in metrics.splitlines()
    finally:
        pi.run("rm -r /var/lib/prometheus")
    answer = ask_module(pi.group, PI, "docker_boot_info", "--args", f"name={USE}")
    assert answer["docker_boot"] == pi.state()


def test_another_interval_is_taken_up_also_when_systemd_was_not_told_of_it(pi: Pi) -> None:
    timer = f"docker-boot-update@{USE}.timer"
    ask = f"systemctl show --value --property=TimersMonotonic {timer}"
    for interval, broken_off in (("6h", False), ("5h", True)):
        if broken_off:
            pi.run(f"sed -i 's/6h/{interval}/' /etc/systemd/system/{timer}")
        play = pi.apply(docker_boot_update_interval=interval)
        assert play.went_well, play.output
        assert f"OnUnitInactiveUSec={interval} " in pi.run(ask)
        assert pi.run(f"systemctl is-active {timer}").strip() == "active"


def test_what_is_left_when_it_goes(pi: Pi) -> None:
    pi.run(
        f"docker tag {pi.image}@{pi.current().rpartition('@')[2]} neighbour:1"
        " && docker run --detach --name neighbour --entrypoint sleep neighbour:1 infinity"
    )
    engine = pi.run("systemctl show --value --property=MainPID docker")
    try:
        for state in ("stopped", "absent"):
            play = pi.apply(docker_boot_state=state)
            assert play.went_well, play.output
            assert pi.container() is None
            assert pi.container(".State.Running", "neighbour") is True
            assert pi.run("systemctl show --value --property=MainPID docker") == engine
            if state == "stopped":
                assert pi.run(f"systemctl is-enabled {SERVICE} || :").strip() == "disabled"
                # Nothing starts it behind our back.
                pi.run(f"systemctl start {UPDATE} || :")
                assert pi.container() is None
                assert STATE in pi.run(f"ls {STATE}")
            # What was well stays the way back, until somebody tries another one.
            before = pi.configuration()
            assert pi.apply(docker_boot_state=state, docker_boot_env={"A": "1"}).changed == 0
            assert pi.configuration() == before
        left = (
            "ls -d /etc/systemd/system/docker-boot* /etc/rpi_camera /opt/rpi_camera"
            f" /var/lib/rpi_camera /run/rpi_camera/docker_boot/{USE} 2>/dev/null || :"
        )
        assert pi.run(left) == ""
        names = pi.run("docker images --format '{{.Repository}}'").split()
        assert names == ["neighbour"]
    finally:
        pi.run("docker rm --force neighbour; docker rmi neighbour:1")
