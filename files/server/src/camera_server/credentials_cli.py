"""The command ``camera-server-credentials``: makes a credentials file hold what it is told.

It reads the secrets on standard input, since arguments and environment can be read by others.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from camera_server.credentials import (
    NAME_PATTERN,
    Credentials,
    CredentialsError,
    Name,
    ScryptHash,
    Token,
    User,
    read_credentials,
    write_credentials,
)

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

_MAX_INPUT = 2**20
_MODE = 0o600

_EPILOG = """\
standard input (JSON):
  {"users": [{"name": "anna", "password": "…"}],
   "tokens": [{"name": "bootstrap", "token": "…"}]}

It prints "changed" or "unchanged". An entry whose secret is the same stays as it is;
one that is not named is removed. Restart the server after a change.

exit status: 0 done, 1 the file cannot be written, 2 bad input, or a bad file
"""


class InputError(Exception):
    """The input cannot be used; ``problems`` holds a sentence for each reason, and no secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _can_be_typed(password: str) -> str:
    """Refuse what no form takes, for instance the line's end of a file that was read whole."""
    password = unicodedata.normalize("NFC", password)
    if not 8 <= len(password) <= 1024 or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", password):
        raise ValueError("not a password")
    return password


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        Name,
        Field(description="1 to 32 of a-z, 0-9, '.', '_' and '-', beginning with a letter"),
    ]


class WantedUser(_Wanted):
    """A user to be in the file."""

    password: Annotated[
        str,
        AfterValidator(_can_be_typed),
        Field(description="text of 8 to 1024 characters, without control characters"),
    ]


class WantedToken(_Wanted):
    """A token to be in the file."""

    token: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9._~-]{20,1024}$"),
        Field(description="20 to 1024 of A-Z, a-z, 0-9, '-', '_', '.' and '~'"),
    ]


class Wanted(BaseModel):
    """Everything that is to be in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    users: list[WantedUser] = []
    tokens: list[WantedToken] = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        wanted = read_wanted(sys.stdin.buffer.read(_MAX_INPUT + 1))
        path: Path = options.file
        # A file of something else is not overwritten: the path may be misspelt.
        old = read_credentials(path) if path.exists() else None
        new = update(old, wanted)
        changed = new != old or path.stat().st_mode & 0o777 != _MODE
        if changed and not options.check:
            write_credentials(path, new)
    except InputError as error:
        return _complain(EXIT_BAD_INPUT, error.problems)
    except CredentialsError as error:
        return _complain(EXIT_BAD_INPUT, [str(error)])
    except OSError as error:
        return _complain(EXIT_FAILED, [f"{path}: cannot be written: {error.strerror}"])
    print("changed" if changed else "unchanged")
    return 0


def _complain(status: int, problems: list[str]) -> int:
    for problem in problems:
        print(f"camera-server-credentials: {problem}", file=sys.stderr)
    return status


def read_wanted(text: bytes) -> Wanted:
    """Read standard input. Raises InputError with a sentence for every problem."""
    if len(text) > _MAX_INPUT:
        raise InputError([f"standard input: is longer than {_MAX_INPUT} bytes"])
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(["standard input: is not valid JSON"]) from None
    try:
        wanted = Wanted.model_validate(values)
    except ValidationError as error:
        # Never pydantic's own words: they quote the input, which holds secrets.
        places = [detail["loc"] for detail in error.errors(include_input=False)]
        raise InputError([_describe(place, values) for place in places]) from None
    problems = [
        *_repeated("users", wanted.users),
        *_repeated("tokens", wanted.tokens),
    ]
    if problems:
        raise InputError(problems)
    return wanted


def _repeated(kind: str, entries: Iterable[_Wanted]) -> list[str]:
    names = [entry.name for entry in entries]
    return [
        f"{kind}: the name {name!r} is used more than once; each of them needs a name of its own"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]


def _describe(place: tuple[str | int, ...], values: Any) -> str:
    """Say in a sentence what is allowed at a place where something else is."""
    if not place:
        return f"standard input: must be an object with {_keys(Wanted)}"
    kind = place[0]
    if kind not in _ENTRIES:
        return f"standard input: has a key that is not known; known are {_keys(Wanted)}"
    if len(place) == 1:
        return f"{kind}: must be a list"
    model = _ENTRIES[str(kind)]
    entry = f"{kind}[{place[1]}]"
    if len(place) == 2:
        return f"{entry}: must be an object with {_keys(model)}"
    name = values[kind][place[1]].get("name")
    if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name):
        entry += f" ({name!r})"
    if place[2] not in model.model_fields:
        return f"{entry}: has a key that is not known; known are {_keys(model)}"
    return f"{entry}: {place[2]} must be {model.model_fields[str(place[2])].description}"


def _keys(model: type[BaseModel]) -> str:
    return " and ".join(model.model_fields)


_ENTRIES: dict[str, type[BaseModel]] = {"users": WantedUser, "tokens": WantedToken}


def update(old: Credentials | None, wanted: Wanted) -> Credentials:
    """Return what the file is to hold; an entry whose secret still verifies is kept.

    A password's hash that was made at another cost than today's is made anew.
    """
    users = {user.name: user for user in old.users} if old else {}
    return Credentials(
        users=tuple(
            _user(entry, users.get(entry.name))
            for entry in sorted(wanted.users, key=lambda entry: entry.name)
        ),
        tokens=tuple(
            Token.of(entry.name, entry.token)
            for entry in sorted(wanted.tokens, key=lambda entry: entry.name)
        ),
    )


def _user(wanted: WantedUser, old: User | None) -> User:
    if old and old.scrypt.is_current and old.scrypt.verifies(wanted.password):
        return old
    return User(name=wanted.name, scrypt=ScryptHash.of(wanted.password))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camera-server-credentials",
        description="Make a camera server's credentials file hold exactly these users and tokens.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", type=Path, required=True, help="the credentials file")
    parser.add_argument("--check", action="store_true", help="say what would be, and write nothing")
    return parser
