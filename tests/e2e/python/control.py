"""Speaks to a control lane over one TLS connection, and misbehaves on others. Prints one JSON object for each step.

usage: control.py PORT CA CERT KEY, then commands on standard input, one a line:
  get PATH          on the kept connection (opened with the first)
  idle              waits until the server closes the kept connection
  slow              sends a head byte by byte until the server has enough
  crowd COUNT       opens connections that say nothing; how many the server keeps
  body BYTES        sends a body of which only the first byte comes
"""

import http.client
import json
import socket
import ssl
import sys
import time

port, ca, cert, key = int(sys.argv[1]), *sys.argv[2:5]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
kept = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)


def tell(**fields):
    print(json.dumps(fields), flush=True)


def opened():
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


def until_closed(stream):
    began = time.monotonic()
    received = b""
    try:
        while True:
            part = stream.recv(4096)
            if not part:
                break
            received += part
    except (ConnectionError, ssl.SSLError):
        pass
    return time.monotonic() - began, received.decode(errors="replace")


for line in sys.stdin:
    command, *arguments = line.split()
    if command == "get":
        kept.request("GET", arguments[0])
        answer = kept.getresponse()
        body = answer.read().decode()
        local = kept.sock.getsockname()[1] if kept.sock else None
        tell(status=answer.status, headers=dict(answer.getheaders()), body=body, local=local)
    elif command == "idle":
        seconds, received = until_closed(kept.sock)
        kept.close()
        tell(closed=True, seconds=seconds, received=received)
    elif command == "slow":
        stream = opened()
        began = time.monotonic()
        sent = 0
        try:
            for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10000:
                stream.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.05)
        except (ConnectionError, ssl.SSLError, BrokenPipeError):
            pass
        tell(seconds=time.monotonic() - began, sent=sent)
    elif command == "crowd":
        streams = []
        for _ in range(int(arguments[0])):
            streams.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        alive = 0
        for stream in streams:
            stream.settimeout(0.3)
            try:
                alive += 1 if stream.recv(1) else 0
            except socket.timeout:
                alive += 1
            except ConnectionError:
                pass
        for stream in streams:
            stream.close()
        tell(alive=alive)
    elif command == "body":
        stream = opened()
        head = "PUT /v1/loglevel HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n{"
        stream.sendall((head % arguments[0]).encode())
        stream.settimeout(20)
        answer = stream.recv(4096).decode(errors="replace")
        tell(answer=answer.splitlines()[0] if answer else "")
