"""The credentials file: who may watch. It holds hashes only.

A password is slow to hash (scrypt), so that a stolen file does not give it away. A token is
long and random, which nobody guesses: one SHA-256 will do.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
import unicodedata
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

NAME_PATTERN = r"^[a-z][a-z0-9._-]{0,31}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]

# scrypt's cost. 16 MiB; 30 ms of a PC's core, on a Pi 4's perhaps 100; kept with each hash,
# so that a later release can raise it.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
_SALT_BYTES = 16
_HASH_BYTES = 32

# A file that asks for more than this, in bytes or rounds, was not made by us.
_MAX_MEMORY = 64 * 2**20
_MAX_P = 16

_MAX_FILE = 2**20


class CredentialsError(Exception):
    """The credentials file cannot be used; the text is a sentence, with none of its content."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScryptHash(_Stored):
    """A password's hash, with all that it takes to compute it again; bytes as hexadecimals."""

    n: int
    r: int
    p: Annotated[int, Field(le=_MAX_P)]
    salt: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){8,64}$")]
    hash: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * _HASH_BYTES}}}$")]

    @classmethod
    def of(cls, password: str) -> Self:
        """Hash a password with a salt of its own and today's cost."""
        salt = secrets.token_bytes(_SALT_BYTES)
        digest = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
        return cls(n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, salt=salt.hex(), hash=digest.hex())

    @property
    def is_current(self) -> bool:
        """Whether it was made at today's cost."""
        return (self.n, self.r, self.p) == (SCRYPT_N, SCRYPT_R, SCRYPT_P)

    def verifies(self, password: str) -> bool:
        """Whether this is the hash of the password. Takes its time, and without the GIL."""
        digest = _scrypt(password, bytes.fromhex(self.salt), self.n, self.r, self.p)
        return hmac.compare_digest(digest, bytes.fromhex(self.hash))

    @model_validator(mode="after")
    def _can_be_computed(self) -> Self:
        if min(self.n - 1, self.r, self.p) < 1 or self.n & (self.n - 1):
            raise ValueError("scrypt takes no such parameters")
        if 128 * self.n * self.r > _MAX_MEMORY:
            raise ValueError("too much memory")
        return self


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # The same letters can be typed as different characters; NFC makes them one (RFC 8265).
    # Half a surrogate pair is in no password, but may be in what somebody tries.
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    memory = 2 * _MAX_MEMORY
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=_HASH_BYTES)


class Entry(_Stored):
    """Somebody, or something, that may watch."""

    kind: ClassVar[str]
    name: Name

    @property
    def secret(self) -> bytes:
        """What changes with the password or token, and is known only to the file."""
        raise NotImplementedError


class User(Entry):
    """Somebody with a password."""

    kind = "user"
    scrypt: ScryptHash

    @property
    def secret(self) -> bytes:
        """The password's hash."""
        return bytes.fromhex(self.scrypt.hash)


class Token(Entry):
    """Something that shows a token."""

    kind = "token"
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, name: str, token: str) -> Self:
        """Return the entry for a token."""
        return cls(name=name, sha256=_sha256(token).hex())

    @property
    def secret(self) -> bytes:
        """The token's hash."""
        return bytes.fromhex(self.sha256)

    def verifies(self, token: str) -> bool:
        """Whether this is the hash of the token."""
        return hmac.compare_digest(_sha256(token), self.secret)


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Credentials(_Stored):
    """All that is in a credentials file; a name is used once among users and once among tokens."""

    users: Annotated[tuple[User, ...], Field(strict=False)]
    tokens: Annotated[tuple[Token, ...], Field(strict=False)]

    def token(self, shown: str) -> Token | None:
        """Return the entry whose token this is. All are looked at, so that time tells nothing."""
        found = [entry for entry in self.tokens if entry.verifies(shown)]
        return found[0] if found else None

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        for entries in (self.users, self.tokens):
            if len({entry.name for entry in entries}) < len(entries):
                raise ValueError("a name is used twice")
        return self


def read_credentials(path: Path) -> Credentials:
    """Read a credentials file. Raises CredentialsError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE)
    except (OSError, ValueError) as error:  # a path that cannot be is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, PermissionError):
            reason += f" for user {os.geteuid()}"
        raise CredentialsError(f"{path}: the credentials cannot be read: {reason}") from None
    try:
        return Credentials.model_validate_json(content)
    except ValidationError:
        # What pydantic says would quote the file.
        raise CredentialsError(
            f"{path}: is not a credentials file as camera-server-credentials makes them"
        ) from None


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Write a credentials file (mode 0600): whole, or not at all. Raises OSError."""
    content = credentials.model_dump_json(indent=2) + "\n"
    # mkstemp() gives the mode.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
