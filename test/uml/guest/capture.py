"""
Counts what passes a device until its standard input ends, then prints one JSON line.
argv: device, UDP port of encrypted VXLAN, marker (hex) that must not be seen.
"""
import json, select, socket, sys

device, port, marker = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
packets.bind((device, 0))
count = {"frames": 0, "esp": 0, "fragments": 0, "clear": 0, "marked": 0, "longest": 0}


def look(frame):
    count["frames"] += 1
    if marker in frame:
        count["marked"] += 1
    if frame[12:14] != b"\x08\x00":
        return
    header = 4 * (frame[14] & 15)
    protocol, payload = frame[23], frame[14 + header:]
    if int.from_bytes(frame[20:22], "big") & 0x3FFF:
        count["fragments"] += 1
    if protocol == 50:
        count["esp"] += 1
        count["longest"] = max(count["longest"], len(frame) - 14)
    if protocol == 17 and int.from_bytes(payload[2:4], "big") == port:
        count["clear"] += 1


print("{}", flush=True)
ending = False
while True:
    ready, _, _ = select.select([packets] if ending else [packets, sys.stdin], [], [], 0.2 if ending else None)
    if packets in ready:
        look(packets.recv(65536))
    elif ending:
        break
    if sys.stdin in ready:
        ending = True
print(json.dumps(count), flush=True)
