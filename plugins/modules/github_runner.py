# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: github_runner
short_description: Have a device be a GitHub Actions runner, and stay one
version_added: 0.1.0
description:
  - Compares what GitHub has registered, what the runner's own C(.runner) and C(.service) say, and
    what systemd runs, and does what is missing, with the least disturbance. What is right is left
    alone. P(rpi_camera.fleet.github_runner#role) has the table of what is done when.
  - GitHub is asked from the controller, and its credentials stay there. The device gets a
    registration token or a remove token, in the environment of the runner's C(config.sh), only when
    that has something to do.
  - Nothing that ends the listener is done while a job runs.
  - The user and what the runner needs of the distribution have to be there; the role sees to that.
options:
  url:
    description: The page of the repository or the organization that the runner is for.
    type: str
    required: true
  name:
    description: The runner's name at GitHub.
    type: str
    required: true
  state:
    description:
      - V(present) has the runner be registered and listening.
      - V(absent) removes its unit and its registration; its folder stays.
      - V(forgotten) removes its registration only, and does not connect to the device, which may be
        gone. It is refused while the runner is online.
    type: str
    default: present
    choices: [present, absent, forgotten]
  folder:
    description: Where the runner is installed, or is to be.
    type: str
    required: true
  user:
    description: As whom it runs.
    type: str
    required: true
  work_folder:
    description: Where its jobs work; an absolute path outside of O(folder).
    type: str
    required: true
  labels:
    description:
      - Its labels beside GitHub's own (C(self-hosted), C(Linux) and the architecture's), which may
        be in the list.
    type: list
    elements: str
    default: []
  group:
    description: The runner group, for an organization; an empty one leaves it as it is.
    type: str
    default: ""
  ephemeral:
    description: Whether the registration is for one job.
    type: bool
    default: false
  version:
    description:
      - The version to be installed, such as V(2.336.0), which then does not update itself; or
        V(latest), which does, and is installed only where there is none.
    type: str
    default: latest
  sha256:
    description: The checksum of the archive; needed where GitHub does not say it.
    type: str
    default: ""
  mirror:
    description: Where the archive is fetched from instead of GitHub, as V(MIRROR/vVERSION/FILE).
    type: str
    default: ""
  archive:
    description: The archive on the controller, so that nothing is fetched. It needs O(sha256).
    type: str
    default: ""
  cache:
    description: The folder on the controller where archives are kept.
    type: str
    default: ~/.cache/rpi_camera/github_runner
  token:
    description: A fine-grained token. One of the three kinds of credential has to be given.
    type: str
    default: ""
  app_id:
    description: In place of a token, the ID of a GitHub App, or its client ID.
    type: str
    default: ""
  app_installation:
    description: The ID of the App's installation in the account.
    type: str
    default: ""
  app_key:
    description: The App's private key, as PEM.
    type: str
    default: ""
  registration_token:
    description:
      - A registration token, in place of anything that could ask GitHub. Then nothing is known of
        the registration, and labels and group are set only when the runner is registered.
    type: str
    default: ""
  environment:
    description: The content of C(.env), which the listener and its jobs have in their environment.
    type: dict
    default: {}
  path:
    description: The content of C(.path), the search path of jobs.
    type: str
    default: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  drop_in:
    description: What is added to the unit.
    type: str
    default: ""
  drain_seconds:
    description: How long to wait for a job to end; after that, the module fails.
    type: int
    default: 600
  ready_seconds:
    description: How long it may take until the runner listens, and GitHub says so.
    type: int
    default: 120
  allow_public:
    description:
      - Whether the repository may be public. Then anybody who opens a pull request may run programs
        on the device.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and say there what it would change.
    support: full
    details:
      - It only looks then, on the device and at GitHub. A GitHub App's token is fetched for that.
  diff_mode:
    description: Returns what has changed, or would change, in diff mode.
    support: full
seealso:
  - module: rpi_camera.fleet.camera_info
author:
  - rpi_camera.fleet contributors (@rpi-camera)
"""

EXAMPLES = r"""
- name: Have a runner
  rpi_camera.fleet.github_runner:
    url: https://github.com/octo/camera
    name: "{{ inventory_hostname }}"
    folder: /opt/github-runner
    user: github-runner
    work_folder: /var/lib/github-runner/work
    labels: [camera]
    token: "{{ vault_github_token }}"
  become: true

- name: Remove the registration of a device that is gone
  rpi_camera.fleet.github_runner:
    url: https://github.com/octo/camera
    name: pi-7
    folder: /opt/github-runner
    user: github-runner
    work_folder: /var/lib/github-runner/work
    token: "{{ vault_github_token }}"
    state: forgotten
"""

RETURN = r"""
differed:
  description: What was not as it is to be, in words; empty if nothing was.
  returned: always
  type: list
  elements: str
  sample: ["labels: camera; wanted are camera, imx708"]
actions:
  description: What was done, or would be in check mode, in its order.
  returned: always
  type: list
  elements: str
  sample: ["set_labels"]
runner:
  description: The runner as GitHub has it; V(null) if there is none, or GitHub cannot be asked.
  returned: success
  type: dict
  sample: {"id": 7, "name": "pi-7", "status": "online", "busy": false, "labels": ["camera"]}
version:
  description: The version that is installed; empty if none is.
  returned: success
  type: str
  sample: 2.336.0
api_requests:
  description: How many requests were sent to GitHub's API.
  returned: always
  type: int
  sample: 2
"""
