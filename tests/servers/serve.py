#!/usr/bin/env python3
"""Runs a command beside the storage servers that the tests talk to, on loopback ports of their own:

    python3 tests/servers/serve.py cargo test --locked

Azurite (npm), moto's S3 server and gcp-storage-emulator (PyPI) are installed once, in a folder beside the compiled
dependencies; `gcs.py` stands in front of moto. Each server has a container or bucket `lake`; where it is stands in the command's environment. The exit code is
the command's.
"""

import base64
import hashlib
import hmac
import os
import shutil
import socket
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


def ask(method, url, body=b""):
    """The status that a server answers with, once it answers."""
    until = time.monotonic() + PATIENCE
    while True:
        request = urllib.request.Request(url, data=body, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main(command):
    blob, s3, gcs, emulator = (free_port() for _ in range(4))
    program, binaries = azurite(), python()
    data = tempfile.mkdtemp(prefix="servers-")
    servers = [
        ["node", program, "--blobPort", str(blob), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"],
        [binaries / "moto_server", "-H", "127.0.0.1", "-p", str(s3)],
        [binaries / "gcp-storage-emulator", "start", "--host=127.0.0.1", f"--port={emulator}", "--in-memory"],
        [sys.executable, HERE / "gcs.py", str(gcs), f"http://127.0.0.1:{s3}"],
    ]
    running = []
    try:
        log = open(Path(data) / "log", "wb")
        for server in servers:
            running.append(subprocess.Popen(server, cwd=data, stdout=log, stderr=log))
        # What makes the containers is not what is tested: plain requests, without a client of anybody's.
        ask("PUT", f"http://127.0.0.1:{s3}/lake")
        ask("GET", f"http://127.0.0.1:{gcs}/lake")
        ask("POST", f"http://127.0.0.1:{emulator}/storage/v1/b?project=test", b'{"name": "lake"}')
        ask("GET", f"http://127.0.0.1:{blob}/")
        environment = {
            **os.environ,
            "PAYOUTLAKE_TEST_AZURITE": str(program),
            "PAYOUTLAKE_TEST_AZURE_URL": f"http://127.0.0.1:{blob}",
            "PAYOUTLAKE_TEST_S3_URL": f"http://127.0.0.1:{s3}",
            "PAYOUTLAKE_TEST_GCS_URL": f"http://127.0.0.1:{gcs}",
            "PAYOUTLAKE_TEST_GCS_EMULATOR_URL": f"http://127.0.0.1:{emulator}",
        }
        make_container(environment["PAYOUTLAKE_TEST_AZURE_URL"])
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
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    resource = f"/{account}/{account}/lake\nrestype:container"
    to_sign = "PUT" + "\n" * 12 + headers + resource
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), to_sign.encode(), "sha256")).decode()
    request = urllib.request.Request(f"{url}/{account}/lake?restype=container", method="PUT")
    request.add_header("x-ms-date", date)
    request.add_header("x-ms-version", "2021-08-06")
    request.add_header("Authorization", f"SharedKey {account}:{signature}")
    urllib.request.urlopen(request, timeout=PATIENCE)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
