"""A proxy in front of an S3 server that injects faults."""

from __future__ import annotations

import http.client
import http.server
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum
from urllib.parse import urlsplit


class Fault(Enum):
    SLOW_DOWN = "503 Slow Down, as S3 throttles"
    CUT = "the connection is reset in the middle of the upload"
    DENIED = "403 Access Denied"
    SWALLOW = "the request never reaches S3, and never gets an answer"


# What to do with a request: method, path with query. None: pass it on.
Rule = Callable[[str, str], Fault | None]

_ERRORS = {
    Fault.SLOW_DOWN: (503, "SlowDown", "Please reduce your request rate."),
    Fault.DENIED: (403, "AccessDenied", "Access Denied"),
}


class FaultyProxy:
    """Passes requests on to `server` (http://host:port), unless `rule` returns a fault."""

    def __init__(self, server: str) -> None:
        self.rule: Rule = lambda method, path: None
        self.injected: list[tuple[Fault, str]] = []
        self.requests = 0
        upstream = urlsplit(server).netloc
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                proxy.requests += 1
                fault = proxy.rule(self.command, self.path)
                if fault:
                    proxy.injected.append((fault, f"{self.command} {self.path}"))
                if fault is Fault.CUT:
                    self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
                    reset(self.connection)
                    self.close_connection = True
                    return
                body = self.body()
                if fault is Fault.SWALLOW:
                    threading.Event().wait(60)
                elif fault:
                    self.refuse(fault)
                else:
                    self.pass_on(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def refuse(self, fault: Fault) -> None:
                status, code, message = _ERRORS[fault]
                xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(xml)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(xml)

            def pass_on(self, body: bytes) -> None:
                connection = http.client.HTTPConnection(upstream)
                try:
                    dropped = ("expect", "transfer-encoding")
                    headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
                    connection.request(self.command, self.path, body, headers)
                    response = connection.getresponse()
                    content = response.read()
                finally:
                    connection.close()
                self.send_response_only(response.status, response.reason)
                for name, value in response.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                length = response.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(
                self, request: object, address: object
            ) -> None: ...  # clients that end

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def calm(self) -> None:
        """Inject no more faults, and forget the injected ones."""
        self.rule = lambda method, path: None
        self.injected.clear()


def reset(connection: socket.socket) -> None:
    """End a connection with an RST, as a failing network does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
