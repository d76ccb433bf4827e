"""Bulk transfer for bench/engines: `serve PORT` sends zeroes to whoever connects; `take HOST PORT CONNECTIONS SECONDS` receives and
prints how many bytes a second came. Large buffers: what is to be measured is the path, not the ends."""
import socket
import sys
import threading
import time

BUFFER_BYTES = 1 << 18


def serve(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", port))
    server.listen(64)
    print("ready", flush=True)
    zeroes = bytes(BUFFER_BYTES)

    def send(sock):
        try:
            while True:
                sock.sendall(zeroes)
        except OSError:
            sock.close()

    while True:
        threading.Thread(target=send, args=(server.accept()[0],), daemon=True).start()


def take(host, port, connections, seconds):
    received = [0] * connections
    socks = [socket.create_connection((host, port), 5) for _ in range(connections)]
    begin = time.monotonic()

    def receive(index):
        buffer = bytearray(BUFFER_BYTES)
        while time.monotonic() - begin < seconds:
            count = socks[index].recv_into(buffer)
            if count == 0:
                raise SystemExit("the sender ended")
            received[index] += count

    threads = [threading.Thread(target=receive, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(received) / (time.monotonic() - begin))


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    take(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
