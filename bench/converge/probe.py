"""Asks each URL over and over, a new connection each time, one after the other, and tells of every answer.

probe.py PER_SECOND URL...: asks each URL so many times a second at most, until standard input ends. A line for each request:
when it was sent (milliseconds since the epoch), which URL (from 0), and the first word of the answer, or "-" when there was none.
"""
import http.client
import sys
import threading
import time
import urllib.parse

PATIENCE_S = 1.0


def ask(address):
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        words = answer.read().split()
        return words[0].decode() if answer.status == 200 and words else "-"
    except (OSError, http.client.HTTPException):
        return "-"
    finally:
        connection.close()


def probe(index, url, gap_s, over):
    address = urllib.parse.urlsplit(url)
    while not over.is_set():
        sent = time.time()
        said = ask(address)
        sys.stdout.write(f"{sent * 1000:.0f} {index} {said}\n")
        sys.stdout.flush()
        over.wait(max(0.0, sent + gap_s - time.time()))


def main(per_second, *urls):
    over = threading.Event()
    probes = [
        threading.Thread(target=probe, args=(index, url, 1 / float(per_second), over))
        for index, url in enumerate(urls)
    ]
    for each in probes:
        each.start()
    sys.stdin.read()
    over.set()
    for each in probes:
        each.join()


main(*sys.argv[1:])
