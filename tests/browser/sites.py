"""Web servers around the camera server: a proxy that puts it behind a path, and another site."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

PATH = "/devices/garden"
# Not passed on: they speak of one connection, and this end has its own.
_HOP = {"connection", "keep-alive", "transfer-encoding"}


class _Proxy(BaseHTTPRequestHandler):
    """Asks the server what is below the path, as a gateway does; knows nothing of anything else."""

    def do_GET(self) -> None:
        """Pass a request on, and its answer back as it comes."""
        if not self.path.startswith(PATH + "/"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _HOP}
        upstream = http.client.HTTPConnection(vars(self.server)["upstream"], timeout=20)
        with closing(upstream):
            upstream.request(self.command, self.path.removeprefix(PATH), body, headers)
            answer = upstream.getresponse()
            self.send_response_only(answer.status)
            for name, text in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, text)
            self.end_headers()
            try:
                while part := answer.read1(65536):
                    self.wfile.write(part)
            except OSError:
                self.close_connection = True  # the browser or the server has gone

    def do_POST(self) -> None:
        """Do the same with a form."""
        self.do_GET()

    def log_message(self, *_values: object) -> None:
        """Keep quiet."""


class _Proxies(ThreadingHTTPServer):
    # Streams are at work until the browser or the server is gone.
    daemon_threads = True
    block_on_close = False


@contextmanager
def behind_a_path(url: str) -> Iterator[str]:
    """Yield another address of the server at ``url``, which ends in a path."""
    with _Proxies(("127.0.0.1", 0), _Proxy) as proxy:
        vars(proxy)["upstream"] = urlsplit(url).netloc
        with _serving(proxy) as address:
            yield f"{address}{PATH}/"


class _Elsewhere(BaseHTTPRequestHandler):
    """Another site, whose only page is the server's ``text``."""

    def do_GET(self) -> None:
        """Answer with the page."""
        text = getattr(self.server, "text", "").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_values: object) -> None:
        """Keep quiet."""


@contextmanager
def other_site(text: str) -> Iterator[str]:
    """Yield the address of another web site, whose only page this is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as site:
        vars(site)["text"] = text
        with _serving(site) as address:
            yield address


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """Have a server serve in a thread; yield its address."""
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
