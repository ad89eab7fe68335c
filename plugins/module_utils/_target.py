# Copyright (c) rpi_camera.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a stream is, what is sent there to be let in, and whom to trust there.

No text that is made here holds more of the URL than its host and port: the rest may be secret.
"""

from __future__ import annotations

import base64
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ansible_collections.rpi_camera.fleet.plugins.module_utils._options import OptionError

DEFAULT_PORTS = {"http": 80, "https": 443}
# A shorter value in a query is a setting, hardly a secret.
SHORTEST_SECRET = 6
HIDDEN = "********"


@dataclass(frozen=True)
class Credentials:
    """The value of the header Authorization, or nothing.

    `source`: the options that it is made of, for a person. `scheme`: "basic" or "bearer".
    """

    scheme: str = ""
    source: str = ""
    header: str = field(default="", repr=False)


@dataclass(frozen=True)
class Target:
    """An http or https URL, taken apart, and the credentials for it."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    credentials: Credentials
    # What no result may hold.
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port for a person."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def has_query(self) -> bool:
        """Whether the URL holds a query, in which a token may be."""
        return "?" in self.path

    def hush(self, text: str) -> str:
        """Return what a server has said without the secrets that it was told."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def parse_url(
    url: str, username: str | None = None, password: str | None = None, token: str | None = None
) -> Target:
    """Take a stream's URL apart. Raise OptionError with what is wrong about it.

    *username* and *password* are for HTTP Basic authentication, *token* is a bearer's; at most
    one of the two kinds may be given, or a user in the URL instead.
    """
    if re.search(r"[\x00-\x20\x7f]", url):
        raise OptionError("url contains a blank or a control character; write it as %20, %0A …")
    scheme, separator, _rest = url.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        # Without a scheme what stands there could be anything, a password too.
        has = f"the scheme {scheme!r}" if re.fullmatch(r"[A-Za-z][\w+.-]*", scheme) else "no scheme"
        raise OptionError(f"url has {has}, but must begin with http:// or https://.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(
            "url has no valid host and port; a port is a number from 1 to 65535, and an IPv6"
            " address stands in square brackets."
        ) from error
    if not parts.hostname or port == 0:
        raise OptionError("url names no host, or port 0; it must be a scheme, a host and a path.")
    path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:=&~+!$,;'@()*?")
    if parts.username is not None and (username is not None or token is not None):
        raise OptionError(
            "url holds a user, and url_username or token is set as well; give one of them only."
        )
    in_url = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "") if in_url is not None else password or ""
    if token is not None:
        credentials = _bearer(token)
    elif in_url is not None:
        credentials = _basic("the user and the password in url", in_url, password)
    elif username is not None:
        credentials = _basic("url_username and url_password", username, password)
    else:
        credentials = Credentials()
    values = [value for _name, value in parse_qsl(parts.query) if len(value) >= SHORTEST_SECRET]
    secrets = (password, token, credentials.header.partition(" ")[2], *values)
    return Target(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        path=path,
        credentials=credentials,
        secrets=tuple(secret for secret in secrets if secret),
    )


def _basic(source: str, username: str, password: str) -> Credentials:
    if ":" in username:
        # RFC 7617, 2: it would end the user's name.
        raise OptionError("The user's name contains a colon, which HTTP Basic cannot transmit.")
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credentials("basic", source, f"Basic {pair}")


def _bearer(token: str) -> Credentials:
    if not re.fullmatch(r"[!-~]+", token):
        raise OptionError(
            "token is empty, or contains a blank, the end of a line or a character that is not"
            " ASCII; it must be the token alone."
        )
    return Credentials("bearer", "token", f"Bearer {token}")


def tls_context(ca_path: str | None, validate_certs: bool) -> ssl.SSLContext:
    """Return whom to trust: the CAs in the file *ca_path*, or else the system's.

    Raise OptionError if that file holds none. Without *validate_certs* anybody is trusted.
    """
    if not validate_certs:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca_path is not None and not Path(ca_path).is_file():
        raise OptionError(f"ca_path is {ca_path}, but there is no such file.")
    try:
        return ssl.create_default_context(cafile=ca_path)
    except ssl.SSLError as error:
        raise OptionError(f"ca_path is {ca_path}, which holds no certificate in PEM.") from error
    except OSError as error:
        raise OptionError(f"ca_path is {ca_path}, which cannot be read.") from error
