"""What the kernel holds for every TCP connection of a process, read by borrowing its descriptors: a
second witness beside our own reader. Argument: PID. Answers JSON: local and remote address and port,
SO_KEEPALIVE, time, interval, probes, user timeout.
"""
import ctypes
import json
import os
import socket
import sys

PIDFD_GETFD = 438
OPTIONS = [(1, 9), (6, 4), (6, 5), (6, 6), (6, 18)]

pid = int(sys.argv[1])
process = os.pidfd_open(pid)
found = []
for name in os.listdir(f"/proc/{pid}/fd"):
    try:
        if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            continue
        fd = ctypes.CDLL(None).syscall(PIDFD_GETFD, process, int(name), 0)
        with socket.socket(fileno=fd) as borrowed:
            local, remote = borrowed.getsockname(), borrowed.getpeername()
            values = [borrowed.getsockopt(*option) for option in OPTIONS]
            found.append([list(local[:2]), list(remote[:2]), *values])
    except OSError:
        continue
print(json.dumps(found))
