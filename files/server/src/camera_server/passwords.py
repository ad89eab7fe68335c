"""Checks passwords: in a thread, each right one once, and slowly for those who keep failing.

Only password attempts are slowed. Tokens and cookies are checked at once, whatever else
comes from the same address: a household behind one address is not locked out by one of it.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from camera_server.credentials import ScryptHash, User

_log = logging.getLogger(__name__)

# So many failures are answered at once; the next ones after a delay (s) that doubles to the last.
FREE_FAILURES = 3
FIRST_DELAY = 0.5
LAST_DELAY = 5.0
# An address that has not failed for so long (s) begins anew.
FORGET_SECONDS = 900.0

# Attempts of one address that may be under way, and checks of all addresses that may wait for
# the thread: what comes on top is refused unchecked.
MAX_ATTEMPTS = 4
MAX_CHECKS = 16

_MAX_ADDRESSES = 1000
_MAX_KNOWN = 200


class TooManyAttemptsError(Exception):
    """The password was not checked; ``retry_after`` says in how many seconds to try again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many attempts")
        self.retry_after = retry_after


@dataclass
class _Address:
    """What has come from an address: failures in a row, the last one's time, attempts under way."""

    failures: int = 0
    failed_at: float = 0.0
    attempts: int = 0

    @property
    def delay(self) -> float:
        """How long the answer to the last failure is held back, in seconds."""
        if self.failures <= FREE_FAILURES:
            return 0.0
        doublings = min(self.failures - FREE_FAILURES - 1, 16)
        return min(FIRST_DELAY * 2.0**doublings, LAST_DELAY)


class Passwords:
    """The users' passwords, for as long as the server runs."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.name: user.scrypt for user in users}
        # Checked for a name that there is not, so that time does not tell which names there are.
        self._nobody = ScryptHash.of(secrets.token_urlsafe())
        # One thread: a check takes 16 MiB, and a small board has other things to do.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._checks = 0
        # Right passwords are known again by a digest whose key is nowhere but here.
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._attempts: dict[tuple[str, bytes], asyncio.Task[bool]] = {}

    async def check(self, client: str, name: str, password: str) -> bool:
        """Whether this is the user's password; ``client`` is the address that it came from.

        Raises TooManyAttemptsError.
        """
        digest = hmac.digest(self._key, json.dumps([name, password]).encode(), "sha256")
        if digest in self._known:
            self._known.move_to_end(digest)
            return True
        place = _network(client)
        # A page with many pictures shows one password many times at once: that is one attempt.
        attempt = self._attempts.get((place, digest))
        if attempt is None:
            address = self._address(place)
            if address.attempts >= MAX_ATTEMPTS or self._checks >= MAX_CHECKS:
                raise TooManyAttemptsError(math.ceil(max(address.delay, 1.0)))
            attempt = asyncio.create_task(self._attempt(place, address, digest, name, password))
            self._attempts[place, digest] = attempt
            attempt.add_done_callback(lambda _done: self._attempts.pop((place, digest)))
        # One of those who wait may go; the others still want to know.
        return await asyncio.shield(attempt)

    async def _attempt(
        self, place: str, address: _Address, digest: bytes, name: str, password: str
    ) -> bool:
        address.attempts += 1
        try:
            if await self._verify(name, password):
                self._known[digest] = None
                if len(self._known) > _MAX_KNOWN:
                    self._known.popitem(last=False)
                address.failures = 0
                return True
            address.failures += 1
            address.failed_at = time.monotonic()
            if address.failures == FREE_FAILURES + 1:
                _log.warning("wrong passwords keep coming from %s: answering slowly", place)
            await asyncio.sleep(address.delay)
            return False
        finally:
            address.attempts -= 1

    async def _verify(self, name: str, password: str) -> bool:
        entry = self._users.get(name)
        hashed = entry or self._nobody
        self._checks += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._thread, hashed.verifies, password)
        finally:
            self._checks -= 1
        return right and entry is not None

    def _address(self, place: str) -> _Address:
        address = self._addresses.setdefault(place, _Address())
        self._addresses.move_to_end(place)
        if len(self._addresses) > _MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        if time.monotonic() - address.failed_at > FORGET_SECONDS:
            address.failures = 0
        return address


def _network(client: str) -> str:
    """Return whose address it is: of IPv6 a subscriber has 64 bits, and may use them all."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
