"""A server in front of a storage server, with one habit of its own:

    python3 tests/servers/front.py PORT URL gcs|forgetful|lossy

`gcs` speaks the XML API of Google Cloud Storage, as far as a lake needs it, in front of an S3 server. The two APIs have
the same requests and the same XML; the names of a few headers differ
(https://cloud.google.com/storage/docs/xml-api/reference-headers), and a missing object is `generation 0` instead of
`If-None-Match: *`. `forgetful` is the same, but takes a second create like a first, as many a small storage does.

`lossy` does what it is asked and loses its answer, once for each request that changes something: by turns the answer is
500, the connection closes without a word, or it is reset. The same request again gets the answer that it has by then.
"""

import http.client
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT, BEHIND, HABIT = int(sys.argv[1]), urlsplit(sys.argv[2]), sys.argv[3]
# moto lets nobody in without a signature, and checks none.
SOMEBODY = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}

lost, lock = set(), threading.Lock()


def asked(name, value):
    if HABIT == "lossy":
        return name, value
    if name == "x-goog-if-generation-match":
        return ("if-none-match", "*") if value == "0" else ("if-match", value)
    return name.replace("x-goog-", "x-amz-"), value


def answered(name):
    return name if HABIT == "lossy" else name.replace("x-amz-", "x-goog-")


def is_lost(request):
    """1 for the first of all, 2 for the second, …; 0 for one that was lost before."""
    with lock:
        if request in lost:
            return 0
        lost.add(request)
        return len(lost)


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = dict(asked(name.lower(), value) for name, value in self.headers.items())
        headers = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
        if HABIT != "lossy":
            headers["authorization"] = SOMEBODY
        if HABIT == "forgetful":
            headers.pop("if-none-match", None)
        server = http.client.HTTPConnection(BEHIND.hostname, BEHIND.port, timeout=60)
        try:
            server.request(self.command, self.path, body=body, headers=headers)
            answer = server.getresponse()
            content = answer.read()
        finally:
            server.close()
        status = answer.status
        if HABIT == "lossy" and self.command not in ("GET", "HEAD"):
            number = is_lost((self.command, self.path))
            if number > 0 and number % 3 == 0:
                status, content = 500, b""
            elif number > 0:
                # Without lingering, what closes is reset.
                reset = struct.pack("ii", number % 3 - 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                self.close_connection = True
                return
        self.send_response(status)
        length = str(len(content))
        for name, value in answer.getheaders():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in HOP_BY_HOP | {"date", "server"}:
                self.send_header(answered(name.lower()), value)
        if HABIT != "lossy":
            self.send_header("x-goog-generation", "1")
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request):
        # Not with a goodbye before, which the base class says.
        self.close_request(request)


Server(("127.0.0.1", PORT), Front).serve_forever()
