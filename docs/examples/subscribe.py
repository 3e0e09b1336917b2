#!/usr/bin/env python3
"""Prints the records of a session as they come, a JSON object in a line. Needs nothing but Python.

What is said on the wire stands in docs/subscriptions.md. The API key is read from the environment, KEY.
Exit code 1: the server closed the connection; the reason is on standard error.
"""

import argparse
import base64
import json
import os
import socket
import struct
import sys
from urllib.parse import urlsplit

QUERY = """subscription ($session: ID!, $from: Position) {
  sessionEvents(sessionId: $session, from: $from) { position type recordedAt }
}"""
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class WebSocket:
    """As much of RFC 6455 as a client of this protocol needs."""

    def __init__(self, url):
        address = urlsplit(url)
        self.stream = socket.create_connection((address.hostname, address.port or 80))
        self.input = self.stream.makefile("rb")
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(
            f"GET /graphql HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )
        status = self.input.readline().decode().strip()
        while self.input.readline().strip():
            pass
        if " 101 " not in status:
            sys.exit(f"no upgrade: {status}")

    def send(self, message, opcode=TEXT):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        mask = os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack(">BH", 0x80 | 126, len(data))
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(data))
        self.stream.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def receive(self):
        """The next message. Ends the program when the server closes."""
        text = b""
        while True:
            first, length = self.read(2)
            if length >= 126:
                length = int.from_bytes(self.read(2 if length == 126 else 8), "big")
            data, opcode = self.read(length), first & 15
            if opcode == PING:
                self.send(data, PONG)
            elif opcode == CLOSE:
                code = int.from_bytes(data[:2], "big")
                sys.exit(f"closed: {code} {data[2:].decode()}")
            elif opcode != PONG:
                text += data
                if first & 0x80:
                    return json.loads(text)

    def read(self, length):
        data = self.input.read(length)
        if len(data) < length:
            sys.exit("the connection broke")
        return data


def behind(position):
    """The position behind this one: the same epoch, the next index."""
    epoch, index = position.split(":")
    return f"{epoch}:{int(index) + 1}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="http://host:port of the server")
    parser.add_argument("session", help="id of the session")
    parser.add_argument("--after", metavar="POSITION", help="position of the last record that came before")
    parser.add_argument("--count", type=int, help="end after so many records")
    args = parser.parse_args()
    server = WebSocket(args.url)
    server.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {os.environ['KEY']}"}})
    server.receive()  # connection_ack; a key that is not good is answered by closing with 4401
    variables = {"session": args.session, "from": args.after and behind(args.after)}
    server.send({"type": "subscribe", "id": "1", "payload": {"query": QUERY, "variables": variables}})
    seen = 0
    while args.count is None or seen < args.count:
        message = server.receive()
        if message["type"] == "next" and "errors" not in message["payload"]:
            print(json.dumps(message["payload"]["data"]["sessionEvents"]), flush=True)
            seen += 1
        elif message["type"] == "ping":
            server.send({"type": "pong"})
        else:
            sys.exit(json.dumps(message))


if __name__ == "__main__":
    main()
