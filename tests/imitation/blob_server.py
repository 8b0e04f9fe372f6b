"""A real blob server, Azurite, as the imitation uses it: Shared Key to put blobs, signed addresses to hand them out.

The account and its key are the ones that every copy of Azurite and of the older emulators has; they guard nothing.
"""

import base64
import hashlib
import hmac
import http.client
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import quote, urlencode, urlsplit

ACCOUNT = "devstoreaccount1"
KEY = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
VERSION = "2021-12-02"
CONTAINER = "exports"


def signature(text):
    return base64.b64encode(hmac.new(KEY, text.encode(), hashlib.sha256).digest()).decode()


class BlobServer:
    """`address` takes the blobs; `public` is where clients find them (a proxy in between, or the same)."""

    def __init__(self, address, public):
        self.host, self.public = urlsplit(address).netloc, public.rstrip("/")
        self.call("PUT", f"/{ACCOUNT}/{CONTAINER}", {"restype": "container"}, b"", {}, may_exist=True)

    def put(self, name, content):
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-MD5": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "Content-Type": "application/octet-stream",
        }
        self.call("PUT", f"/{ACCOUNT}/{CONTAINER}/{name}", {}, content, headers)

    def call(self, method, path, query, content, headers, may_exist=False):
        headers = headers | {
            "x-ms-date": format_datetime(datetime.now(timezone.utc), usegmt=True),
            "x-ms-version": VERSION,
            "Content-Length": str(len(content)),
        }
        headers["Authorization"] = f"SharedKey {ACCOUNT}:" + signature(to_sign(method, path, query, headers))
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path + ("?" + urlencode(query) if query else ""), content, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 201 and not (may_exist and answer.status == 409):
            raise RuntimeError(f"the blob server answers {answer.status}: {body[:500]!r}")

    def signed(self, name, seconds):
        """An address that may be read until `seconds` from now (negative: is over), and its signature."""
        until = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        # The fields of a service signature for one blob, in the order that the version fixes; empty ones count.
        fields = ["r", "", until, f"/blob/{ACCOUNT}/{CONTAINER}/{name}", "", "", "", VERSION, "b", "", "", "", "", "", "", ""]
        sig = signature("\n".join(fields))
        query = urlencode({"sv": VERSION, "se": until, "sr": "b", "sp": "r", "sig": sig})
        return f"{self.public}/{ACCOUNT}/{CONTAINER}/{quote(name)}?{query}", sig


def to_sign(method, path, query, headers):
    """The text that Shared Key signs: fixed headers, the x-ms ones, then the resource with its parameters."""
    length = headers["Content-Length"] if headers["Content-Length"] != "0" else ""
    fixed = ["", "", length, headers.get("Content-MD5", ""), headers.get("Content-Type", ""), "", "", "", "", "", ""]
    ours = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-ms-"))
    lines = [method, *fixed, *(f"{name}:{value}" for name, value in ours), f"/{ACCOUNT}{path}"]
    return "\n".join(lines + [f"{name}:{value}" for name, value in sorted(query.items())])
