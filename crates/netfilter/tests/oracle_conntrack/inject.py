# Sends and receives raw frames at the two ends of a router's namespace.
#
# Arguments: the names of the namespaces of the two ends and of the router. Reads lines: `A hex` or `B hex`
# sends a frame from that end; `recv` prints what has come in at either end since, a line each, then `.`.
# The router's interfaces `ra` and `rb` are told not to vouch for checksums they have not looked at.
import ctypes, fcntl, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)


def enter(name):
    with open("/var/run/netns/" + name) as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def packet_socket(namespace, interface):
    enter(namespace)
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    end.bind((interface, 0x0800))
    end.setblocking(False)
    return end


def checksums_off(interface):
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ETHTOOL_SRXCSUM, SIOCETHTOOL = 0x15, 0x8946
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_SRXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
    fcntl.ioctl(asker, SIOCETHTOOL, request)


ends = {"A": packet_socket(sys.argv[1], "a0"), "B": packet_socket(sys.argv[2], "b0")}
enter(sys.argv[3])
checksums_off("ra")
checksums_off("rb")
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] in ends:
        ends[words[0]].send(bytes.fromhex(words[1]))
    else:
        for name, end in ends.items():
            while True:
                try:
                    frame, address = end.recvfrom(65536)
                except BlockingIOError:
                    break
                OUTGOING = 4
                if address[2] != OUTGOING:
                    print(name, frame.hex())
    print(".", flush=True)
