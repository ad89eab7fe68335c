#!/usr/bin/python
# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which cameras a device has and whether they are usable."""

from __future__ import annotations

DOCUMENTATION = r"""
module: camera_info
short_description: Say which cameras a device has, and whether they are usable
version_added: 0.1.0
description:
  - Says which cameras are there, CSI, USB and libcamera's virtual ones, whether libcamera can use
    each of them, what the statement rests on, and why a camera is missing or not usable.
  - Looks first at what the kernel and the configuration show by themselves, then asks libcamera for
    its list, through its Python binding or, where that is not installed, through C(cam).
  - Acquires no camera, so one that is in use is not disturbed.
  - A source that is absent, fails or hangs never makes the module fail; it is said in
    RV(sources).
options:
  timeout:
    description:
      - How many seconds each tool may take, above 0. One that takes longer is killed, and its
        source counts as not available.
    type: float
    default: 10
extends_documentation_fragment:
  - rpi_camera.fleet.attributes.info_module
seealso:
  - module: rpi_camera.fleet.mjpeg_stream_info
author:
  - rpi_camera.fleet contributors (@rpi-camera)
"""

EXAMPLES = r"""
- name: Look for cameras
  rpi_camera.fleet.camera_info:
  register: __cameras

- name: Fail if there is none, and say what to do about it
  ansible.builtin.assert:
    that: __cameras.present
    fail_msg: "{{ __cameras.reason }} {{ __cameras.advice | join(' ') }}"

- name: Show what libcamera can use
  ansible.builtin.debug:
    msg: "{{ __cameras.cameras | selectattr('usable', 'true') | map(attribute='model') }}"
"""

RETURN = r"""
present:
  description: Whether a camera was detected.
  returned: success
  type: bool
  sample: true
usable:
  description:
    - Whether at least one camera is usable, that is, listed by libcamera.
    - V(null) if a camera was detected but libcamera could not be asked, for instance because
      C(python3-libcamera) is not installed yet; V(false) if none was detected.
  returned: success
  type: bool
  sample: true
reason:
  description: Why there is no usable camera; V(null) if there is one.
  returned: success
  type: str
  sample: "1 camera detected, but libcamera lists none."
advice:
  description: What a person can do if there is no usable camera, the likeliest first.
  returned: success
  type: list
  elements: str
  sample:
    - For a USB camera, check that lsusb lists it.
cameras:
  description: The cameras, first those that libcamera lists, in Picamera2's order.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description:
        - libcamera's name for the camera. If libcamera has not listed it, the node in the device
          tree, I2C address and driver, the link in C(/dev/v4l/by-path), or the video device.
      returned: success
      type: str
      sample: /base/soc/i2c0mux/i2c@1/imx708@1a
    model:
      description: The sensor's or camera's name; V(null) if no source names it.
      returned: success
      type: str
      sample: imx708_wide
    bus:
      description: How the camera is connected; V(csi), V(usb), V(virtual) or V(unknown).
      returned: success
      type: str
      sample: csi
    index:
      description:
        - Number of the camera in Picamera2's list, the C(n) of C(Picamera2(n\)); USB cameras come
          last. V(null) if libcamera has not listed it.
      returned: success
      type: int
      sample: 0
    number:
      description: libcamera's own number of the camera; V(null) if it has not listed it.
      returned: success
      type: int
      sample: 0
    location:
      description: Where it is mounted; V(front), V(back), V(external), or V(null) if not known.
      returned: success
      type: str
      sample: back
    rotation:
      description: How it is mounted, in degrees; V(null) if not known, as for virtual cameras.
      returned: success
      type: int
      sample: 180
    detected:
      description:
        - Whether the camera is there. V(false) for a virtual camera that is configured, but not
          offered by libcamera.
      returned: success
      type: bool
      sample: true
    usable:
      description: Whether libcamera lists it; V(null) if libcamera could not be asked.
      returned: success
      type: bool
      sample: true
    reason:
      description: Why it is not usable, or why that is not known; V(null) if it is usable.
      returned: success
      type: str
      sample: The kernel sees it, but libcamera does not list it.
    evidence:
      description: What the sources say for this camera.
      returned: success
      type: list
      elements: dict
      contains:
        source:
          description: The source's name, as in RV(sources).
          returned: success
          type: str
          sample: sysfs
        detail:
          description: What it says.
          returned: success
          type: str
          sample: "v4l-subdev2: sensor imx708_wide, driver imx708"
      sample:
        - source: sysfs
          detail: "v4l-subdev2: sensor imx708_wide, driver imx708"
        - source: libcamera
          detail: listed by libcamera as number 0
sources:
  description: The sources in the order in which they were asked.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description:
        - V(sysfs) is the kernel, V(virtual) the configuration of libcamera's virtual pipeline,
          V(libcamera) its Python binding, and V(cam) the tool that is asked where the binding is
          not installed, and only there.
      returned: success
      type: str
      sample: libcamera
    available:
      description: Whether the source is there and has answered.
      returned: success
      type: bool
      sample: true
    detail:
      description: What it said in short, or why it did not.
      returned: success
      type: str
      sample: libcamera lists 1 camera.
    duration:
      description: Seconds that a tool took; V(null) for what is only read.
      returned: success
      type: float
      sample: 0.412
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rpi_camera.fleet.plugins.module_utils._cameras import inspect
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import (
    OptionError,
    require_positive,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._tools import run_tool


def main() -> None:
    """Wire the module's options to the inspection."""
    module = AnsibleModule(
        argument_spec={"timeout": {"type": "float", "default": 10}},
        supports_check_mode=True,
    )
    try:
        require_positive("timeout", module.params["timeout"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **inspect(Path("/"), run_tool, module.params["timeout"]))


if __name__ == "__main__":
    main()
