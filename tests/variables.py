"""Writes the table of a role's variables into its README, from meta/argument_specs.yml.

python -m tests.variables     (it stands between the two marks in roles/*/README.md)

In the README of github_runner it writes the tables of what is done when, too.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLES = ROOT / "roles"
PLANS = "roles/github_runner/README.md"
BEGIN = "<!-- variables: made by `make docs` from meta/argument_specs.yml -->"
END = "<!-- end of variables -->"
PLANS_BEGIN = "<!-- plans: made by `make docs` from plugins/plugin_utils/_runner_plan.py -->"
PLANS_END = "<!-- end of plans -->"

# Ansible's markup: C(code), V(value), O(option=value), M(module), B(bold), L(text,address) …
MARKUP = re.compile(r"\b(C|V|O|RV|E|M|P|B|I|U|L|R)\(((?:\\.|[^\\)])*)\)")


def markdown(text: str) -> str:
    """Return a description in Markdown, for a cell of a table."""

    def convert(found: re.Match[str]) -> str:
        kind, inner = found[1], re.sub(r"\\(.)", r"\1", found[2])
        if kind in ("B", "I"):
            return f"**{inner}**" if kind == "B" else f"*{inner}*"
        if kind in ("L", "R"):
            name, _comma, address = inner.rpartition(",")
            return f"[{name}]({address.strip()})" if kind == "L" else name
        return f"<{inner}>" if kind == "U" else f"`{inner.partition('#')[0]}`"

    return MARKUP.sub(convert, text).replace("|", r"\|")


def code(value: object) -> str:
    """Return a value as code: a text as it is, everything else as in YAML's flow style."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{text}`".replace("|", r"\|")


def table(options: dict[str, dict[str, Any]], title: str = "Variable") -> list[str]:
    """Return the lines of a table of options, and behind it those of each option's own."""
    lines = [f"| {title} | Type | Default | What |", "|---|---|---|---|"]
    for name, option in options.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind += f" of {option['elements']}"
        default = code(option["default"]) if "default" in option else ""
        what = option["description"]
        sentences = [markdown(text) for text in ([what] if isinstance(what, str) else what)]
        if "choices" in option:
            sentences.append(f"One of {', '.join(code(choice) for choice in option['choices'])}.")
        default = "required" if option.get("required") else default
        lines.append(f"| `{name}` | {kind} | {default} | {' '.join(sentences)} |")
    for name, option in options.items():
        if "options" in option:
            each = "Each one of" if "elements" in option else "In"
            lines += ["", f"{each} `{name}`:", "", *table(option["options"], "Key")]
    return lines


def _around(readme: str, first: str, last: str) -> tuple[str, str]:
    """Return what is before and after two marks, with them."""
    before, begin, rest = readme.partition(first)
    _old, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"The README has no {first} … {last}")
    return before + begin, end + after


def filled(readme: str, specs: dict[str, Any]) -> str:
    """Return a README with the table of the entry point `main` between its marks."""
    before, after = _around(readme, BEGIN, END)
    lines = table(specs["argument_specs"]["main"]["options"])
    return "\n".join([before, "", *lines, "", after])


def plan(rows: Any, actions: dict[str, Any]) -> list[str]:
    """Return the lines of a table of what is done with a GitHub runner, by the four facts.

    Args:
        rows: a table of plugins/plugin_utils/_runner_plan.py.
        actions: what is done, as that has it.
    """
    titles = ["GitHub", "`.runner`", "`.service`", "Unit", "That is", "What is done"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        facts = (row.registration, row.configuration, row.service, row.unit)
        cells = [", ".join(fact) or "any" for fact in facts]
        cells += [row.meaning, actions[row.action][1]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def planned(readme: str) -> str:
    """Return the README of github_runner with its tables of what is done when."""
    before, after = _around(readme, PLANS_BEGIN, PLANS_END)
    told = runpy.run_path(str(ROOT / "plugins/plugin_utils/_runner_plan.py"))
    lines = [
        "A runner that is to be there (`present`):",
        "",
        *plan(told["PRESENT"], told["ACTIONS"]),
        "",
        "One that is to go (`absent`):",
        "",
        *plan(told["ABSENT"], told["ACTIONS"]),
    ]
    return "\n".join([before, "", *lines, "", after])


if __name__ == "__main__":
    for path in sorted(ROLES.glob("*/README.md")):
        specs = yaml.safe_load((path.parent / "meta/argument_specs.yml").read_text())
        path.write_text(filled(path.read_text(), specs))
    path = ROOT / PLANS
    path.write_text(planned(path.read_text()))
