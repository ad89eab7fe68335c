"""Short commands of the lab leave the terminal alone."""

from __future__ import annotations

import os

from tests.lab import console


def test_a_command_does_not_eat_what_is_typed() -> None:
    typed, keyboard = os.pipe()
    os.write(keyboard, b"ls\n")
    os.close(keyboard)
    before = os.dup(0)
    os.dup2(typed, 0)
    try:
        assert console.output(["cat"]) == ""
        assert console.output(["cat"], stdin="pi:secret") == "pi:secret"
        assert os.read(0, 9) == b"ls\n"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(typed)
