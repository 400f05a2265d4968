"""Puts packets on the cables of a router and says what comes out of it.

Runs in the namespace at the other end of the router's cables. Its argument is JSON:
{"ifaces": {NAME: {"router_mac", "router_ip", "mac", "ip"}}}. It reads lines `NAME HEX`, an interface of
the router and an IPv4 packet, perhaps with the seconds to wait before it is sent, and answers each with one
line `NAME HEX NAME HEX …`: what the router sent because of it, in order.
"""

import array
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
ARP, IPV4 = 0x0806, 0x0800


def no_checksum_offload(name):
    """Captured packets are to have their checksums."""
    value = array.array("I", [ETHTOOL_STXCSUM, 0])
    request = struct.pack("16sP", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCETHTOOL, request + bytes(16))


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


class Cable:
    def __init__(self, name, conf):
        self.name = name
        self.head = mac(conf["router_mac"]) + mac(conf["mac"]) + struct.pack("!H", IPV4)
        # "Who has the router's address?": its answer comes after everything that was sent before.
        self.probe = (
            mac(conf["router_mac"]) + mac(conf["mac"]) + struct.pack("!HHHBBH", ARP, 1, IPV4, 6, 4, 1)
            + mac(conf["mac"]) + socket.inet_aton(conf["ip"]) + bytes(6) + socket.inet_aton(conf["router_ip"])
        )


def collect(s, cable):
    """Everything up to the answer to the cable's probe."""
    seen = []
    while True:
        if not select.select([s], [], [], 5)[0]:
            return seen + ["-", "the router does not answer"]
        frame, (name, protocol, _, _, _) = s.recvfrom(65535)
        if protocol == ARP and name == cable.name and frame[20:22] == b"\0\2":
            return seen
        if protocol == IPV4:
            length = struct.unpack("!H", frame[16:18])[0]
            seen += [name, frame[14:14 + length].hex()]


def main():
    conf = json.loads(sys.argv[1])
    if "offload" in conf:
        for name in conf["offload"]:
            no_checksum_offload(name)
        return
    # One processor, so that the packets of one moment keep their order.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cables = {name: Cable(name, c) for name, c in conf["ifaces"].items()}
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    print("ready", flush=True)
    for line in sys.stdin:
        name, packet, *pause = line.split()
        time.sleep(float(pause[0]) if pause else 0)
        cable = cables[name]
        s.sendto(cable.head + bytes.fromhex(packet), (name, 0))
        s.sendto(cable.probe, (name, 0))
        print(" ".join(collect(s, cable)), flush=True)


main()
