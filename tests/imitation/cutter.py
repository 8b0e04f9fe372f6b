#!/usr/bin/env python3
"""A TCP proxy that breaks connections.

    cutter.py --to HOST:PORT --cut BYTES --times N --log FILE

Prints "ready PORT". The first N connections that bring more than BYTES are cut there with a reset; everything else goes
through. The log gets the Range of each request, and how much each connection brought.
"""

import argparse
import json
import re
import socket
import struct
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--to", required=True)
parser.add_argument("--cut", type=int, required=True)
parser.add_argument("--times", type=int, required=True)
parser.add_argument("--log", required=True)
options = parser.parse_args()
host, _, port = options.to.rpartition(":")
left, lock = options.times, threading.Lock()


def may_cut():
    global left
    with lock:
        left -= 1
        return left >= 0


def note(**entry):
    with lock, open(options.log, "a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def serve(client):
    server = socket.create_connection((host, int(port)))
    threading.Thread(target=forward, args=(client, server), daemon=True).start()
    passed = 0
    while piece := receive(server):
        if passed <= options.cut < passed + len(piece) and may_cut():
            client.sendall(piece[: options.cut - passed])
            passed = options.cut
            # A reset instead of a friendly end.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            break
        passed += len(piece)
        try:
            client.sendall(piece)
        except OSError:
            break
    note(passed=passed)
    end(client), end(server)


def forward(source, target):
    while piece := receive(source):
        for found in re.findall(rb"(?im)^range: *bytes=(\d+)-", piece):
            note(range=int(found))
        try:
            target.sendall(piece)
        except OSError:
            break
    end(target)


def receive(source):
    try:
        return source.recv(65_536)
    except OSError:
        return b""


def end(peer):
    try:
        # Wakes the thread that still reads from it, and sends nothing.
        peer.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    peer.close()


listener = socket.create_server(("127.0.0.1", 0))
print(f"ready {listener.getsockname()[1]}", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
