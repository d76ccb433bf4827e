"""One end of a conformance run's traffic, inside one network namespace. Reads a request a line from standard input, each
in a thread of its own, and answers with its id: {"id": 1, "op": "open", ...} -> {"id": 1, "value": ...}. What the network
refuses is a value ({"failed": "ECONNREFUSED", "ms": 3}), never an error. Python because it has all socket options, raw
sockets and SCTP in its own library; peer.ts is the other side of the pipe.

A server tells who it is and whom it saw: {"task": NAME, "client": "ADDRESS:PORT", "local": "ADDRESS:PORT"}.
"""
import errno
import hashlib
import json
import os
import random
import selectors
import socket
import statistics
import struct
import sys
import threading
import time

NAME = sys.argv[1]
TIMEOUT_S = 4
# linux/in.h, linux/errqueue.h
IP_MTU_DISCOVER, IP_PMTUDISC_DONT, IP_PMTUDISC_DO = 10, 0, 2
IP_PKTINFO, IP_RECVERR = 8, 11
IPPROTO_SCTP = 132

connections = {}
served = {}  # by the client's endpoint: the socket, and why it ended
loads = {}
streams = {}
lock = threading.Lock()
next_id = iter(range(1, 1 << 30))
# A balancer remembers a UDP flow for minutes: a port that the kernel picks at random may be one that an earlier check
# used, and be answered by that flow's task. So no datagram socket gets a port twice.
fresh_udp_ports = iter(range(10_000, 32_000))
# The checks name source ports from 32000 on; connections that name none must not have taken one of them.
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ephemeral_ports:
    ephemeral_ports.write("42000 60999")


def failure(err, started):
    name = "TIMEOUT" if isinstance(err, TimeoutError) else errno.errorcode.get(err.errno or 0, "EOF")
    return {"failed": name, "ms": round((time.monotonic() - started) * 1000)}


def endpoint(address):
    return f"{address[0]}:{address[1]}"


def identity(client, local):
    return {"task": NAME, "client": endpoint(client), "local": endpoint(local)}


# --- Streams: TCP, and SCTP where the kernel has it. -----------------------------------------------------------------


def stream_socket(protocol):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP if protocol == "sctp" else 0)


def listen(protocol, port, address="0.0.0.0"):
    server = stream_socket(protocol)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(1024)

    def accept():
        while True:
            sock, _ = server.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve(sock):
    """`who` gives the identity; `give N` N bytes; `take N` reads N bytes and gives their digest."""
    connection = {"sock": sock, "ended": None}
    try:
        who = identity(sock.getpeername(), sock.getsockname())
        served[who["client"]] = connection
        with sock, sock.makefile("rwb") as stream:
            for line in stream:
                command, _, argument = line.decode().strip().partition(" ")
                if command == "give":
                    stream.write(pattern(int(argument)))
                elif command == "take":
                    stream.write((digest(stream.read(int(argument))) + "\n").encode())
                else:
                    stream.write((json.dumps(who) + "\n").encode())
                stream.flush()
    except OSError as err:
        connection["ended"] = err  # seldom asked for: the client's end tells what happened


def speak_until_failure(client):
    """What a server learns that goes on sending to a client. The thread that serves it reads, and so may hear first."""
    started = time.monotonic()
    connection = served[client]
    while time.monotonic() < started + TIMEOUT_S and not connection["ended"]:
        try:
            connection["sock"].send(b".")
        except OSError as err:
            connection["ended"] = connection["ended"] or err
        time.sleep(0.02)
    return failure(connection["ended"] or TimeoutError(), started)


def pattern(count):
    block = hashlib.sha256(b"skep").digest() * 32
    return (block * (count // len(block) + 1))[:count]


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def connect(host, port, source_port=0, source=None, protocol="tcp", timeout_s=TIMEOUT_S):
    sock = stream_socket(protocol)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source_port or source:
            sock.bind((source or "0.0.0.0", source_port))
        sock.connect((host, port))
        return sock
    except BaseException:
        sock.close()
        raise


def open_connection(**options):
    started = time.monotonic()
    try:
        sock = connect(**options)
    except OSError as err:
        return failure(err, started)
    with lock:
        number = next(next_id)
        connections[number] = (sock, sock.makefile("rwb"))
    return {"connection": number, "port": sock.getsockname()[1], "ms": round((time.monotonic() - started) * 1000)}


def ask_stream(stream):
    stream.write(b"who\n")
    stream.flush()
    line = stream.readline()
    if not line:
        raise OSError(0, "closed")
    return json.loads(line)


def ask(connection):
    started = time.monotonic()
    try:
        return ask_stream(connections[connection][1])
    except OSError as err:
        return failure(err, started)


def transfer(connection, give=0, take=0):
    """Receives `give` bytes, sends `take` bytes; true when both arrived as they were sent."""
    stream = connections[connection][1]
    started = time.monotonic()
    try:
        stream.write(f"give {give}\n".encode())
        stream.flush()
        got = stream.read(give)
        sent = pattern(take)
        stream.write(f"take {take}\n".encode() + sent)
        stream.flush()
        return {"intact": got == pattern(give) and stream.readline().decode().strip() == digest(sent)}
    except OSError as err:
        return failure(err, started)


def close(connection, reset=False):
    sock, stream = connections.pop(connection)
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        stream.close()
    except OSError:
        pass
    sock.close()
    return True


def once(options):
    started = time.monotonic()
    try:
        with connect(**options) as sock, sock.makefile("rwb") as stream:
            return ask_stream(stream)
    except OSError as err:
        return failure(err, started)


def many(count, **options):
    return [once(options) for _ in range(count)]


def start_load(kept, **options):
    """Keeps connections in use and opens new ones, until stopped; counts what failed. Paced, so that a guest with one slow
    processor can do something else meanwhile."""
    load = {"stop": threading.Event(), "asked": 0, "opened": 0, "failed": [], "threads": []}

    def keep():
        try:
            with connect(**options) as sock, sock.makefile("rwb") as stream:
                while not load["stop"].is_set():
                    ask_stream(stream)
                    load["asked"] += 1
                    time.sleep(0.02)
        except OSError as err:
            load["failed"].append({"kept": True, **failure(err, time.monotonic())})

    def renew():
        while not load["stop"].is_set():
            answer = once(options)
            load["opened"] += 1
            if "failed" in answer:
                load["failed"].append({"kept": False, **answer})
            time.sleep(0.04)

    for target in [keep] * kept + [renew]:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        load["threads"].append(thread)
    with lock:
        number = next(next_id)
        loads[number] = load
    return number


def await_load(load, count):
    """Returns once `count` more connections have been tried."""
    found = loads[load]
    enough, deadline = found["opened"] + count, time.monotonic() + TIMEOUT_S * 2
    while found["opened"] < enough:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found['opened']} of {enough} connections")
        time.sleep(0.01)


def stop_load(load):
    found = loads.pop(load)
    found["stop"].set()
    for thread in found["threads"]:
        thread.join(TIMEOUT_S * 2)
    return {"asked": found["asked"], "opened": found["opened"], "failed": found["failed"]}


# --- Many flows at once. ----------------------------------------------------------------------------------------------

FLOOD_WIDTH = 64  # at a time
FLOOD_TIMEOUT_S = 15  # a lost SYN is sent again after 1, 3 and 7 seconds


def flood(host, port, count):
    """`count` connections from ports of the kernel's choice. Ended with a reset, so that none of them waits for its end."""

    def begin():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.setblocking(False)
        sock.connect_ex((host, port))
        return sock

    return flood_with(begin, b"who\n", (host, port), count)


def flood_udp(host, port, count):
    """`count` datagrams from as many ports."""

    def begin():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("0.0.0.0", next(fresh_udp_ports)))
        sock.connect((host, port))
        return sock

    return flood_with(begin, pattern(64), (host, port), count)


def flood_with(begin, question, server, count):
    right, wrong, begun, wrong_count = {}, [], 0, 0
    selector = selectors.DefaultSelector()

    def note(text):
        nonlocal wrong_count
        wrong_count += 1
        if len(wrong) < 10:
            wrong.append(text)

    while begun < count or selector.get_map():
        while begun < count and len(selector.get_map()) < FLOOD_WIDTH:
            selector.register(begin(), selectors.EVENT_WRITE, time.monotonic() + FLOOD_TIMEOUT_S)
            begun += 1
        for key, events in selector.select(1):
            sock = key.fileobj
            try:
                if events & selectors.EVENT_WRITE:
                    sock.send(question)
                    selector.modify(sock, selectors.EVENT_READ, key.data)
                    continue
                answer = json.loads(sock.recv(65536).partition(b"\n")[0])
                if answer["client"] == endpoint(sock.getsockname()):
                    right[answer["task"]] = right.get(answer["task"], 0) + 1
                else:
                    note(f"{answer['task']} saw {endpoint(sock.getsockname())} as {answer['client']}")
            except (OSError, ValueError) as err:
                note(f"{type(err).__name__}: {err}")
            selector.unregister(sock)
            sock.close()
        now = time.monotonic()
        for key in [key for key in selector.get_map().values() if key.data < now]:
            note(f"no answer within {FLOOD_TIMEOUT_S} s")
            selector.unregister(key.fileobj)
            key.fileobj.close()
    return {"right": right, "wrong": wrong, "wrongCount": wrong_count}


# --- Datagrams. ------------------------------------------------------------------------------------------------------


def listen_udp(port, any_source=False):
    """Answers with its identity, and with the request after it. `any_source`: as most servers do, without asking the
    kernel to which address the request went; the kernel then chooses the answer's source."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind(("0.0.0.0", port))

    def answer():
        while True:
            try:
                data, ancillary, _, client = server.recvmsg(65536, 256)
                info = next(value for _, kind, value in ancillary if kind == IP_PKTINFO)
                local = socket.inet_ntoa(info[8:12])
                told = {**identity(client, (local, port)), "digest": digest(data)}
                if data[:1].isdigit() and data.rstrip().isdigit():
                    told["number"] = int(data)
                head = json.dumps(told).encode() + b"\n"
                reply = head + data[len(head) :]
                back = [] if any_source else [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, info[8:12], bytes(4)))]
                server.sendmsg([reply], back, 0, client)
            except OSError:
                continue  # an ICMP error about an earlier answer

    threading.Thread(target=answer, daemon=True).start()


def ask_udp(host, port, source_port=None, source="0.0.0.0", size=64, count=1, dont_fragment=False, timeout_s=TIMEOUT_S):
    """`count` datagrams from one port, each after the other's answer. Answers from another address are told by `from`.
    `source_port` 0: one of the kernel's choice."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mode = IP_PMTUDISC_DO if dont_fragment else IP_PMTUDISC_DONT
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, mode)
        sock.bind((source, next(fresh_udp_ports) if source_port is None else source_port))
        sock.settimeout(timeout_s)
        answers = []
        for _ in range(count):
            started = time.monotonic()
            request = pattern(size)
            try:
                sock.sendto(request, (host, port))
                data, sender = sock.recvfrom(65536)
                head, _, rest = data.partition(b"\n")
                answer = json.loads(head)
                intact = answer["digest"] == digest(request) and rest == request[len(head) + 1 :]
                answers.append({**answer, "from": endpoint(sender), "intact": intact, "bytes": len(data)})
            except OSError as err:
                answers.append(failure(err, started))
        return answers


def many_udp(count, **options):
    return [ask_udp(**options)[0] for _ in range(count)]


def start_datagrams(host, port, source_port, per_second):
    """Numbered datagrams from one port, each at its time whether or not earlier ones were answered."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", source_port))
    sock.settimeout(0.5)
    stream = {"sock": sock, "sent": [], "answered": [], "task": None, "running": True}

    def send():
        started = time.monotonic()
        while stream["running"]:
            number = len(stream["sent"])
            stream["sent"].append(time.monotonic())
            try:
                sock.sendto(str(number).encode().ljust(300), (host, port))
            except OSError:
                pass  # an ICMP error about an earlier one: this one counts as not answered
            time.sleep(max(0, started + (number + 1) / per_second - time.monotonic()))

    def receive():
        while True:
            try:
                head, _, rest = sock.recv(65536).partition(b"\n")
            except TimeoutError:
                if not stream["running"]:
                    return
                continue
            except OSError:
                continue
            answer = json.loads(head)
            stream["task"] = answer["task"]
            stream["answered"].append(answer["number"])

    stream["threads"] = [threading.Thread(target=work, daemon=True) for work in (send, receive)]
    for thread in stream["threads"]:
        thread.start()
    with lock:
        number = next(next_id)
        streams[number] = stream
    return number


def datagrams_task(stream):
    """Who answered last."""
    return streams[stream]["task"]


def stop_datagrams(stream):
    """`blackMs`: longest time from the sending of a datagram that was not answered to that of the next one that was."""
    found = streams[stream]
    found["running"] = False
    for thread in found["threads"]:
        thread.join(TIMEOUT_S)
    found["sock"].close()
    sent, answered = found["sent"], set(found["answered"])
    black, since = 0.0, None
    for number, at in enumerate(sent):
        if number not in answered:
            since = at if since is None else since
        elif since is not None:
            black, since = max(black, at - since), None
    if since is not None:
        black = max(black, sent[-1] - since)
    return {"sent": len(sent), "answered": len(answered), "blackMs": round(black * 1000)}


def send_costs(host, port, count, runs):
    """Microseconds that a datagram takes this thread on its way to where it is queued: of a flow that is
    known, and of a new one. The median of some runs, for others were disturbed. Once ksoftirqd is awake a call but queues
    its packet: on one processor, and let go of after each, the way of the packet is in the time of its sender."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def median(open_sockets):
        costs = []
        for _ in range(runs):
            sockets = open_sockets()
            started = time.perf_counter_ns()
            for sock in sockets:
                sock.sendto(b"cost", (host, port))
                os.sched_yield()
            costs.append((time.perf_counter_ns() - started) / 1000 / count)
            for sock in set(sockets):
                sock.close()
        return statistics.median(costs)

    def kept():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.sendto(b"first", (host, port))
        return [sock] * count

    return {
        "keptUs": median(kept),
        "newUs": median(lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]),
    }


def icmp_error(host, port, size=32, dont_fragment=False, source_port=0, timeout_s=TIMEOUT_S):
    """Sends a datagram and gives the ICMP error that came for it: {type, code, info, offender, destination}."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO if dont_fragment else IP_PMTUDISC_DONT)
        sock.bind(("0.0.0.0", source_port or next(fresh_udp_ports)))
        sock.connect((host, port))
        started = time.monotonic()
        sock.send(pattern(size))
        deadline = started + timeout_s
        while time.monotonic() < deadline:
            try:
                _, ancillary, _, destination = sock.recvmsg(65536, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            for _, kind, value in ancillary:
                if kind == IP_RECVERR:
                    code, origin, icmp_type, icmp_code, _, info, _ = struct.unpack("=IBBBBII", value[:16])
                    return {
                        "errno": errno.errorcode.get(code, str(code)),
                        "local": origin == 1,
                        "type": icmp_type,
                        "code": icmp_code,
                        "info": info,
                        "offender": socket.inet_ntoa(value[20:24]),
                        "destination": endpoint(destination),
                    }
        return {"failed": "TIMEOUT", "ms": round((time.monotonic() - started) * 1000)}


# --- SCTP packets of our own making, for kernels without it. ---------------------------------------------------------

DATA, INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK = 0, 1, 2, 10, 11
# Every packet bears the tag that its receiver gave in INIT or INIT ACK; connection tracking drops others.
CLIENT_TAG, SERVER_TAG = 9, 7
CRC32C = []
for value in range(256):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    CRC32C.append(value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def sctp_packet(source_port, destination_port, tag, chunk_type, body):
    chunk = struct.pack("!BBH", chunk_type, 3 if chunk_type == DATA else 0, 4 + len(body)) + body
    chunk += bytes(-len(chunk) % 4)
    head = struct.pack("!HHI", source_port, destination_port, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def parse_sctp(packet):
    """{source, destination, source_port, destination_port, tag, type, body}, None when the checksum is wrong."""
    header = (packet[0] & 15) * 4
    segment = packet[header:]
    source_port, destination_port, tag, crc = struct.unpack("!HHI", segment[:8]) + struct.unpack("<I", segment[8:12])
    if crc32c(segment[:8] + bytes(4) + segment[12:]) != crc:
        return None
    chunk_type, _, length = struct.unpack("!BBH", segment[12:16])
    return {
        "source": socket.inet_ntoa(packet[12:16]),
        "destination": socket.inet_ntoa(packet[16:20]),
        "source_port": source_port,
        "destination_port": destination_port,
        "tag": tag,
        "type": chunk_type,
        "body": segment[16 : 12 + length],
    }


def listen_raw_sctp(port):
    """Takes part in an association as far as its packets' order goes; DATA is answered with DATA: the identity."""
    server = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_SCTP)

    def answer():
        while True:
            packet = server.recv(65536)
            seen = parse_sctp(packet)
            if seen is None or seen["destination_port"] != port:
                continue
            client, local = (seen["source"], seen["source_port"]), (seen["destination"], port)
            head = struct.pack("!IHHI", 1, 0, 0, 0)
            cookie = b"\x00\x07\x00\x08cook"
            reply = {
                INIT: (INIT_ACK, struct.pack("!IIHHI", SERVER_TAG, 65536, 1, 1, 1) + cookie),
                COOKIE_ECHO: (COOKIE_ACK, b""),
                DATA: (DATA, head + json.dumps(identity(client, local)).encode()),
            }.get(seen["type"])
            if reply is None:
                continue
            back = struct.pack("=I4s4s", 0, socket.inet_aton(seen["destination"]), bytes(4))
            data = sctp_packet(port, seen["source_port"], CLIENT_TAG, *reply)
            server.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, back)], 0, (seen["source"], 0))

    threading.Thread(target=answer, daemon=True).start()


def ask_raw_sctp(host, port, source_port=0, count=1):
    """INIT, COOKIE ECHO and `count` times DATA, each after the other's reply; a reply with a wrong checksum is none."""
    source_port = source_port or random.randrange(20000, 60000)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_SCTP) as sock:
        started = time.monotonic()

        def exchange(tag, chunk_type, body, expected):
            sock.sendto(sctp_packet(source_port, port, tag, chunk_type, body), (host, 0))
            while True:
                sock.settimeout(max(0.01, started + TIMEOUT_S - time.monotonic()))
                seen = parse_sctp(sock.recv(65536))
                if seen and seen["source"] == host and seen["source_port"] == port and seen["destination_port"] == source_port:
                    assert seen["type"] == expected, seen
                    return seen["body"]

        try:
            exchange(0, INIT, struct.pack("!IIHHI", CLIENT_TAG, 65536, 1, 1, 1), INIT_ACK)
            exchange(SERVER_TAG, COOKIE_ECHO, b"cook", COOKIE_ACK)
            data = struct.pack("!IHHI", 1, 0, 0, 0) + b"hello"
            return [json.loads(exchange(SERVER_TAG, DATA, data, DATA)[12:]) for _ in range(count)]
        except OSError as err:
            return [failure(err, started)]


def has_sctp():
    try:
        stream_socket("sctp").close()
        return True
    except OSError:
        return False


OPS = {
    "listen": listen,
    "speakUntilFailure": speak_until_failure,
    "open": open_connection,
    "ask": ask,
    "transfer": transfer,
    "close": close,
    "many": many,
    "startLoad": start_load,
    "awaitLoad": await_load,
    "stopLoad": stop_load,
    "listenUdp": listen_udp,
    "askUdp": ask_udp,
    "manyUdp": many_udp,
    "startDatagrams": start_datagrams,
    "datagramsTask": datagrams_task,
    "stopDatagrams": stop_datagrams,
    "flood": flood,
    "floodUdp": flood_udp,
    "sendCosts": send_costs,
    "icmpError": icmp_error,
    "listenRawSctp": listen_raw_sctp,
    "askRawSctp": ask_raw_sctp,
    "hasSctp": has_sctp,
}


def handle(request):
    number, op = request.pop("id"), request.pop("op")
    try:
        answer = {"id": number, "value": OPS[op](**request)}
    except Exception as err:  # a fault of this program or its caller: the other side throws it
        answer = {"id": number, "error": f"{op}: {type(err).__name__}: {err}"}
    with lock:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


for row in sys.stdin:
    threading.Thread(target=handle, args=(json.loads(row),), daemon=True).start()
os._exit(0)
