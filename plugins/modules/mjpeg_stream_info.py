#!/usr/bin/python
# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says whether an MJPEG stream really delivers frames."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mjpeg_stream_info
short_description: Say whether an MJPEG stream over HTTP delivers frames
version_added: 0.1.0
description:
  - Opens an MJPEG stream as a viewer does, counts its frames for a bounded time, and says how many
    live ones came, how large they are and at what rate, or why there are none.
  - A frame counts if it is a whole JPEG, from its first marker to its last. What lies between the
    markers is decoded for the first frame, and for as many of the others as a small board can; so
    RV(broken_frames) may be lower than the truth where only some frames are cut inside.
  - O(frames), O(duration), O(timeout) and O(stall) are above 0, and 86400 at most.
  - The server of this collection marks each part with the header C(X-Frame-State). Parts that it
    marks C(starting) or C(lost) are drawn placeholders and no live frames. Parts without the
    header, as other servers send them, are live.
  - Trouble of the network, certificates that are not trusted, credentials that are refused, and
    streams that stall or are none are results, with RV(reason); only options that are not allowed
    make the module fail.
options:
  url:
    description:
      - Address of the stream, V(http://) or V(https://). It is asked directly, without a proxy, and
        redirections are said, not followed.
      - A user and a password in it are sent as HTTP Basic authentication.
      - It may hold a password or a token, so it is kept out of logs and results.
    type: str
    required: true
  url_username:
    description:
      - User for HTTP Basic authentication, which is sent with the first request.
      - Not allowed together with a user in O(url).
    type: str
  url_password:
    description: Password of O(url_username); empty if unset.
    type: str
  token:
    description:
      - A bearer token, sent in the header C(Authorization). A token that the server wants in the
        query stands in O(url) instead.
      - Not allowed together with O(url_username) or a user in O(url).
    type: str
  validate_certs:
    description:
      - Whether a server at V(https://) must have a certificate that is trusted and made out to the
        host in O(url).
      - V(false) lets anybody in between see the picture and the credentials. Rather set O(ca_path).
    type: bool
    default: true
  ca_path:
    description:
      - PEM file on the host that looks, with the certificates of the CAs that are trusted instead
        of the system's. A certificate that is signed by itself is its own CA.
      - Not read with O(validate_certs=false).
    type: path
  frames:
    description:
      - After how many live frames to stop looking, 1 or more; V(30) if O(duration) is unset too.
      - Not allowed together with O(duration).
    type: int
  duration:
    description:
      - For how many seconds to go on looking once the first live frame is there. That one has to
        come within O(timeout).
      - Not allowed together with O(frames).
    type: float
  timeout:
    description:
      - How many seconds to look at the most, connecting included. With O(duration), how many
        seconds to wait for the first live frame.
    type: float
    default: 15
  stall:
    description: For how many seconds no byte may come before the stream counts as stalled.
    type: float
    default: 5
extends_documentation_fragment:
  - rpi_camera.fleet.attributes.info_module
seealso:
  - module: rpi_camera.fleet.camera_info
author:
  - rpi_camera.fleet contributors (@rpi-camera)
"""

EXAMPLES = r"""
- name: Look at the device's own stream
  rpi_camera.fleet.mjpeg_stream_info:
    url: http://127.0.0.1:8080/video
  register: __stream

- name: Fail if no frames come
  ansible.builtin.assert:
    that: __stream.streaming
    fail_msg: "{{ __stream.reason }}"

- name: Wait until the public address shows frames
  rpi_camera.fleet.mjpeg_stream_info:
    url: https://cameras.example.com/cameras/garden/video
    frames: 5
  delegate_to: localhost
  register: __public
  until: __public.streaming
  retries: 6
  delay: 5

- name: Watch a camera that has a certificate of the house's own CA for a minute
  rpi_camera.fleet.mjpeg_stream_info:
    url: https://garden.home.arpa/video
    ca_path: /etc/ssl/house-ca.pem
    token: "{{ garden_token }}"
    duration: 60
  register: __minute

- name: Look at another maker's camera that wants a password
  rpi_camera.fleet.mjpeg_stream_info:
    url: http://door.home.arpa/mjpg/video.mjpg
    url_username: viewer
    url_password: "{{ door_password }}"
  register: __door
"""

RETURN = r"""
streaming:
  description:
    - Whether the stream delivers live frames; V(true) exactly if RV(reason) is V(null).
    - That is so if O(frames) live frames came, or if time was up while they were coming, at least
      two being there and the newest whole one being live and not older than O(stall) seconds. A
      stream that stalls or ends before is not streaming.
    - With O(duration) that is so if live frames came until its end, the newest one being not older
      than O(stall) seconds or half of O(duration), whichever is shorter.
  returned: success
  type: bool
  sample: true
frames:
  description: How many whole live frames came.
  returned: success
  type: int
  sample: 30
distinct_frames:
  description: How many of them differ from each other; 1 with many frames is a frozen picture.
  returned: success
  type: int
  sample: 30
placeholder_frames:
  description: How many whole frames the server marked as drawn placeholders.
  returned: success
  type: int
  sample: 0
broken_frames:
  description:
    - How many parts came that are no whole JPEG, because they were cut, hold something else inside,
      or have a Content-Length that does not fit.
  returned: success
  type: int
  sample: 0
width:
  description: Width of the newest live frame in pixels, from the JPEG itself; V(null) without one.
  returned: success
  type: int
  sample: 640
height:
  description: Height of the newest live frame in pixels, from the JPEG itself; V(null) without one.
  returned: success
  type: int
  sample: 480
rate:
  description:
    - Live frames per second between the first and the last; V(null) with less than two, or if all
      came at once.
  returned: success
  type: float
  sample: 29.97
first_frame_seconds:
  description: Seconds until the first live frame was whole, connecting included, or V(null).
  returned: success
  type: float
  sample: 0.213
duration:
  description: Seconds that the look took.
  returned: success
  type: float
  sample: 1.187
status:
  description: HTTP status of the answer; V(null) without one.
  returned: success
  type: int
  sample: 200
content_type:
  description: Content-Type of the answer; V(null) without one.
  returned: success
  type: str
  sample: multipart/x-mixed-replace; boundary=frame
stalled:
  description: Whether the connection stood, but no byte came for O(stall) seconds.
  returned: success
  type: bool
  sample: false
reason:
  description: Why the stream does not count as streaming, in a sentence; V(null) if it does.
  returned: success
  type: str
  sample: "127.0.0.1:8080 refuses the connection: nothing listens there."
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import (
    OptionError,
    require_positive,
)
from ansible_collections.rpi_camera.fleet.plugins.module_utils._stream import Limits, watch
from ansible_collections.rpi_camera.fleet.plugins.module_utils._target import (
    parse_url,
    tls_context,
)

DEFAULT_FRAMES = 30


def main() -> None:
    """Wire the module's options to the look."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True, "no_log": True},
            "url_username": {"type": "str"},
            "url_password": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "frames": {"type": "int"},
            "duration": {"type": "float"},
            "timeout": {"type": "float", "default": 15},
            "stall": {"type": "float", "default": 5},
        },
        mutually_exclusive=[("frames", "duration"), ("token", "url_username")],
        required_by={"url_password": "url_username"},
        supports_check_mode=True,
    )
    given = module.params
    frames = given["frames"]
    if frames is None and given["duration"] is None:
        frames = DEFAULT_FRAMES
    limits = Limits(frames, given["duration"], given["timeout"], given["stall"])
    try:
        target = parse_url(
            given["url"], given["url_username"], given["url_password"], given["token"]
        )
        for name, limit in vars(limits).items():
            if limit is not None:
                require_positive(name, limit)
        tls = None
        if target.scheme == "https":
            tls = tls_context(given["ca_path"], given["validate_certs"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **watch(target, limits, tls))


if __name__ == "__main__":
    main()
