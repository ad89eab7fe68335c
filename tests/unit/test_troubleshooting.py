"""Every message that refuses, fails or warns is explained in the documentation; its links lead on.

A message is compared with the page's pieces of code: the words that it always has must be there in
one piece, in the same order, with an example for each value.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TASKS = [
    path
    for pattern in ("roles/*/tasks/*.yml", "playbooks/*.yml", "playbooks/tasks/*.yml")
    for path in sorted(ROOT.glob(pattern))
]
WORDS_OF = {"ansible.builtin.assert": "fail_msg", "ansible.builtin.fail": "msg"}
# What stands in tables of the same form: refusals, warnings, what is left.
ENTRY = {"when", "text"}
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "roles/*/README.md", "files/server/README.md")
    for path in sorted(ROOT.glob(pattern))
]

EXPRESSION = re.compile(r"\{\{.*?\}\}")
STATEMENT = re.compile(r"\{%.*?%\}")
QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
# An expression is full of short texts that are no words for people: names, separators.
FEWEST_WORDS = 3


def _prose(markdown: str) -> str:
    """Return Markdown without its fenced code."""
    return re.sub(r"^ *```.*?^ *```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def _one_line(text: str) -> str:
    return " ".join(text.replace("`", "").split())


EXPLAINED = [
    _one_line(code)
    for code in re.findall(r"`[^`]+`", _prose((ROOT / "docs/troubleshooting.md").read_text()))
]


def _messages(node: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, message) of all tasks and tables in a YAML document, however deep."""
    if isinstance(node, list):
        for one in node:
            yield from _messages(one)
    elif isinstance(node, dict):
        for action, option in WORDS_OF.items():
            if option in node.get(action, {}):
                yield node["name"], node[action][option]
        if node.keys() == ENTRY:
            yield f"{node['text'][:40]}…", node["text"]
        for one in node.values():
            yield from _messages(one)


def _patterns(message: str) -> list[str]:
    """Return what has to match a whole piece of code: the words, then texts in expressions.

    Between statements (loops, mostly) stand messages of their own. What is an expression alone has
    no words.
    """
    found = []
    for part in STATEMENT.split(_one_line(message)):
        words = EXPRESSION.split(part.strip())
        if any(re.search(r"\w", text) for text in words):
            found.append(".+?".join(map(re.escape, words)))
        for expression in EXPRESSION.findall(part):
            for single, double in QUOTED.findall(expression):
                text = (single or double).strip()
                if len(text.split()) >= FEWEST_WORDS:
                    found.append(f".*{re.escape(text)}.*")
    return found


MESSAGES = [
    found
    for path in (*TASKS, ROOT / "playbooks/vars/bootstrap.yml")
    for found in _messages(yaml.safe_load(path.read_text()))
]


@pytest.mark.parametrize("message", [pytest.param(text, id=name) for name, text in MESSAGES])
def test_a_message_is_explained(message: str) -> None:
    missing = [
        pattern
        for pattern in _patterns(message)
        if not any(re.fullmatch(pattern, code) for code in EXPLAINED)
    ]
    assert missing == [], "docs/troubleshooting.md has no such message"


def _reasons(path: Path) -> Iterator[str]:
    """Yield, as patterns, the texts that a program makes its errors of, or calls a reason."""

    def pattern(node: ast.expr) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(map(pattern, node.values))
        return re.escape(str(node.value)) if isinstance(node, ast.Constant) else ".+?"

    for node in ast.walk(ast.parse(path.read_text())):
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            texts = node.args
        if isinstance(node, ast.Assign) and "reason" in ast.unparse(node.targets[0]):
            texts = [node.value.elts[1]] if isinstance(node.value, ast.Tuple) else [node.value]
        for text in texts:
            if isinstance(text, ast.JoinedStr | ast.Constant) and " " in pattern(text):
                yield pattern(text)


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for name in ("update", "registry", "engine", "supervisor")
        for reason in _reasons(ROOT / f"roles/docker_boot/files/docker_boot/{name}.py")
    ],
)
def test_a_reason_of_an_update_is_explained(reason: str) -> None:
    assert any(re.search(reason, code) for code in EXPLAINED)


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for name in ("action/github_runner", "modules/github_runner_local")
        for reason in _reasons(ROOT / f"plugins/{name}.py")
    ],
)
def test_a_reason_of_a_runner_is_explained(reason: str) -> None:
    assert any(re.search(reason, code) for code in EXPLAINED)


def test_messages_are_found_in_blocks_and_rescues_and_after_them() -> None:
    assert {
        "bootstrap_features is {{ __bootstrap_fea…",
        "The Wi-Fi of {{ __bootstrap_device.inter…",
        "Frames | Say what was seen",
        "Preflight | Refuse an installation without an end",
        "Trial | Refuse a release without frames",
        "Trial | Say why the release is not taken",
    } <= {name for name, _text in MESSAGES}


@pytest.mark.parametrize(
    ("message", "patterns"),
    [
        ("port is {{ port }};\nallowed is `1`", [r"port\ is\ .+?;\ allowed\ is\ 1"]),
        ("{{ name }} is none", [r".+?\ is\ none"]),
        ("{% for one in all %} A {{ one }}. {% endfor %} B", [r"A\ .+?\.", "B"]),
        ("{{ reasons | join(' ') }}", []),
        ("{{ ['It runs again.'] + log | default('no log') }}", [r".*It\ runs\ again\..*"]),
        ("It {{ 'has it now' if now else '' }}", [r"It\ .+?", r".*has\ it\ now.*"]),
    ],
)
def test_a_message_becomes_patterns(message: str, patterns: list[str]) -> None:
    assert _patterns(message) == patterns


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    times: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+)$", _prose(page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w -]", "", text).replace(" ", "-")
        anchors.add(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
        times[anchor] += 1
    return anchors


LINKS = [
    pytest.param(page, target, id=f"{page.relative_to(ROOT)} {target}")
    for page in PAGES
    for target in re.findall(r"\]\(\s*([^)\s]+)\s*\)", _prose(page.read_text()))
    if not re.match(r"[a-z]+:", target)
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _hash, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.is_relative_to(ROOT)
    assert there.exists()
    assert anchor == "" or anchor in _anchors(there)


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# 1. The *first*, `a_b`: [x y](z.md) ✅\n```\n# no heading\n```\n## C\n## C\n")
    assert _anchors(page) == {"1-the-first-a_b-x-y-", "c", "c-1"}
