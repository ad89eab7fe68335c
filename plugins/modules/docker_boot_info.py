#!/usr/bin/python
# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which image a container of the role docker_boot runs, and how its last update ended."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_boot_info
short_description: Say which image an app of docker_boot runs, and how its last update ended
version_added: 0.1.0
description:
  - Reads the file in which an app that the role P(rpi_camera.fleet.docker_boot#role) has installed
    says what runs, what is kept to go back to, which images were not well, and how the last look
    for a newer one and the last switch ended.
  - Asks neither the engine nor a registry, so it also answers while they do not.
  - A device without such an app is a result; only a name that is none, and a file that cannot be
    read, make the module fail.
options:
  name:
    description:
      - The app's name, C(docker_boot_name) of the role. 1 to 32 lower-case letters, digits and
        hyphens, with no hyphen at either end.
    type: str
    required: true
extends_documentation_fragment:
  - rpi_camera.fleet.attributes.info_module
seealso:
  - module: rpi_camera.fleet.mjpeg_stream_info
author:
  - rpi_camera.fleet contributors (@rpi-camera)
"""

EXAMPLES = r"""
- name: Ask what the app camera says of itself
  rpi_camera.fleet.docker_boot_info:
    name: camera
  register: __app

- name: Show which image runs
  ansible.builtin.debug:
    msg: "{{ __app.docker_boot.running.reference | default('none') }}"
  when: __app.exists

- name: Fail if the last look for a newer image did not end well
  ansible.builtin.assert:
    that: __app.docker_boot.last_check.result in ['up_to_date', 'updated']
    fail_msg: "{{ __app.docker_boot.last_check.reason }}"
"""

RETURN = r"""
exists:
  description: Whether there is an app of that name that has said something.
  returned: success
  type: bool
  sample: true
docker_boot:
  description: What the app says of itself; V(null) if there is none. Times are UTC.
  returned: success
  type: dict
  contains:
    name:
      description: The app's name.
      returned: success
      type: str
      sample: camera
    image:
      description: The image that is followed, as it is configured.
      returned: success
      type: str
      sample: ghcr.io/you/camera:stable
    pinned:
      description: Whether the image is pinned by its digest, so that there are no updates.
      returned: success
      type: bool
      sample: false
    running:
      description: What runs; V(null) if nothing does.
      returned: success
      type: dict
      contains:
        reference:
          description: The image by its digest.
          returned: success
          type: str
          sample: &reference ghcr.io/you/camera@sha256:9f86d081884c7d65…
        since:
          description: When it was started.
          returned: success
          type: str
          sample: "2026-05-04T06:00:12Z"
    current:
      description: What is started at every boot; V(null) before any image was well.
      returned: success
      type: dict
      contains:
        reference:
          description: The image by its digest.
          returned: success
          type: str
          sample: *reference
        since:
          description: When it was taken.
          returned: success
          type: str
          sample: "2026-05-03T22:10:40Z"
    previous:
      description: What was current before; V(null) if there was nothing.
      returned: success
      type: dict
      contains:
        reference:
          description: The image by its digest.
          returned: success
          type: str
          sample: &previous ghcr.io/you/camera@sha256:60303ae22b998861…
        since:
          description: When it was taken.
          returned: success
          type: str
          sample: "2026-04-01T08:00:00Z"
    rejected:
      description: The images that were not well, and are not tried again.
      returned: success
      type: list
      elements: dict
      contains:
        reference:
          description: The image by its digest.
          returned: success
          type: str
          sample: *previous
        reason:
          description: What was wrong.
          returned: success
          type: str
          sample: The container ended by itself, with status 1.
        time:
          description: When that was seen.
          returned: success
          type: str
          sample: "2026-05-01T08:00:30Z"
    last_check:
      description: How the last look for a newer image ended; V(null) before the first one.
      returned: success
      type: dict
      contains:
        time:
          description: When it ended.
          returned: success
          type: str
          sample: "2026-05-04T06:00:31Z"
        result:
          description:
            - V(up_to_date) if there was nothing newer, V(updated) if it runs now, V(rolled_back) if
              it was not well, V(rejected) if that was known before or at first sight, V(stopped)
              if it was fetched and the app does not run, V(failed) if it could not be had.
          returned: success
          type: str
          sample: up_to_date
        reason:
          description: Why; V(null) if there is nothing to say.
          returned: success
          type: str
          sample: The registry ghcr.io does not answer.
        reference:
          description: The image that was found, by its digest; V(null) if none was.
          returned: success
          type: str
          sample: *reference
    trying:
      description:
        - What is being tried, or was when the device went down; V(null) else.
      returned: success
      type: dict
      contains:
        reference:
          description: The image, by its digest.
          returned: success
          type: str
          sample: *reference
        times:
          description: How many times it was begun; it is rejected after three that came to no end.
          returned: success
          type: int
          sample: 1
    pulled:
      description:
        - The images that were fetched for this app and are to be removed when nothing needs them.
      returned: success
      type: list
      elements: str
      sample: [*reference]
    last_switch:
      description:
        - How the last switch to another image or configuration ended; V(null) before the first.
      returned: success
      type: dict
      contains:
        time:
          description: When it ended.
          returned: success
          type: str
          sample: "2026-05-03T22:10:40Z"
        from:
          description: The image before, by its digest; V(null) if there was none.
          returned: success
          type: str
          sample: *previous
        to:
          description: The image after, by its digest.
          returned: success
          type: str
          sample: *reference
        result:
          description: V(kept), or V(rolled_back) to the one before.
          returned: success
          type: str
          sample: kept
        dark_seconds:
          description: How long neither of them ran.
          returned: success
          type: float
          sample: 2.4
        reason:
          description: Why it was taken back; V(null) if it was kept.
          returned: success
          type: str
          sample: The container ended by itself, with status 1.
"""

import json
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError

STATES = Path("/var/lib/rpi_camera/docker_boot")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def read_state(path: Path) -> dict[str, Any] | None:
    """Return what the file of an app's state says, or None if there is no such file.

    Raises:
        OptionError: the file is there and cannot be read, or holds something else.

    """
    try:
        state = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise OptionError(f"{path} is no JSON: {error}.") from None
    if not isinstance(state, dict):
        raise OptionError(f"{path} holds no state of an app, but other JSON.")
    return state


def main() -> None:
    """Wire the module's option to the file."""
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    name = module.params["name"]
    try:
        if not NAME.fullmatch(name):
            raise OptionError(
                f"name is {name!r}, but must be 1 to 32 lower-case letters, digits and hyphens,"
                " with no hyphen at either end."
            )
        state = read_state(STATES / f"{name}.json")
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, exists=state is not None, docker_boot=state)


if __name__ == "__main__":
    main()
