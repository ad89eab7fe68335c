"""The camera in a page of another web site, by the component that the server's README shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import LAN_HOST, open_page, wait_until_it_moves
from tests.browser.conftest import RestrictedServer
from tests.browser.sites import other_site
from tests.conftest import ROOT

README = ROOT / "files/server/README.md"


def component(server: RestrictedServer) -> str:
    """Return the README's component as a script, for this server.

    Only what a browser does not know is put in other words: the element, which React makes, and
    the exports.
    """
    (code,) = re.findall(r"```jsx\n(.*?)```", README.read_text(), re.DOTALL)
    address = server.url.replace("127.0.0.1", LAN_HOST).rstrip("/")
    code = _replaced(r"http://raspberry-4b\.local:8080", address, code)
    code = _replaced(r'(?<=const token = )"[^"]*"', f'"{server.token}"', code)
    ((tag, attributes),) = re.findall(r"return <(\w+) (.*?) />;", code, re.DOTALL)
    values = re.findall(r'(\w+)=(?:\{(.*?)\}(?=\s|$)|("[^"]*"))', attributes, re.DOTALL)
    fields = ", ".join(f"{name}: {given or text}" for name, given, text in values)
    element = f'return Object.assign(document.createElement("{tag}"), {{ {fields} }});'
    code = _replaced(r"return <.*? />;", element, code)
    return re.sub(r"^export (default )?", "", code, flags=re.MULTILINE)


def _replaced(pattern: str, text: str, code: str) -> str:
    code, count = re.subn(pattern, lambda _match: text, code, flags=re.DOTALL)
    assert count == 1, pattern
    return code


def ask(page: Page) -> str:
    """Ask for the camera's state as the component does; return it, or what went wrong."""
    asking = "cameraState().then((state) => state.state, (error) => error.message)"
    return str(page.evaluate(asking))


@pytest.mark.parametrize("allowed", [True, False])
def test_the_readme_s_component_shows_the_camera(tmp_path: Path, allowed: bool) -> None:
    with other_site("<!doctype html><title>My page</title><body></body>") as site:
        origins = f"http://other.example,{site}" if allowed else "http://other.example"
        server = RestrictedServer(tmp_path / "credentials.json", CORS_ORIGINS=origins)
        try:
            server.start()
            with open_page(site) as page:
                page.add_script_tag(content=component(server))
                state = ask(page)
                page.evaluate("document.body.append(Camera())")
                # A picture needs no leave, a question does.
                wait_until_it_moves(page, tries=100)
        finally:
            server.stop()
    assert state == ("idle" if allowed else "Failed to fetch")
