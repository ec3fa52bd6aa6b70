"""A program that sets no keepalive unless it is told to. A line on standard input is an order with a
number before it, the answer is a line with `=` and the same number. A connection is named by the port
of the end that made it: `c40000` at that end, `a40000` where it was accepted.

  listen ADDRESS PORT                        :: takes IPv4 too
  backlog ADDRESS PORT                       listens and never accepts
  connect ADDRESS PORT [FROM ADDRESS PORT] [SECONDS]
                                             with keepalive set before connecting, if SECONDS are given
  options NAME                               SO_KEEPALIVE, time, interval, probes, user timeout
  set NAME KEEPALIVE TIME INTERVAL PROBES USER-TIMEOUT
  nodelay NAME                               sets TCP_NODELAY, and answers what it is then
  send NAME TEXT / read NAME / close NAME    read answers when it wakes, with what or by which errno; close
                                             leaves nothing behind, for it sends a RST
  loop ADDRESS PORT, stop                    connects and closes without end, and counts what both ends got
  name TEXT                                  as JSON: what others know this process by
"""
import collections
import errno
import json
import socket
import struct
import sys
import threading

OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
]
WAIT_S = 30
RST_ON_CLOSE = struct.pack("ii", 1, 0)

connections = {}
#: Also those that another one is named like: what is forgotten is closed.
kept = []
known = threading.Condition()
stopping = threading.Event()


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def new_socket(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def listener(address, port):
    one = new_socket(address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "::":
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.bind((address, int(port)))
    one.listen(1024)
    return one


def remember(name, one):
    with known:
        kept.append(one)
        connections[name] = one
        known.notify_all()


def find(name):
    with known:
        if not known.wait_for(lambda: name in connections, WAIT_S):
            raise LookupError(name)
        return connections[name]


def options_of(one):
    return " ".join(str(one.getsockopt(*option)) for option in OPTIONS)


def accept_all(one):
    while True:
        accepted, remote = one.accept()
        remember(f"a{remote[1]}", accepted)


def listen(address, port):
    threading.Thread(target=accept_all, args=[listener(address, port)], daemon=True).start()
    return "listening"


def backlog(address, port):
    remember(f"l{port}", listener(address, port))
    return "listening"


def connect(address, port, from_address="", from_port="0", seconds=None):
    one = new_socket(address)
    if from_address != "":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A port that is asked for is given once; else two connections to two addresses may share one.
    one.bind((from_address, int(from_port)))
    if seconds is not None:
        for option, value in zip(OPTIONS[:2], (1, int(seconds))):
            one.setsockopt(*option, value)
    one.connect((address, int(port)))
    local = one.getsockname()[1]
    remember(f"c{local}", one)
    return str(local)


def set_options(name, *values):
    for option, value in zip(OPTIONS, values):
        find(name).setsockopt(*option, int(value))
    return "set"


def nodelay(name):
    find(name).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return str(find(name).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def read(name):
    data = find(name).recv(1000)
    return f"data {data.decode()}" if data else "end"


def send(name, text):
    find(name).sendall(text.encode())
    return "sent"


def reset_and_close(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    one.close()


def close(name):
    reset_and_close(find(name))
    del connections[name]
    return "closed"


def loop(address, port):
    stopping.clear()
    server = listener(address, port)
    counts = collections.Counter()
    while not stopping.is_set():
        one = new_socket(address)
        one.connect((address, int(port)))
        other, _ = server.accept()
        for end, made in (("made", one), ("accepted", other)):
            counts[f"{end} {options_of(made)}"] += 1
        reset_and_close(one)
        other.close()
    server.close()
    return json.dumps(counts)


def stop():
    stopping.set()
    return "stopping"


def name_process(*words):
    with open("/proc/self/comm", "w", encoding="utf8") as comm:
        comm.write(json.loads(" ".join(words)))
    return "named"


ORDERS = {
    "listen": listen,
    "backlog": backlog,
    "connect": connect,
    "set": set_options,
    "nodelay": nodelay,
    "send": send,
    "read": read,
    "close": close,
    "loop": loop,
    "stop": stop,
    "name": name_process,
    "options": lambda name: options_of(find(name)),
}
IN_THE_BACKGROUND = ["read", "loop"]


def carry_out(number, order, words):
    try:
        answer = ORDERS[order](*words)
    except OSError as error:
        answer = errno.errorcode.get(error.errno, str(error))
    say(f"={number} {answer}")


say("ready")
for line in sys.stdin:
    number, order, *words = line.split()
    if order in IN_THE_BACKGROUND:
        threading.Thread(target=carry_out, args=[number, order, words], daemon=True).start()
    else:
        carry_out(number, order, words)
