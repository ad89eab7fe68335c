"""The engine that jobs have: without root, and gone where none is wanted."""

from __future__ import annotations

import pytest

from tests.github_runner.pi import FOLDER, OLD, PI, USER, Pi, long_job

ENGINE = f"{USER}-docker.service"
# A program that needs nothing else, for an image that begins with nothing.
PROGRAM = "command -v busybox > /dev/null || apt-get install -qqy busybox-static"
BUILD = """
cp /bin/busybox .
cat > Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "echo", "built"]
END
docker build --tag own . 2>&1
echo from-the-job > /tmp/from-the-job
docker run --rm --volume "$PWD:/w" --volume /tmp:/t own \\
    /bin/busybox sh -c '/bin/busybox cat /t/from-the-job; /bin/busybox echo made > /w/made'
stat --format='%U made it' made
docker run --rm --volume /:/host own /bin/busybox ls /host/root/.ssh || echo no-root
"""
# An empty image of a name, made on a day.
IMAGE = """
cd "$(mktemp --directory)"
tar --create --file=layer.tar --files-from=/dev/null
layer=sha256:$(sha256sum layer.tar | cut --delimiter=' ' --fields=1)
cat > config.json <<END
{"architecture": "amd64", "os": "linux", "config": {},
 "created": "$(date --utc --date="$2" +%FT%TZ)",
 "rootfs": {"type": "layers", "diff_ids": ["$layer"]}}
END
cat > manifest.json <<END
[{"Config": "config.json", "RepoTags": ["$1:1"], "Layers": ["layer.tar"]}]
END
tar --create manifest.json config.json layer.tar | docker load
"""
CLEAN = f"""
systemctl start github-runner-clean-{USER}.service
ls {FOLDER}/_diag
docker image ls --format '{{{{.Repository}}}}'
"""


def work_of(pi: Pi, *steps: str) -> str:
    """Have the runner do a job that succeeds, and return its log."""
    number = pi.github.queue_job(*steps, runner=pi.github.runner(pi.name).id)
    job = pi.github.wait_for_job(number, 180)
    assert job.conclusion == "success", job.log
    return job.log


@pytest.mark.parametrize("name", [PI, OLD])
def test_a_job_builds_and_runs_an_image_and_is_not_root(the_pi: Pi, name: str) -> None:
    pi = Pi(the_pi.group, name)
    assert pi.apply().went_well
    pi.run(PROGRAM)
    log = work_of(pi, BUILD)
    assert "built" in log
    assert "from-the-job" in log
    assert f"{USER} made it" in log
    assert "no-root" in log
    assert "docker" not in pi.run(f"id --name --groups {USER}").split()


def test_the_engine_is_told_what_a_service_of_the_system_needs(pi: Pi) -> None:
    # The lab has cgroup v1, where nothing shows that it is missing.
    assert "native.cgroupdriver=cgroupfs" in pi.run(f"systemctl cat {ENGINE}")


def test_the_engine_runs_again_after_a_boot(pi: Pi) -> None:
    work_of(pi, "docker info > /dev/null")
    pi.reboot()
    pi.github.wait_for_runner(pi.name)
    work_of(pi, "timeout 60 sh -c 'until docker info > /dev/null 2>&1; do sleep 1; done'")


def test_an_engine_that_is_not_wanted_any_more_is_gone_and_comes_back(pi: Pi) -> None:
    listener = pi.listener
    run = pi.apply(docker="none")
    assert run.went_well, run.output
    assert pi.listener != listener
    assert pi.run(f"systemctl is-enabled {ENGINE} 2>&1 || :").strip() != "enabled"
    assert not pi.read(f"/etc/systemd/system/{ENGINE}")
    assert pi.run(f"pgrep --uid {USER} dockerd || echo none").strip() == "none"
    assert pi.apply(docker="none").play.changed == 0
    run = pi.apply()
    assert run.went_well, run.output
    work_of(pi, "docker info > /dev/null")


def test_root_is_given_only_to_who_asks_for_it(pi: Pi) -> None:
    assert "Permission denied" in work_of(pi, "cat /run/docker.sock 2>&1 || :")
    run = pi.apply(docker="root")
    assert run.went_well, run.output
    assert "docker" in work_of(pi, "id --name --groups").split()
    # The user is in no such group, so the next unit is not either.
    assert "docker" not in pi.run(f"id --name --groups {USER}").split()
    assert pi.apply().went_well
    assert "docker" not in work_of(pi, "id --name --groups").split()


def test_what_is_old_is_removed_but_not_while_a_job_runs(pi: Pi) -> None:
    pi.run('systemctl is-active --quiet "$1"', f"github-runner-clean-{USER}.timer")
    engine = f"export DOCKER_HOST=unix:///run/{USER}-docker/docker.sock"
    for name, made in {"older": "15 days ago", "younger": "13 days ago"}.items():
        pi.run(f"{engine}\n{IMAGE}", name, made)
        pi.run(f"install --owner={USER} /dev/null {FOLDER}/_diag/$1.log", name)
        pi.run(f'touch --date="$2" {FOLDER}/_diag/$1.log', name, made)
    with long_job(pi):
        left = pi.run(f"{engine}\n{CLEAN}").split()
        assert {"older.log", "younger.log", "older", "younger"} <= set(left)
    left = pi.run(f"{engine}\n{CLEAN}").split()
    assert {"younger.log", "younger"} <= set(left)
    assert not {"older.log", "older"} & set(left)
