"""Receives datagrams as a service manager does, and prints each as a line of JSON with its instant.

peer-notify.py NAME: a path, or @ and an abstract name. It ends with its standard input.
"""

import json
import select
import socket
import sys
import time

name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind("\0" + name[1:] if name.startswith("@") else name)
print("ready", flush=True)
while True:
    readable, _, _ = select.select([receiver, sys.stdin], [], [])
    if sys.stdin in readable:
        break
    datagram = receiver.recv(65536).decode()
    print(json.dumps({"atUs": time.monotonic_ns() // 1000, "lines": datagram.split("\n")}), flush=True)
