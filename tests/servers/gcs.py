"""The XML API of Google Cloud Storage, as far as a lake needs it, in front of an S3 server.

    python3 tests/servers/gcs.py PORT S3_URL [--forgetful]

The two APIs have the same requests and the same XML; the names of a few headers differ
(https://cloud.google.com/storage/docs/xml-api/reference-headers), and a missing object is `generation 0` instead of
``If-None-Match: *`. Forgetful, it takes a second create like a first, as many a small storage does.
"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT, S3, FORGETFUL = int(sys.argv[1]), urlsplit(sys.argv[2]), "--forgetful" in sys.argv
# moto lets nobody in without a signature, and checks none.
SOMEBODY = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "authorization", "content-length"}


def to_s3(name, value):
    if name == "x-goog-if-generation-match":
        return ("If-None-Match", "*") if value == "0" else ("If-Match", value)
    return name.replace("x-goog-", "x-amz-"), value


class Gcs(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [to_s3(name.lower(), value) for name, value in self.headers.items()]
        if FORGETFUL:
            headers = [(name, value) for name, value in headers if name != "If-None-Match"]
        headers = {name: value for name, value in headers if name.lower() not in HOP_BY_HOP}
        headers["Authorization"] = SOMEBODY
        server = http.client.HTTPConnection(S3.hostname, S3.port, timeout=60)
        try:
            server.request(self.command, self.path, body=body, headers=headers)
            answer = server.getresponse()
            content = answer.read()
        finally:
            server.close()
        self.send_response(answer.status)
        length = str(len(content))
        for name, value in answer.getheaders():
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in HOP_BY_HOP | {"date", "server"}:
                self.send_header(name.lower().replace("x-amz-", "x-goog-"), value)
        self.send_header("x-goog-generation", "1")
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", PORT), Gcs).serve_forever()
