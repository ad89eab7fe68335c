import asyncio
import threading
import time

import pytest
from camera_server import passwords
from camera_server.credentials import ScryptHash, User
from camera_server.passwords import Passwords, TooManyAttemptsError

RIGHT = "right-word"
USERS = [User(name="anna", scrypt=ScryptHash.of(RIGHT))]
REAL_DELAYS = passwords.FIRST_DELAY, passwords.LAST_DELAY
HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Quicker delays, and a list of the passwords that were really checked, at full cost."""
    monkeypatch.setattr(passwords, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(passwords, "LAST_DELAY", 0.2)
    seen: list[str] = []
    verifies = ScryptHash.verifies

    def noted(self: ScryptHash, password: str) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        assert self.is_current
        seen.append(password)
        return verifies(self, password)

    monkeypatch.setattr(ScryptHash, "verifies", noted)
    return seen


async def seconds(check: Passwords, client: str, password: str, name: str = "anna") -> float:
    """Try a wrong password; return how long the answer took."""
    began = time.monotonic()
    assert not await check.check(client, name, password)
    return time.monotonic() - began


async def fail(check: Passwords, client: str, times: int) -> float:
    """Fail so often, one after the other; return how long the last answer took."""
    took = 0.0
    for turn in range(times):
        took = await seconds(check, client, f"wrong-{turn}-{time.monotonic_ns()}")
    return took


def test_a_right_password_is_hashed_once(checked: list[str]) -> None:
    async def run() -> None:
        check = Passwords(USERS)
        for _turn in range(3):
            assert await check.check(HERE, "anna", RIGHT)
        assert not await check.check(HERE, "ben", RIGHT)
        assert not await check.check(HERE, "ann", "a" + RIGHT)

    asyncio.run(run())
    assert checked == [RIGHT, RIGHT, "a" + RIGHT], "and an unknown name takes as long as a known"


def test_what_is_checked_for_an_unknown_name_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda: RIGHT)

    async def run() -> None:
        assert not await Passwords(USERS).check(HERE, "ben", RIGHT)

    asyncio.run(run())


def test_the_same_password_many_times_at_once_is_one_attempt(checked: list[str]) -> None:
    async def run() -> None:
        check = Passwords(USERS)
        turns = 3 * passwords.MAX_ATTEMPTS
        assert all(
            await asyncio.gather(*(check.check(HERE, "anna", RIGHT) for _turn in range(turns)))
        )

    asyncio.run(run())
    assert checked == [RIGHT]


def test_one_who_goes_does_not_take_the_answer_from_the_others() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        first = asyncio.create_task(check.check(HERE, "anna", RIGHT))
        second = asyncio.create_task(check.check(HERE, "anna", RIGHT))
        await asyncio.sleep(0)
        first.cancel()
        assert await second

    asyncio.run(run())


def test_failures_are_answered_more_and_more_slowly_up_to_a_bound() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        await fail(check, HERE, passwords.FREE_FAILURES)
        delays = [0.05, 0.1, 0.2, 0.2]
        for delay in delays:
            assert await fail(check, HERE, 1) >= delay
        address = check._addresses[HERE]
        address.failures = 10**9
        assert address.delay == passwords.LAST_DELAY

    asyncio.run(run())


def test_the_real_delays_are_some_seconds() -> None:
    first, last = REAL_DELAYS
    assert 0.2 <= first <= 1
    assert 2 <= last <= 10


def test_a_success_comes_at_once_and_makes_the_address_new() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        await fail(check, HERE, 6)
        slow = asyncio.create_task(seconds(check, HERE, "one that is held back"))
        await asyncio.sleep(0)
        began = check._addresses[HERE].failures
        assert await check.check(HERE, "anna", RIGHT)
        assert not slow.done(), "a right password waits for no wrong one's answer"
        assert began == 6
        assert check._addresses[HERE].failures == 0
        await slow

    asyncio.run(run())


def test_a_password_that_is_known_does_not_wash_others_failures_away() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        assert await check.check(HERE, "anna", RIGHT)
        await fail(check, HERE, 5)
        assert await check.check(HERE, "anna", RIGHT)
        assert check._addresses[HERE].failures == 5

    asyncio.run(run())


def test_other_addresses_are_not_slowed() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        await fail(check, HERE, 6)
        await fail(check, THERE, 1)
        assert check._addresses[THERE].delay == 0

    asyncio.run(run())


def test_too_many_at_once_are_refused_unchecked(checked: list[str]) -> None:
    async def run() -> None:
        check = Passwords(USERS)
        await fail(check, HERE, 6)
        checked.clear()
        held = [
            asyncio.create_task(seconds(check, HERE, f"wrong at once {turn}"))
            for turn in range(passwords.MAX_ATTEMPTS)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(TooManyAttemptsError) as caught:
            await check.check(HERE, "anna", "one more")
        assert caught.value.retry_after == 1
        assert await check.check(THERE, "anna", RIGHT), "another address is let in"
        await asyncio.gather(*held)
        assert await check.check(HERE, "anna", RIGHT), "and this one again"
        assert not check._attempts

    asyncio.run(run())
    assert "one more" not in checked


def test_all_addresses_together_cannot_pile_up_checks() -> None:
    async def run() -> None:
        check = Passwords(USERS)
        asked = [
            asyncio.create_task(check.check(f"192.0.2.{turn}", "anna", f"wrong {turn}"))
            for turn in range(passwords.MAX_CHECKS)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(TooManyAttemptsError):
            await check.check("198.51.100.1", "anna", "one more")
        assert not any(await asyncio.gather(*asked))

    asyncio.run(run())


def test_the_event_loop_turns_while_a_password_is_checked() -> None:
    async def run() -> None:
        check = asyncio.create_task(Passwords(USERS).check(HERE, "anna", RIGHT))
        turns = 0
        while not check.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 2

    asyncio.run(run())


def test_failures_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        check = Passwords(USERS)
        await fail(check, HERE, 5)
        monkeypatch.setattr(passwords, "FORGET_SECONDS", 0)
        await fail(check, HERE, 1)
        assert check._addresses[HERE].failures == 1

    asyncio.run(run())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MAX_ADDRESSES", 3)
    monkeypatch.setattr(passwords, "_MAX_KNOWN", 1)

    async def run() -> None:
        users = [User(name=name, scrypt=ScryptHash.of(RIGHT)) for name in ("anna", "ben", "cem")]
        check = Passwords(users)
        for user in users:
            assert await check.check(HERE, user.name, RIGHT)
        assert len(check._known) == 1
        for turn in range(5):
            await fail(check, f"192.0.2.{turn}", 1)
        assert list(check._addresses) == ["192.0.2.2", "192.0.2.3", "192.0.2.4"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_whose_address_it_is(address: str, network: str) -> None:
    assert passwords._network(address) == network


def test_persistence_is_said_once_and_without_names(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        await fail(Passwords(USERS), HERE, 7)

    asyncio.run(run())
    assert caplog.messages == [f"wrong passwords keep coming from {HERE}: answering slowly"]
