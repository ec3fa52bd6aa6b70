"""python3 peer-mptcp.py PORT [tcp]: echoes on every address of this machine, by Multipath TCP or plain TCP."""
import socket
import sys
import threading

IPPROTO_MPTCP = 262


def echo(connection):
    with connection:
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            connection.sendall(data)


protocol = 0 if "tcp" in sys.argv[2:] else IPPROTO_MPTCP
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("0.0.0.0", int(sys.argv[1])))
server.listen(16)
print("listening", flush=True)
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
