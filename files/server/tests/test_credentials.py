import errno
import io
import json
import os
import stat
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
from camera_server import credentials, credentials_cli
from camera_server.credentials import (
    Credentials,
    CredentialsError,
    ScryptHash,
    Token,
    User,
    read_credentials,
)

WORD = "Geheim-wort"
KEY = "geheim_token-0123456789"
BOTH = {
    "users": [{"name": "anna", "password": WORD}],
    "tokens": [{"name": "bootstrap", "token": KEY}],
}


class Command:
    """Runs the command and reads what it says."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, wanted: object, *arguments: str) -> tuple[int, str, list[str]]:
        """Return exit status, output and complaints."""
        text = wanted if isinstance(wanted, bytes) else json.dumps(wanted).encode()
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        status = credentials_cli.main(["--file", str(self.path), *arguments])
        out, err = self._capsys.readouterr()
        assert "geheim" not in (out + err).lower()
        return status, out, err.splitlines()


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(tmp_path / "credentials.json", monkeypatch, capsys)


def identity(path: Path) -> tuple[int, int, bytes]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, path.read_bytes()


def test_the_file_holds_hashes_that_verify_and_no_secret(command: Command) -> None:
    assert command.run(BOTH) == (0, "changed\n", [])
    assert "geheim" not in command.path.read_text().lower()
    assert stat.S_IMODE(command.path.stat().st_mode) == 0o600
    held = read_credentials(command.path)
    (user,) = held.users
    assert (user.name, user.scrypt.verifies(WORD)) == ("anna", True)
    assert not user.scrypt.verifies(WORD.lower())
    found = held.token(KEY)
    assert found is not None
    assert found.name == "bootstrap"
    assert held.token(KEY + "0") is None
    assert os.listdir(command.path.parent) == [command.path.name]


def test_a_second_run_touches_nothing(command: Command) -> None:
    command.run(BOTH)
    before = identity(command.path)
    assert command.run(BOTH) == (0, "unchanged\n", [])
    assert identity(command.path) == before


def test_only_what_differs_is_hashed_anew(command: Command) -> None:
    second = {"name": "ben", "password": "another-word"}
    command.run({"users": [BOTH["users"][0], second]})
    anna, ben = read_credentials(command.path).users
    assert anna.scrypt.salt != ben.scrypt.salt
    second |= {"password": "yet-another-word"}
    assert command.run({"users": [second, BOTH["users"][0]], "tokens": BOTH["tokens"]}) == (
        0,
        "changed\n",
        [],
    )
    new = read_credentials(command.path)
    assert new.users[0] == anna
    assert new.users[1].scrypt.verifies("yet-another-word")
    assert command.run({"tokens": BOTH["tokens"]})[1] == "changed\n"
    assert read_credentials(command.path) == Credentials(users=(), tokens=new.tokens)


def test_a_check_says_the_same_and_writes_nothing(command: Command) -> None:
    assert command.run(BOTH, "--check") == (0, "changed\n", [])
    assert not command.path.exists()
    command.run(BOTH)
    before = identity(command.path)
    assert command.run(BOTH, "--check") == (0, "unchanged\n", [])
    assert command.run({}, "--check") == (0, "changed\n", [])
    assert identity(command.path) == before


def test_a_mode_that_lets_others_read_is_put_right(command: Command) -> None:
    command.run(BOTH)
    command.path.chmod(0o644)
    assert command.run(BOTH)[1] == "changed\n"
    assert stat.S_IMODE(command.path.stat().st_mode) == 0o600


def test_a_higher_cost_hashes_the_same_password_anew(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.run(BOTH)
    monkeypatch.setattr(credentials, "SCRYPT_N", 2 * credentials.SCRYPT_N)
    assert read_credentials(command.path).users[0].scrypt.verifies(WORD), "the old cost is kept"
    assert command.run(BOTH)[1] == "changed\n"
    assert read_credentials(command.path).users[0].scrypt.n == credentials.SCRYPT_N
    assert command.run(BOTH)[1] == "unchanged\n"


def test_a_write_that_fails_leaves_the_file_as_it_was(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.run(BOTH)
    before = identity(command.path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, out, (complaint,) = command.run({})
    assert (status, out) == (1, "")
    assert complaint.endswith("credentials.json: cannot be written: No space left on device")
    assert identity(command.path) == before
    assert os.listdir(command.path.parent) == [command.path.name]


def test_a_folder_that_is_not_there_is_said(command: Command) -> None:
    command.path = command.path.parent / "absent" / "credentials.json"
    status, _out, (complaint,) = command.run(BOTH)
    assert status == 1
    assert "cannot be written: No such file or directory" in complaint


def test_a_file_of_something_else_is_not_overwritten(command: Command) -> None:
    command.path.write_text("GEHEIM=1")
    status, out, (complaint,) = command.run(BOTH)
    assert (status, out) == (2, "")
    assert "is not a credentials file" in complaint
    assert command.path.read_text() == "GEHEIM=1"


def user(**changes: object) -> dict[str, Any]:
    return {"users": [BOTH["users"][0] | changes]}


def token(**changes: object) -> dict[str, Any]:
    return {"tokens": [BOTH["tokens"][0] | changes]}


@pytest.mark.parametrize("name", ["a", "a" * 32, "anna.b_c-9"])
def test_good_names(command: Command, name: str) -> None:
    assert command.run(user(name=name) | token(name=name), "--check")[0] == 0


@pytest.mark.parametrize("name", ["", "a" * 33, "Anna", "9a", ".a", "a b", "a:b", "a\n", "ä", 1])
def test_bad_names(command: Command, name: object) -> None:
    for kind, wanted in (("users", user(name=name)), ("tokens", token(name=name))):
        status, _out, (complaint,) = command.run(wanted)
        assert status == 2
        assert f"{kind}[0]: name must be 1 to 32 of a-z, 0-9" in complaint


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "pässwörter und mehr", "🐈" * 8])
def test_good_passwords(command: Command, password: str) -> None:
    assert command.run(user(password=password))[0] == 0
    assert read_credentials(command.path).users[0].scrypt.verifies(password)


@pytest.mark.parametrize("password", ["geheim7", "geheim" * 171, "geheim12\n", "geheim\ud800ab", 1])
def test_bad_passwords(command: Command, password: object) -> None:
    status, _out, (complaint,) = command.run(user(password=password))
    assert status == 2
    assert "users[0] ('anna'): password must be text of 8 to 1024 characters" in complaint


@pytest.mark.parametrize("shown", ["geheim" + "a" * 13, "geheim+aaaaaaaaaaaaaaaaa", "g" * 1025, 1])
def test_bad_tokens(command: Command, shown: object) -> None:
    status, _out, (complaint,) = command.run(token(token=shown))
    assert status == 2
    assert "tokens[0] ('bootstrap'): token must be 20 to 1024 of A-Z" in complaint


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (b"", "is not valid JSON"),
        (b'{"users": geheim', "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b" " * (2**20 + 1), "is longer than"),
        ([], "standard input: must be an object with users and tokens"),
        ({"geheim": []}, "standard input: has a key that is not known; known are users and tokens"),
        ({"users": {"anna": "geheim-wort"}}, "users: must be a list"),
        ({"users": ["geheim-wort"]}, "users[0]: must be an object with name and password"),
        ({"users": [{"name": "anna"}]}, "users[0] ('anna'): password must be"),
        (user(geheim=1), "users[0] ('anna'): has a key that is not known; known are name and"),
        ({"users": BOTH["users"] * 2}, "users: the name 'anna' is used more than once"),
        ({"tokens": BOTH["tokens"] * 2}, "tokens: the name 'bootstrap' is used more than once"),
    ],
)
def test_other_bad_input(command: Command, wanted: object, said: str) -> None:
    status, out, (complaint,) = command.run(wanted)
    assert (status, out) == (2, "")
    assert said in complaint
    assert not command.path.exists()


def test_every_problem_is_told_at_once(command: Command) -> None:
    assert len(command.run({"users": [{}], "tokens": [{"name": "X", "token": "x"}]})[2]) == 4


def test_a_password_is_the_same_however_its_letters_were_typed() -> None:
    assert ScryptHash.of("geheim\u00fc12").verifies("geheimu\u030812")


def test_a_check_of_a_password_is_bounded_in_time_and_memory() -> None:
    hashed = ScryptHash.of(WORD)
    assert 128 * hashed.n * hashed.r <= 16 * 2**20
    began = time.process_time()
    hashed.verifies(WORD)
    assert 0.005 < time.process_time() - began < 1


GOOD = Credentials(
    users=(User(name="anna", scrypt=ScryptHash.of(WORD)),),
    tokens=(Token.of("tv", KEY),),
)


def changed(**scrypt: object) -> dict[str, Any]:
    content: dict[str, Any] = GOOD.model_dump()
    content["users"][0]["scrypt"] |= scrypt
    return content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"geheim",
        b"\xff\xfe",
        b'{"users": [], "tokens": ',
        {"users": []},
        {"users": [], "tokens": [], "geheim": 1},
        {"users": [{"name": "anna", "password": "geheim-wort"}], "tokens": []},
        GOOD.model_dump() | {"users": GOOD.model_dump()["users"] * 2},
        changed(n=3),
        changed(n=1),
        changed(n=2**24),
        changed(p=1000),
        changed(r=0),
        changed(salt="geheim"),
        changed(hash="00"),
    ],
)
def test_a_malformed_file_is_refused_without_its_content(tmp_path: Path, content: object) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(CredentialsError) as caught:
        read_credentials(path)
    assert str(caught.value) == (
        f"{path}: is not a credentials file as camera-server-credentials makes them"
    )
    assert caught.value.__cause__ is None


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot be read: No such file or directory"):
        read_credentials(tmp_path / "absent")
    with pytest.raises(CredentialsError, match="cannot be read: Is a directory"):
        read_credentials(tmp_path)


def test_whom_a_file_is_kept_from_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    expected = f"cannot be read: Permission denied for user {os.geteuid()}$"
    with pytest.raises(CredentialsError, match=expected):
        read_credentials(tmp_path / "credentials.json")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    credentials.write_credentials(path, GOOD)
    assert read_credentials(path) == GOOD
