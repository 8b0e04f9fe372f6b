#!/usr/bin/env python3
"""An imitation of the payout service, its sign-in and its blobs, written from public documentation alone.

    partner_center.py serve --style NAMES --today DATE --log FILE     prints where and for whom
    partner_center.py truth --style NAMES --today DATE --from MONTH   prints what a lake of it must hold, as JSON
    partner_center.py styles                                          prints the names of all styles

It shares no code with payoutlake and needs nothing but Python 3.9 or newer. Everything that is asked is written to the
log, one JSON object a line, with the secrets that were handed out (kind "secret"), so that a test can look for them.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import time
import uuid
from datetime import date, datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from corpus import truth
from service import CLIENT, DATASETS, PASSWORD, SECRET, TENANT, USER, Refused, Service, corpus_of, entra, envelope, problem
from styles import STYLES, style

# Faults that are a whole answer: status, body, headers.
ANSWERS = {
    "429": (429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, {}),
    "429-after": (429, "", {"Retry-After": "1"}),
    "500-html": (500, "<html><body>Server Error in '/' Application.</body></html>", {}),
    "502-html": (502, "<html><body><h1>502 Bad Gateway</h1></body></html>", {}),
    "503": (503, {"error": {"code": "serviceNotAvailable", "message": "try again"}}, {}),
    "503-after": (503, "The service is unavailable.", {"Retry-After": "1"}),
    "504-empty": (504, "", {}),
    "400": (400, {"error": {"code": "invalidRequest", "message": "Invalid filter, says the service"}}, {}),
    "401": (401, "", {"WWW-Authenticate": "Bearer"}),
    "403": (403, {"error": {"code": "accessDenied", "message": "Access is denied, says the service"}}, {}),
    "garbage": (200, "<!DOCTYPE html><title>Sign in</title>", {}),
    "empty": (200, "", {}),
}


def answer_of(fault):
    if fault == "429-date":
        soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)
        return 429, "", {"Retry-After": soon}
    if fault == "mfa":
        refused = entra(400, "interaction_required", 50076, "You must use multi-factor authentication.")
        return refused.status, refused.body, {}
    return ANSWERS.get(fault)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-IIS/10.0", ""
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route()

    do_POST = do_DELETE = do_GET

    def route(self):
        service = self.server.service
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else b""
        if len(parts) >= 3 and parts[1] == "oauth2":
            kind = "token"
        elif parts[0] == "blobs":
            kind = "blob"
        elif parts[:2] == ["v1.0", "payouts"] and len(parts) in (3, 4) and parts[2] in DATASETS:
            kind = {("POST", 3): "create", ("GET", 4): "status", ("DELETE", 4): "delete"}.get((self.command, len(parts)))
        else:
            kind = None
        query = address.query if kind != "blob" else ""
        self.entry = {
            "kind": kind or "unknown",
            "method": self.command,
            "path": address.path,
            "query": query,
            "filter": parse_qs(query).get("$filter", [""])[0],
            "authorization": "Authorization" in self.headers,
            "repeat": self.headers.get("ms-requestid", ""),
            "range": self.headers.get("Range", ""),
        }
        fault = self.fault = service.fault(kind)
        self.entry["fault"] = fault
        try:
            if kind is None:
                raise problem(404, "itemNotFound", "There is nothing here")
            if fault == "reset":
                return self.hang_up(0, reset=True)
            if fault == "redirect":
                raise Refused(302, "", {"Location": f"http://localhost:{service.port}/elsewhere"})
            if answer := answer_of(fault):
                raise Refused(*answer)
            getattr(self, "do_" + kind)(service, parts, address, body, length)
        except Refused as refused:
            self.send(refused.status, refused.body, refused.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_token(self, service, parts, _, body, __):
        if self.command != "POST" or "form-urlencoded" not in self.headers.get("Content-Type", ""):
            raise entra(400, "invalid_request", 900144, "The request body must contain form fields.")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        self.entry["grant"] = form.get("grant_type")
        if parts[-1] == "devicecode":
            return self.send(200, service.device(parts[0], form))
        version = "v2" if parts[2:] == ["v2.0", "token"] else "v1"
        self.send(200, service.token(version, parts[0], form))

    def do_create(self, service, parts, address, _, length):
        service.authorise(self.headers.get("Authorization"))
        if length is None:
            raise problem(411, "invalidRequest", "Length Required")
        export = service.create(parts[2], address.query, self.headers.get("ms-requestid"))
        self.entry["export"] = export.id
        if self.fault == "lost":
            return self.hang_up(0, reset=True)
        if self.fault == "slow":
            service.log(kind="made", export=export.id)
            time.sleep(3)
        shape = service.style.create_shape
        if shape == "location":
            where = f"http://127.0.0.1:{service.port}/v1.0/payouts/{export.dataset}/{export.id}"
            return self.send(service.style.create_status, "", {"Location": where})
        self.send(service.style.create_status, envelope(service, export, "Queued", "", shape))

    def do_status(self, service, parts, *_):
        service.authorise(self.headers.get("Authorization"))
        style = service.style
        export, status, location = service.poll(parts[2], parts[3])
        self.entry |= {"export": export.id, "filter": export.filter, "says": status, "located": bool(location)}
        self.send(200, envelope(service, export, status, location, style.status_shape, style.neighbours))

    def do_delete(self, service, parts, *_):
        service.authorise(self.headers.get("Authorization"))
        export = service.delete(parts[2], parts[3])
        self.entry["export"] = export.id
        how = service.style.delete
        if how == "json":
            return self.send(200, envelope(service, export, "Deleted", "", "array"))
        status = {"empty": 200, "204": 204, "500": 500}[how]
        self.send(status, "")

    # --- Answers that are not blobs ---

    def send(self, status, body, headers=None):
        service, style = self.server.service, self.server.service.style
        headers = {"Request-ID": str(uuid.uuid4()), "x-ms-ags-diagnostic": '{"ServerInfo":{}}'} | (headers or {})
        if isinstance(body, str):
            content, kind = body.encode(), "text/html"
        else:
            content = (b"\xef\xbb\xbf" if style.json_bom else b"") + json.dumps(body, ensure_ascii=False).encode()
            kind = style.content_type
        self.note(status)
        if status == 204 or status == 304:
            return self.head(status, headers)
        if self.fault == "cut":
            self.head(status, headers | {"Content-Type": kind, "Content-Length": str(len(content))})
            self.wfile.write(content[: len(content) // 2])
            return self.hang_up(None, reset=False)
        self.body(status, headers | {"Content-Type": kind}, content, style.framing, 0)

    def head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, status, headers, content, framing, trickle):
        """Sends `content` in the framing of the style. Returns how much of it was sent before a cut."""
        framed = {"length": ("Content-Length", str(len(content))), "chunked": ("Transfer-Encoding", "chunked")}
        name, value = framed.get(framing, ("Connection", "close"))
        self.close_connection = self.close_connection or framing == "close"
        self.head(status, headers | {name: value})
        size = trickle or 16_384
        half = len(content) // 2
        for start in range(0, len(content), size):
            while start >= half and trickle and self.server.service.stops_halfway():
                time.sleep(0.005)
            piece = content[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if framing == "chunked" else piece)
            if trickle:
                time.sleep(0.005)
        if framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def note(self, status):
        self.entry["status"] = status
        self.server.service.log(**self.entry)

    def hang_up(self, status, reset):
        if status is not None:
            self.note(status)
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    # --- Blobs ---

    def do_blob(self, service, parts, address, *_):
        style, export = service.style, service.exports.get(parts[1])
        query = parse_qs(address.query)
        if "Authorization" in self.headers:
            raise blob_problem(403, "AuthenticationFailed", "Only one way to authenticate may be used.")
        with service.lock:
            known = export and export.signatures.get(query.get("sig", [""])[0])
            if export and style.forgotten == "finished" and service.is_first(export):
                export.dead = True
            if not export or export.dead:
                raise blob_problem(404, "BlobNotFound", "The specified blob does not exist.")
        if not known or known.until < time.monotonic() or 0 < style.sas_bytes <= known.sent:
            raise blob_problem(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
        self.send_blob(style, export.content, known)

    def send_blob(self, style, content, known):
        digest = hashlib.md5(content).digest()
        tag = f'"0x{digest.hex()[:15].upper()}"'
        headers = {
            "Content-Type": style.blob_type,
            "ETag": "W/" + tag if style.ranges == "weak" else tag,
            "Last-Modified": "Wed, 25 Nov 2026 01:02:03 GMT",
            "x-ms-blob-type": "BlockBlob",
        }
        if style.md5:
            headers["Content-MD5"] = base64.b64encode(digest).decode()
        status, start = 200, 0
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if style.ranges != "none":
            headers["Accept-Ranges"] = "bytes"
            condition = self.headers.get("If-Range")
            # A weak tag never makes a range safe.
            if wanted and (condition is None or (condition == tag and style.ranges == "strong")):
                status, start = 206, int(wanted[1])
        if start >= len(content) > 0:
            raise Refused(416, "", {"Content-Range": f"bytes */{len(content)}"})
        part = content[start : int(wanted[2]) + 1 if status == 206 and wanted[2] else None]
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            # The stored hash is of the whole blob; of a part the service says it in another header.
            if style.md5:
                headers["x-ms-blob-content-md5"] = headers.pop("Content-MD5")
        self.entry["start"] = start
        self.note(status)
        self.send_part(style, status, headers, part, known)

    def send_part(self, style, status, headers, part, known):
        if self.fault == "flipped":
            part = bytes([part[0] ^ 1]) + part[1:]
        stop = len(part) // 2 if self.fault in ("cut", "cut-reset") else len(part)
        if style.sas_bytes:
            stop = min(stop, style.sas_bytes - known.sent)
        if stop == len(part):
            known.sent += stop
            if style.trickle and style.sas_seconds < 60:
                return self.until_over(style, status, headers, part, known)
            return self.body(status, headers, part, style.blob_framing, style.trickle)
        self.head(status, headers | {"Content-Length": str(len(part))})
        self.wfile.write(part[:stop])
        known.sent += stop
        self.hang_up(None, reset=self.fault == "cut-reset")

    def until_over(self, style, status, headers, part, known):
        """Sends slowly, and breaks off when the signature ends."""
        self.head(status, headers | {"Content-Length": str(len(part))})
        for start in range(0, len(part), style.trickle):
            if known.until < time.monotonic():
                return self.hang_up(None, reset=False)
            self.wfile.write(part[start : start + style.trickle])
            time.sleep(0.02)


def blob_problem(status, code, message):
    body = f'\N{ZERO WIDTH NO-BREAK SPACE}<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Refused(status, body, {"Content-Type": "application/xml", "x-ms-error-code": code})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def shutdown_request(self, request):
        # No friendly end before a reset.
        self.close_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["serve", "truth", "styles"])
    parser.add_argument("--style", default="documented", help="names, with commas; a later one wins")
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(timezone.utc).date())
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--months", type=int, default=6, help="earning months, the one of today included")
    parser.add_argument("--rows-per-month", type=int, default=90)
    parser.add_argument("--padding", type=int, default=0, help="bytes that hardly compress, in each earning")
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--hold-file", help="exports stay in Processing until this file exists")
    parser.add_argument("--hold-filter", help="only those whose filter has this text")
    parser.add_argument("--halfway-file", help="slow blobs stop in the middle until this file exists")
    parser.add_argument("--refresh-token", help="one that is good already")
    parser.add_argument("--azurite", help="put blobs there: http://HOST:PORT")
    parser.add_argument("--azurite-public", help="where clients find it, when that is somewhere else")
    parser.add_argument("--from", dest="first", default="0000-00", help="truth of the earning months from here on")
    options = parser.parse_args()
    if options.what == "styles":
        print("\n".join(STYLES))
    elif options.what == "truth":
        corpus = corpus_of(options)
        months = {row.month for row in corpus.rows["transactionhistory"] if row.month >= options.first}
        json.dump(truth(corpus, style(options.style), months), sys.stdout)
    else:
        server = Server(("127.0.0.1", 0), Handler)
        server.service = Service(options)
        server.service.port = server.server_port
        ready = {"port": server.server_port, "tenant": TENANT, "client": CLIENT, "user": USER}
        print(json.dumps(ready | {"password": PASSWORD, "secret": SECRET}), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
