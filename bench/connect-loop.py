"""Makes and ends loopback connections as fast as it can, for bench/sockets.ts.

Argument: the control group that the connecting side moves into (the accepting side stays out: on a
real machine one end of a connection is elsewhere). For each line on standard input it prints the
microseconds that one connection took.
"""
import os
import socket
import struct
import sys
import time

COUNT = 3000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
port = listener.getsockname()[1]
parent = os.getpid()
if os.fork() == 0:
    listener.settimeout(1)
    while os.getppid() == parent:
        try:
            listener.accept()[0].close()
        except TimeoutError:
            pass
    os._exit(0)
listener.close()
with open(os.path.join(sys.argv[1], "cgroup.procs"), "w") as members:
    members.write(str(parent))


def connect_and_close():
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.connect(("127.0.0.1", port))
    client.close()


print(port, flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    for _ in range(COUNT):
        connect_and_close()
    print((time.perf_counter() - started) / COUNT * 1e6, flush=True)
