"""Servers, port publishers and clients in many network namespaces, in one process.

Reads one JSON object a line and answers with one line of JSON:
{"serve": {"ns", "protocol", "port", "name"}}           a server that says who it is and who asked
{"publish": {"ns", "addr", "port", "to": [addr, port]}} a proxy that accepts and connects again
{"ask": {"ns", "protocol", "to": [addr, port], "times", "timeout"}} the answers, or how curl would have failed
"""

import ctypes
import errno
import json
import select
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(ns):
    """Sockets that this thread opens from now on are in the namespace."""
    with open(f"/run/netns/{ns}") as f:
        if LIBC.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {ns}")


def in_thread(ns, work, *args):
    """Does the work in a thread of a namespace; returns when it has opened what it opens."""
    ready = threading.Event()
    failure = []

    def run():
        try:
            enter(ns)
            loop = work(*args)
        except OSError as error:
            failure.append(str(error))
            ready.set()
            return
        ready.set()
        loop()

    threading.Thread(target=run, daemon=True).start()
    ready.wait()
    if failure:
        raise OSError(failure[0])


def listen(addr, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(64)
    return s


def serve_tcp(port, name):
    listener = listen("", port)

    def answer(connection, peer):
        with connection:
            connection.settimeout(10)
            request = b""
            while b"\r\n\r\n" not in request:
                more = connection.recv(4096)
                if not more:
                    return
                request += more
            body = f"Hostname: {name}\nRemoteAddr: {peer[0]}:{peer[1]}\n"
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall((head + body).encode())

    def loop():
        while True:
            connection, peer = listener.accept()
            try:
                answer(connection, peer)
            except OSError:
                pass

    return loop


def serve_udp(port, name):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # It answers from the address that was asked.
    s.setsockopt(socket.IPPROTO_IP, 8, 1)
    s.bind(("", port))

    def loop():
        while True:
            _, ancillary, _, peer = s.recvmsg(2048, 256)
            asked = [socket.inet_ntoa(data[4:8]) for _, kind, data in ancillary if kind == 8]
            info = bytes(4) + socket.inet_aton(asked[0]) + bytes(4)
            answer = f"Hostname: {name}\nRemoteAddr: {peer[0]}:{peer[1]}\n".encode()
            s.sendmsg([answer], [(socket.IPPROTO_IP, 8, info)], 0, peer)

    return loop


def copy(source, sink):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()


def publish(ns, addr, port, to):
    listener = listen(addr, port)

    def relay(client):
        enter(ns)
        try:
            server = socket.create_connection(tuple(to), timeout=10)
        except OSError:
            # What has been sent by now, and is not read, makes a reset of the end.
            select.select([client], [], [], 1)
            client.close()
            return
        server.settimeout(None)
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join()
        client.close()
        server.close()

    def loop():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=relay, args=(client,), daemon=True).start()

    return loop


def outcome(text):
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Hostname" not in fields:
        return "52 empty reply"
    return f"{fields['Hostname']} saw {fields['RemoteAddr'].rsplit(':', 1)[0]}"


FAILURES = {
    errno.ECONNREFUSED: "7 refused",
    errno.EHOSTUNREACH: "7 host unreachable",
    errno.ENETUNREACH: "7 net unreachable",
    errno.ECONNRESET: "56 reset",
    errno.ETIMEDOUT: "28 timed out",
}


def ask_tcp(to, timeout):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        s.connect(to)
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while True:
            more = s.recv(65536)
            if not more:
                return outcome(answer.decode())
            answer += more


def ask_udp(to, timeout):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect(to)
        s.send(b"who?")
        return outcome(s.recv(2048).decode())


def ask(ns, protocol, to, times, timeout):
    enter(ns)
    answers = []
    for _ in range(times):
        try:
            answers.append((ask_tcp if protocol == "tcp" else ask_udp)(tuple(to), timeout))
        except TimeoutError:
            answers.append("28 timed out")
        except OSError as error:
            answers.append(FAILURES.get(error.errno, f"7 {errno.errorcode.get(error.errno)}"))
    return answers


def obey(command):
    if "serve" in command:
        c = command["serve"]
        work = serve_tcp if c["protocol"] == "tcp" else serve_udp
        return in_thread(c["ns"], work, c["port"], c["name"])
    if "publish" in command:
        c = command["publish"]
        return in_thread(c["ns"], publish, c["ns"], c["addr"], c["port"], c["to"])
    return ask(**command["ask"])


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            answer = obey(json.loads(line))
        except Exception as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
