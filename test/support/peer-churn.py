"""Opens and closes connections to itself without end, to two ports, beside some that it holds, and watches
what somebody does to them from outside. Descriptors and local ports change hands between the two ports
all the time. Arguments: ADDRESS MEANT-PORT OTHER-PORT HELD CHURNING TIME INTERVAL PROBES USER-TIMEOUT.

Says `ready HELD` and then, for each line on standard input, a line of JSON: how many were opened so far;
of those to the other port how many had anything set; of those to the port that is meant how many had
something else set than what was meant; and, once all of that is told, `held` and `missed` of those
held at the port that is meant.
"""
import collections
import json
import random
import select
import socket
import struct
import sys

address, meant, other, *numbers = sys.argv[1:]
held, churning, *wanted = map(int, numbers)
OPTIONS = [(1, 9), (6, 4), (6, 5), (6, 6), (6, 18)]
WANTED = [1, *wanted]
RST_ON_CLOSE = struct.pack("ii", 1, 0)
#: So many are closed by RST for one that is closed by FIN and stays in TIME-WAIT.
RST_PER_FIN = 15
BATCH = 10
#: The machine is left some time for others.
REST_S = 0.003

listeners = {}
for port in (meant, other):
    listeners[port] = socket.socket()
    listeners[port].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listeners[port].bind((address, int(port)))
    listeners[port].listen(64)


def values(one):
    return [one.getsockopt(*option) for option in OPTIONS]


plain = values(socket.socket())
counts = collections.Counter(opened=0, touched=0, wrong=0, treated=0)


def pair(port):
    one = socket.socket()
    one.connect((address, int(port)))
    counts["opened"] += 1
    return port, one, listeners[port].accept()[0]


def look(port, *ends):
    for end in ends:
        now = values(end)
        if port == other:
            counts["touched"] += now != plain
        elif now != plain:
            # One after the other: somebody may be about to set the rest.
            half = all(value in each for value, each in zip(now, zip(plain, WANTED)))
            counts["treated" if half else "wrong"] += 1


def close(port, one, accepted):
    look(port, one, accepted)
    if counts["opened"] % RST_PER_FIN != 0:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    one.close()
    accepted.close()


kept = [pair(port) for _ in range(held) for port in (meant, other)]
moving = [pair((meant, other)[index % 2]) for index in range(churning)]
print(f"ready {2 * len(kept)}", flush=True)
while True:
    for _ in range(BATCH):
        # Any one: some live long and some short. Its descriptors are at once those of another port.
        index = random.randrange(churning)
        close(*moving[index])
        moving[index] = pair(other if moving[index][0] == meant else meant)
    if not select.select([sys.stdin], [], [], REST_S)[0]:
        continue
    if sys.stdin.readline() == "":
        break
    for port, *ends in kept:
        if port == other:
            look(port, *ends)
    ends = [end for port, *both in kept if port == meant for end in both]
    missed = sum(values(end) != WANTED for end in ends)
    print(json.dumps({**counts, "held": len(ends), "missed": missed}), flush=True)
