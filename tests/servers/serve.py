#!/usr/bin/env python3
"""Runs a command beside the storage servers that the tests talk to, on loopback ports of their own:

    python3 tests/servers/serve.py cargo test --locked

Azurite (npm) and moto's S3 server (PyPI) are installed once, in a folder beside the compiled
dependencies; `front.py` stands in front of them where another behaviour is wanted. Each server has a container or
bucket `lake`; where it is stands in the command's environment. The exit code is the command's.
"""

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent / "target")
FOLDER = TARGET / "tmp" / "servers"
PATIENCE = 60  # seconds until a server must answer
# Of a certificate that was made a moment ago there is nothing to check.
UNCHECKED = ssl._create_unverified_context()


def once(name, made_of, install):
    """Installs into a folder unless that was done from the very same files."""
    folder = FOLDER / name
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in made_of)).hexdigest()
    done = folder / "done"
    if not (done.exists() and done.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        done.write_text(wanted)
    return folder


def azurite():
    package = [HERE.parent / "imitation" / name for name in ("package.json", "package-lock.json")]

    def install(folder):
        for file in package:
            shutil.copy(file, folder)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(npm, cwd=folder, check=True, stdout=sys.stderr)

    return once("azurite", package, install) / "node_modules/azurite/dist/src/blob/main.js"


def python():
    requirements = HERE / "requirements.txt"

    def install(folder):
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", requirements], check=True, stdout=sys.stderr)

    return once("python", [requirements], install) / "venv/bin"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(method, url, body=b"", headers=()):
    """The status that a server answers with, once it answers."""
    until = time.monotonic() + PATIENCE
    while True:
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=5, context=UNCHECKED) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main(command):
    blob, tls, s3, gcs, forgetful, lossy_blob, lossy_s3 = (free_port() for _ in range(7))
    program, binaries = azurite(), python()
    data = tempfile.mkdtemp(prefix="servers-")
    certificate, key = Path(data) / "certificate.pem", Path(data) / "key.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*openssl, *names, "-out", certificate, "-keyout", key], check=True, stderr=subprocess.DEVNULL)
    node = ["node", program, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--blobPort"]
    servers = [
        [*node, str(blob)],
        # Azurite takes tokens of identities over TLS alone.
        [*node, str(tls), "--oauth", "basic", "--cert", certificate, "--key", key],
        [binaries / "moto_server", "-H", "127.0.0.1", "-p", str(s3)],
    ]
    fronts = [(gcs, s3, "gcs"), (forgetful, s3, "forgetful"), (lossy_blob, blob, "lossy"), (lossy_s3, s3, "lossy")]
    for port, behind, habit in fronts:
        servers.append([sys.executable, HERE / "front.py", str(port), f"http://127.0.0.1:{behind}", habit])
    running = []
    try:
        log = open(Path(data) / "log", "wb")
        for server in servers:
            running.append(subprocess.Popen(server, cwd=data, stdout=log, stderr=log))
        # What makes the containers is not what is tested: plain requests, without a client of anybody's.
        ask("PUT", f"http://127.0.0.1:{s3}/lake")
        make_container(f"http://127.0.0.1:{blob}")
        make_container(f"https://127.0.0.1:{tls}")
        for port, *_ in fronts:
            ask("GET", f"http://127.0.0.1:{port}/lake")
        environment = {
            **os.environ,
            "PAYOUTLAKE_TEST_AZURITE": str(program),
            "PAYOUTLAKE_TEST_AZURE_URL": f"http://127.0.0.1:{blob}",
            "PAYOUTLAKE_TEST_AZURE_TLS_URL": f"https://127.0.0.1:{tls}",
            "PAYOUTLAKE_TEST_AZURE_TLS_CERTIFICATE": str(certificate),
            "PAYOUTLAKE_TEST_S3_URL": f"http://127.0.0.1:{s3}",
            "PAYOUTLAKE_TEST_GCS_URL": f"http://127.0.0.1:{gcs}",
            "PAYOUTLAKE_TEST_FORGETFUL_URL": f"http://127.0.0.1:{forgetful}",
            "PAYOUTLAKE_TEST_LOSSY_AZURE_URL": f"http://127.0.0.1:{lossy_blob}",
            "PAYOUTLAKE_TEST_LOSSY_S3_URL": f"http://127.0.0.1:{lossy_s3}",
        }
        return subprocess.run(command, env=environment).returncode
    finally:
        for server in running:
            server.terminate()
        for server in running:
            server.wait()
        shutil.rmtree(data, ignore_errors=True)


def make_container(url):
    """Azure wants a signature: with the emulator's well-known account and key."""
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    signed = [("x-ms-date", formatdate(usegmt=True)), ("x-ms-version", "2021-08-06")]
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    to_sign = "PUT" + "\n" * 12 + lines + f"/{account}/{account}/lake\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), to_sign.encode(), "sha256")).decode()
    headers = [*signed, ("Authorization", f"SharedKey {account}:{signature}")]
    status = ask("PUT", f"{url}/{account}/lake?restype=container", None, headers)
    assert status == 201, f"the container was not made: {status}"


if __name__ == "__main__":
    # The servers end with this, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
