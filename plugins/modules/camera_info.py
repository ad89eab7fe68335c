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
    each of them, who has it, what the statement rests on, and why a camera is missing or not
    usable.
  - Looks first at what the kernel, C(config.txt) and the processes show by themselves, then asks
    libcamera for its list, through its Python binding or, where that is not installed, through
    C(cam). Where that is not installed either, C(rpicam-hello) is asked, which acquires every
    camera, but only if it is certain that no program has one open. The firmware (C(vcgencmd)) is
    asked only where no camera was found.
  - Disturbs no camera that is in use. While a CSI camera is, libcamera is not asked at all, since
    making its list writes to the sensors. Whether a camera is in use is read from the kernel; only
    a virtual camera, of which the kernel knows nothing, is acquired for a moment to see it, if
    another process has libcamera loaded or that cannot be seen.
  - A source that is absent, fails or hangs never makes the module fail; it is said in
    RV(sources). A host on which everything hangs takes little more than three times
    O(timeout).
notes:
  - Without root the module works too, but other users' processes cannot be looked into. Then
    RV(cameras[].holders) is not complete, and RV(cameras[].busy) can be V(null) for a USB camera.
options:
  timeout:
    description:
      - How many seconds each tool, and the look at the processes, may take, above 0 and at most
        86400. A tool that takes longer is killed, and its source counts as not available.
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

- name: Show who has which camera
  ansible.builtin.debug:
    msg: "{{ item.id }}: {{ item.reason }}"
  loop: "{{ __cameras.cameras | selectattr('busy', 'true') }}"
  loop_control:
    label: "{{ item.id }}"
"""

RETURN = r"""
present:
  description: Whether a camera was detected.
  returned: success
  type: bool
  sample: true
usable:
  description:
    - Whether at least one camera is usable, that is, listed by libcamera or in use through it.
    - V(null) if a camera was detected but libcamera could not be asked, for instance because
      C(python3-libcamera) is not installed yet; V(false) if none was detected.
  returned: success
  type: bool
  sample: true
reason:
  description: Why there is no camera that can be used right now; V(null) if there is one.
  returned: success
  type: str
  sample: "1 camera detected, but libcamera lists none."
advice:
  description: What a person can do if there is none to be used right now, the likeliest first.
  returned: success
  type: list
  elements: str
  sample:
    - For a USB camera, check that lsusb lists it; if not, try another cable, another port, or a hub
      with a power supply.
board:
  description: The board's name, as its firmware gives it; V(null) where there is no device tree.
  returned: success
  type: str
  sample: Raspberry Pi 5 Model B Rev 1.0
pipeline:
  description:
    - libcamera's names of the pipelines that the kernel's drivers and the cameras call for.
    - V(rpi/vc4) for the receiver C(unicam) up to the Pi 4, V(rpi/pisp) for C(rp1-cfe) on the Pi 5,
      V(uvcvideo) for USB cameras, V(virtual) for virtual ones.
  returned: success
  type: list
  elements: str
  sample:
    - rpi/pisp
config:
  description:
    - What C(config.txt) says about cameras. V(null) if there is none, or it cannot be read.
    - Included files and the filters for board models are taken into account.
  returned: success
  type: dict
  contains:
    path:
      description: The file.
      returned: success
      type: str
      sample: /boot/firmware/config.txt
    camera_auto_detect:
      description: Whether the firmware looks for cameras by itself; V(null) if it is not said.
      returned: success
      type: bool
      sample: false
    camera_overlays:
      description: What its C(dtoverlay) lines say of cameras.
      returned: success
      type: list
      elements: str
      sample:
        - imx708,cam0
    legacy:
      description: The lines that turn on the legacy camera stack, beside which libcamera sees none.
      returned: success
      type: list
      elements: str
      sample:
        - start_x=1
    unclear:
      description: Lines about cameras under a filter that only the firmware can judge.
      returned: success
      type: list
      elements: str
      sample:
        - "[gpio4=1] dtoverlay=imx219"
cameras:
  description:
    - The cameras, first those that libcamera lists, in Picamera2's order. At the end stand those
      that C(config.txt) names and that are not there.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description:
        - libcamera's name for the camera. If libcamera has not listed it, the node in the device
          tree, which is the same for a CSI camera, or else I2C address and driver, the link in
          C(/dev/v4l/by-path) or C(/dev/v4l/by-id), the video device, or the line in C(config.txt).
      returned: success
      type: str
      sample: /base/soc/i2c0mux/i2c@1/imx708@1a
    model:
      description: The sensor's or camera's name; V(null) if no source names it.
      returned: success
      type: str
      sample: imx708_wide
    sensor:
      description:
        - The kernel's driver of the sensor, or of the USB camera; V(null) for a virtual camera.
      returned: success
      type: str
      sample: imx708
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
      description:
        - libcamera's own number of the camera; V(null) if it has not listed it, or if only
          C(rpicam-hello) has, whose numbers are its own.
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
          offered by libcamera, and for a sensor that C(config.txt) names and that did not answer.
      returned: success
      type: bool
      sample: true
    usable:
      description:
        - Whether libcamera lists it, or a program has it through libcamera; V(null) if libcamera
          could not be asked. It says nothing about whether it is free.
      returned: success
      type: bool
      sample: true
    busy:
      description:
        - Whether a process has it for itself, so that another cannot use it right now. A process
          that has merely opened its device, as pipewire does, does not make it busy.
        - V(null) if that cannot be known.
      returned: success
      type: bool
      sample: true
    holders:
      description:
        - The processes that have it open, first those that have it for themselves. Of a virtual
          camera, which has no device, the processes with libcamera loaded while it is busy.
      returned: success
      type: list
      elements: dict
      contains:
        pid:
          description: Number of the process.
          returned: success
          type: int
          sample: 812
        command:
          description:
            - The command's name, as C(ps -o comm) shows it, never its arguments; V(null) if it
              cannot be seen.
          returned: success
          type: str
          sample: rpicam-vid
        unit:
          description: The systemd service that it belongs to; V(null) if it belongs to none.
          returned: success
          type: str
          sample: camera-server.service
        exclusive:
          description:
            - Whether it has the camera for itself; V(false) if it has only opened its device,
              V(null) if it cannot be told which of several has the camera.
          returned: success
          type: bool
          sample: true
      sample:
        - pid: 812
          command: rpicam-vid
          unit: null
          exclusive: true
    reason:
      description:
        - Who has it if it is busy, or why it is not usable, or why that is not known; V(null) if
          there is nothing to say.
      returned: success
      type: str
      sample: In use by rpicam-vid (pid 812).
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
        - V(sysfs) is the kernel, V(config) is C(config.txt), V(virtual) the configuration of
          libcamera's virtual pipeline, V(processes) is C(/proc), V(libcamera) its Python binding.
        - V(cam), V(rpicam-hello) and V(vcgencmd) are there only if they were considered.
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
