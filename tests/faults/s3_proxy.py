"""A proxy in front of an S3 server that does to chosen requests what networks and stores do.

It listens on 127.0.0.1 and passes requests on byte by byte, the signed Host header too: whoever
has its endpoint in AWS_ENDPOINT_URL signs for it, and the server behind it checks that.
"""

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

Kind = Literal[
    "error",  # 500 InternalError, and nothing was done
    "slow down",  # 503 SlowDown, and nothing was done
    "torn request",  # the connection breaks in the middle of the request's body
    "late request",  # the request arrives when the client has given it up
    "late answer",  # the request is done, its answer comes when the client has given it up
    "lost answer",  # the request is done, the connection ends before its answer
    "reset answer",  # the same, by a reset
    "false error",  # the request is done, the answer says 500 all the same
    "torn answer",  # the connection breaks in the middle of the answer's body
    "twice",  # the request arrives twice; the answer is that to the second
]
IDLE_S = 60.0
MAX_REQUESTS = 64  # at once
_ERRORS = {
    "error": ("500 Internal Server Error", "InternalError"),
    "false error": ("500 Internal Server Error", "InternalError"),
    "slow down": ("503 Slow Down", "SlowDown"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the requests of ``method`` whose bucket, key and query match ``keys``.

    To ``times`` of them, or None for all, each with probability ``share``.
    """

    kind: Kind
    method: str
    keys: str
    times: int | None = 1
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it went by: the fault it met, and the statuses that the server gave it."""

    method: str
    key: str
    fault: str
    statuses: tuple[int, ...]


class FaultProxy:
    """The proxy. ``late_s``: how long a late request or answer is held back."""

    def __init__(self, upstream: str, *, late_s: float, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname, upstream
        assert parts.port, upstream
        self.upstream = (parts.hostname, parts.port)
        self.late_s = late_s
        self.requests: list[Request] = []
        self._change = threading.Condition()
        self._num_underway = 0
        self.places = threading.BoundedSemaphore(MAX_REQUESTS)
        self._choose = random.Random(seed)
        self._faults: list[Fault] = []
        self._left: list[int | None] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self

    @property
    def endpoint(self) -> str:
        """What AWS_ENDPOINT_URL must be for requests to come by here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def order(self, faults: Sequence[Fault]) -> None:
        """Let these happen from now on, and no others; of several that match, the first."""
        with self._change:
            self._faults, self._left = list(faults), [fault.times for fault in faults]

    def settle(self) -> None:
        """Return when no request is on its way any more."""
        with self._change:
            assert self._change.wait_for(lambda: not self._num_underway, IDLE_S)

    def met(self) -> list[tuple[str, str, str]]:
        """Return fault, method and key of every request that met a fault, in their order."""
        self.settle()
        return [(one.fault, one.method, one.key) for one in self.requests if one.fault]

    def created(self) -> list[str]:
        """Return the keys of every PUT that the server did, sorted; twice done, twice there."""
        self.settle()
        return sorted(
            one.key
            for one in self.requests
            for status in one.statuses
            if one.method == "PUT" and status == 200
        )

    def fault_of(self, method: str, key: str) -> Kind | None:
        """Return what happens to this request, and count it."""
        with self._change:
            for number, fault in enumerate(self._faults):
                left = self._left[number]
                if left == 0 or fault.method != method or not re.search(fault.keys, key):
                    continue
                if fault.share < 1 and self._choose.random() >= fault.share:
                    continue
                self._left[number] = None if left is None else left - 1
                return fault.kind
        return None

    @contextmanager
    def underway(self) -> Iterator[None]:
        """Count a request as on its way for as long as the block lasts."""
        with self._change:
            self._num_underway += 1
        try:
            yield
        finally:
            with self._change:
                self._num_underway -= 1
                self._change.notify_all()

    @contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        """Serve for as long as the block lasts."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(IDLE_S)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_REQUESTS
    proxy: FaultProxy


class _Handler(StreamRequestHandler):
    """One connection, and one request: each answer closes it."""

    timeout = IDLE_S
    server: _Server

    def handle(self) -> None:
        proxy = self.server.proxy
        with proxy.places, proxy.underway(), suppress(OSError):  # the client may be gone
            self._pass_on(proxy)

    def _pass_on(self, proxy: FaultProxy) -> None:
        head = self._head()
        if not head:
            return
        method, target = head[0].split(" ")[:2]
        key = unquote(target).lstrip("/")
        fault = proxy.fault_of(method, key)
        statuses: list[int] = []
        try:
            self._answer(proxy, fault, head, statuses)
        finally:
            proxy.requests.append(Request(method, key, fault or "", tuple(statuses)))

    def _answer(
        self, proxy: FaultProxy, fault: Kind | None, head: list[str], statuses: list[int]
    ) -> None:
        size = self._body_size(head)
        if fault == "torn request":
            _send(proxy.upstream, head, self.rfile.read(size // 2))
            self._reset()
            return
        body = self.rfile.read(size)
        if fault in ("error", "slow down"):
            self.wfile.write(_refusal(fault))
            return
        if fault == "late request":
            time.sleep(proxy.late_s)
        answer = b""
        for _ in range(2 if fault == "twice" else 1):
            answer = _send(proxy.upstream, head, body)
            statuses.append(int(answer.split(b" ", 2)[1]))
        self._give(proxy, fault, answer)

    def _give(self, proxy: FaultProxy, fault: Kind | None, answer: bytes) -> None:
        if fault == "reset answer":
            self._reset()
        elif fault == "torn answer":
            begin = answer.index(b"\r\n\r\n") + 4
            self.wfile.write(answer[: begin + (len(answer) - begin) // 2])
        elif fault == "false error":
            self.wfile.write(_refusal(fault))
        elif fault != "lost answer":
            if fault == "late answer":
                time.sleep(proxy.late_s)
            self.wfile.write(answer)

    def _head(self) -> list[str]:
        """Return request line and headers, or nothing where the client only connected."""
        lines = []
        while line := self.rfile.readline(65536).decode("latin-1").rstrip("\r\n"):
            name = line.partition(":")[0].lower()
            if name == "expect":
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif name != "connection":
                lines.append(line)
        return lines

    def _body_size(self, head: list[str]) -> int:
        headers = dict(line.lower().split(":", 1) for line in head[1:])
        assert "transfer-encoding" not in headers, "the proxy knows bodies of a stated length only"
        return int(headers.get("content-length", 0))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _send(upstream: tuple[str, int], head: list[str], body: bytes) -> bytes:
    """Send a request; return the answer, or nothing where the body was not the whole one."""
    data = "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + body
    with socket.create_connection(upstream, IDLE_S) as server:
        server.sendall(data)
        declared = next((line for line in head if line.lower().startswith("content-length:")), ":0")
        if len(body) < int(declared.partition(":")[2]):
            return b""
        parts = []
        while part := server.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def _refusal(kind: str) -> bytes:
    status, code = _ERRORS[kind]
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
        "<Message>This answer was made up.</Message></Error>"
    ).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
