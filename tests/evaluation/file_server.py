"""A real HTTP server on this machine that gives files, and misbehaves when a test tells it to."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """What a client asked for, and the bytes of the body that it was sent."""

    path: str
    range: str | None
    encodings: str | None
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    """Answers with files, as a whole or from a byte on; the behaviour told first, if any, is used up instead."""

    protocol_version = "HTTP/1.1"
    server: Any

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client went away
            super().handle()

    def do_GET(self) -> None:
        files: FileServer = self.server.files_of
        self.request_seen = Request(self.path, self.headers["Range"], self.headers["Accept-Encoding"])
        files.requests.append(self.request_seen)
        behaviour = files.behaviours.pop(0) if files.behaviours else normal
        behaviour(self)

    @property
    def content(self) -> bytes | None:
        return self.server.files_of.files.get(self.path)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 14):
            block = data[start : start + (1 << 14)]
            self.wfile.write(block)
            self.request_seen.sent += len(block)

    def answer(self, send: Callable[[bytes], None]) -> None:
        """Right headers for what was asked, and a body by ``send``."""
        content = self.content
        if content is None:
            return self.head(404, Content_Length=0)
        if self.request_seen.range is None:
            self.head(200, Content_Length=len(content))
            return send(content)
        found = re.fullmatch(r"bytes=(\d+)-", self.request_seen.range)
        assert found
        start = int(found[1])
        if start >= len(content):
            return self.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        self.head(
            206,
            Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
            Content_Length=len(content) - start,
        )
        return send(content[start:])

    def hang_up(self, *, reset: bool = False) -> None:
        if reset:  # the peer sees "connection reset" rather than an orderly end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def normal(handler: Handler) -> None:
    handler.answer(handler.body)


def drop_after(count: int, *, reset: bool = False) -> Behaviour:
    """Announce everything, send so many bytes, and hang up."""

    def behave(handler: Handler) -> None:
        def send(data: bytes) -> None:
            handler.body(data[:count])
            handler.hang_up(reset=reset)

        handler.answer(send)

    return behave


def truncate(count: int, *, announced: bool) -> Behaviour:
    """Give a file that ends early, announced with its short length or without any length."""

    def behave(handler: Handler) -> None:
        assert handler.content
        data = handler.content[:count]
        handler.head(200, **({"Content_Length": len(data)} if announced else {"Connection": "close"}))
        handler.body(data)
        handler.hang_up()

    return behave


def ignore_range(handler: Handler) -> None:
    assert handler.content
    handler.head(200, Content_Length=len(handler.content))
    handler.body(handler.content)


def shift_range(handler: Handler) -> None:
    """Send the last 100 bytes, whatever was asked for."""
    assert handler.content
    total = len(handler.content)
    handler.head(206, Content_Range=f"bytes {total - 100}-{total - 1}/{total}", Content_Length=100)
    handler.body(handler.content[-100:])


def short_range(handler: Handler) -> None:
    """Send 1,000 bytes of the range that was asked for, as a server may."""
    assert handler.content
    assert handler.request_seen.range
    total, start = len(handler.content), int(handler.request_seen.range[len("bytes=") : -1])
    handler.head(206, Content_Range=f"bytes {start}-{start + 999}/{total}", Content_Length=1000)
    handler.body(handler.content[start : start + 1000])


def status(code: int) -> Behaviour:
    return lambda handler: handler.head(code, Content_Length=0)


def redirect(address: str) -> Behaviour:
    return lambda handler: handler.head(302, Location=address, Content_Length=0)


def other_body(data: bytes, **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.head(200, Content_Length=len(data), **headers)
        handler.body(data)

    return behave


def announce(length: int) -> Behaviour:
    """Say how much will come, and send nothing of it until told to go on."""

    def behave(handler: Handler) -> None:
        handler.head(200, Content_Length=length)
        assert handler.server.files_of.go_on.wait(60)
        handler.hang_up()

    return behave


def endless(handler: Handler) -> None:
    handler.head(200, Connection="close")
    while True:
        handler.body(bytes(1 << 16))


def pause_after(count: int, *, then_drop: bool = False) -> Behaviour:
    """Send so many bytes, wait until the server is told to go on (or stops), and send the rest or hang up."""

    def behave(handler: Handler) -> None:
        def send(data: bytes) -> None:
            handler.body(data[:count])
            assert handler.server.files_of.go_on.wait(60)
            if then_drop or handler.server.files_of.stopped:
                handler.hang_up(reset=True)
            else:
                handler.body(data[count:])

        handler.answer(send)

    return behave


class FileServer:
    """Server of ``files`` on a free port of this machine, running within a ``with`` block."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.behaviours: list[Behaviour] = []
        self.requests: list[Request] = []
        self.go_on = threading.Event()
        self.port = 0
        self.stopped = True

    def __enter__(self) -> FileServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after the first time on the port of before."""
        self.server: Any = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.files_of = self
        self.port = self.server.server_address[1]
        self.stopped = False
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections and drop those that pause."""
        if not self.stopped:
            self.stopped = True
            self.server.shutdown()
            self.server.server_close()
            self.go_on.set()
