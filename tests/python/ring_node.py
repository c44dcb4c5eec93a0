#!/usr/bin/env python3
"""A node of the `ring` algorithm, written from docs/control-protocol.md and docs/wire-format.md alone.

    wirewatt run ring --node-command '2=python3 tests/python/ring_node.py'

The standard library is enough. It injects no faults into itself; it can be killed and stopped.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time

# docs/wire-format.md: magic, version, flags, length, protocol, kind, sender, receiver, incarnation,
# run, operation, sequence, timestamp; big-endian.
HEADER = struct.Struct(">2sBBIHHIIIQQQQ")
MAGIC, VERSION = b"\x57\xa7", 1
PROTOCOL, TOKEN = 2, 1  # data/protocols.toml
KINDS = {TOKEN: "token"}


def head(major, n):
    """The head of a CBOR item (RFC 8949, section 3)."""
    for size, code, mark in ((24, None, None), (1 << 8, "B", 24), (1 << 16, "H", 25), (1 << 32, "I", 26)):
        if n < size:
            return bytes([major << 5 | n]) if code is None else bytes([major << 5 | mark]) + struct.pack(">" + code, n)
    return bytes([major << 5 | 27]) + struct.pack(">Q", n)


def encode(item):
    if isinstance(item, dict):
        return head(5, len(item)) + b"".join(encode(k) + encode(v) for k, v in item.items())
    if isinstance(item, list):
        return head(4, len(item)) + b"".join(map(encode, item))
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    return head(0, item)


def decode(data, at=0):
    """The item at `at`, and where the next one is."""
    major, n = data[at] >> 5, data[at] & 31
    at += 1
    if n >= 24:
        size = 1 << (n - 24)
        n, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 0:
        return n, at
    if major in (2, 3):
        raw = data[at : at + n]
        return (raw if major == 2 else raw.decode()), at + n
    items = []
    for _ in range(n * (2 if major == 5 else 1)):
        item, at = decode(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if major == 5 else items), at


def say(kind, **fields):
    sys.stdout.write(json.dumps({"v": 1, "type": kind, **fields}) + "\n")
    sys.stdout.flush()


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def written(pair):
    return f"[{pair[0]}]:{pair[1]}" if ":" in pair[0] else f"{pair[0]}:{pair[1]}"


class Connection:
    def __init__(self, sock, dialled, peer=None):
        self.sock, self.dialled, self.peer = sock, dialled, peer
        self.remote = written(sock.getpeername())
        self.read_closed = self.write_closed = False

    def half_close(self):
        if not self.write_closed:
            self.write_closed = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the other end has reset it
        self.forget_if_closed()

    def forget_if_closed(self):
        if self.read_closed and self.write_closed:
            self.sock.close()


class Node:
    def __init__(self, configuration):
        self.c = configuration
        self.me, self.n = configuration["id"], configuration["n"]
        self.mode = configuration["connections"]
        self.loop = asyncio.get_running_loop()
        self.ledger = os.open(configuration["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.clock, self.sequences, self.counts = 0, {}, {}
        self.connections, self.links, self.early = [], {}, []
        self.started = self.quiescing = self.closing = False
        self.changed = asyncio.Event()
        self.handling = asyncio.Lock()

    def record(self, event, peer, header, length, reason=None):
        """One unbuffered write an event (the ledger)."""
        record = {
            "event": event, "time": time.time_ns(), "node": self.me, "peer": peer,
            "incarnation": header["incarnation"], "run": self.c["run"], "protocol": self.c["protocol"],
            "kind": KINDS.get(header["kind"], str(header["kind"])), "operation": header["operation"],
            "sequence": header["sequence"], "lamport": header["timestamp"], "bytes": length,
        }
        if reason:
            record["reason"] = reason
        os.write(self.ledger, json.dumps(record).encode() + b"\n")
        names = ("attempted", "suppressed", "refused", "sent", "arrived", "handled")
        self.counts.setdefault(peer, dict.fromkeys(names, 0))[event] += 1

    def channels(self):
        return [{"peer": peer, **counts} for peer, counts in sorted(self.counts.items())]

    # Connections

    def listen(self):
        here = address(self.c["peers"][self.me])
        self.listener = socket.socket(socket.AF_INET6 if ":" in here[0] else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(here)
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.loop.create_task(self.accept())

    def take(self, sock, dialled, peer=None):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, dialled, peer)
        self.connections.append(connection)
        if self.closing:
            connection.half_close()
        self.loop.create_task(self.read(connection))
        self.changed.set()
        return connection

    async def accept(self):
        while True:
            sock, _ = await self.loop.sock_accept(self.listener)
            self.take(sock, dialled=False)

    async def dial(self, peer):
        there = address(self.c["peers"][peer])
        sock = socket.socket(socket.AF_INET6 if ":" in there[0] else socket.AF_INET)
        sock.setblocking(False)
        try:
            await self.loop.sock_connect(sock, there)
        except OSError:
            sock.close()
            raise
        return self.take(sock, dialled=True, peer=peer)

    async def connect(self):
        neighbours = {(self.me + 1) % self.n, (self.me - 1) % self.n} - {self.me}
        links = []
        for peer in sorted(peer for peer in neighbours if peer > self.me):
            try:
                connection = await self.dial(peer)
            except OSError as error:
                say("fault", what="missing", peer=peer, detail=str(error))
                continue
            self.links[peer] = connection
            links.append({"peer": peer, "address": written(connection.sock.getsockname())})
        say("connected", links=links)

    async def adopt(self, links):
        deadline = self.loop.time() + 5
        missing = list(links)
        while missing:
            self.changed.clear()
            by_address = {c.remote: c for c in self.connections if not c.dialled}
            for link in [link for link in missing if link["address"] in by_address]:
                connection = by_address[link["address"]]
                connection.peer = link["peer"]
                self.links.setdefault(link["peer"], connection)
                missing.remove(link)
            if missing:
                try:
                    await asyncio.wait_for(self.changed.wait(), deadline - self.loop.time())
                except asyncio.TimeoutError:
                    say("fault", what="missing", detail="a connection dialled to here did not come")
                    return

    async def read(self, connection):
        buffer = b""
        while True:
            try:
                data = await self.loop.sock_recv(connection.sock, 65536)
            except OSError as error:
                if connection.peer is not None:
                    say("fault", what="reset", peer=connection.peer, detail=str(error))
                connection.write_closed = True
                break
            if not data:
                if buffer:
                    say("fault", what="cut", detail=f"{len(buffer)} bytes of a frame came, then the end")
                break
            buffer += data
            while len(buffer) >= HEADER.size:
                length = HEADER.unpack_from(buffer)[3]
                if buffer[:3] != MAGIC + bytes([VERSION]) or length < HEADER.size:
                    say("notice", what="foreign", address=connection.remote, detail="no frame")
                    buffer = b""
                elif len(buffer) < length:
                    break
                else:
                    frame, buffer = buffer[:length], buffer[length:]
                    await self.arrived(frame, connection)
        connection.read_closed = True
        if connection.peer is None or self.mode == "per-message" or (self.mode == "per-exchange" and connection.dialled):
            connection.half_close()
        connection.forget_if_closed()
        self.changed.set()

    # Messages

    async def arrived(self, frame, connection):
        names = ("magic", "version", "flags", "length", "protocol", "kind", "sender", "receiver",
                 "incarnation", "run", "operation", "sequence", "timestamp")
        header = dict(zip(names, HEADER.unpack_from(frame)))
        if (header["protocol"], header["run"], header["receiver"]) != (PROTOCOL, self.c["run"], self.me):
            say("notice", what="foreign", address=connection.remote, detail="a frame for somebody else")
            return
        connection.peer = header["sender"]
        if self.mode == "persistent":
            self.links.setdefault(header["sender"], connection)
        self.record("arrived", header["sender"], header, len(frame))
        if self.started:
            await self.handle(header, frame, connection)
        else:
            self.early.append((header, frame, connection))

    async def handle(self, header, frame, connection):
        async with self.handling:
            self.clock = max(self.clock, header["timestamp"]) + 1
            token, _ = decode(frame, HEADER.size)
            if self.c.get("payload", 0) > 0:
                token = token[0]
            exchange = self.mode == "per-exchange" and not connection.dialled
            await self.received(token, header["operation"], connection if exchange else None)
            self.record("handled", header["sender"], header, len(frame))
            if exchange:
                connection.half_close()

    async def send(self, to, operation, item, reply_over=None):
        if self.c.get("payload", 0) > 0:
            item = [item, bytes(self.c["payload"])]
        body = encode(item)
        self.clock += 1
        self.sequences[to] = self.sequences.get(to, 0) + 1
        header = {"kind": TOKEN, "incarnation": self.c["incarnation"], "operation": operation,
                  "sequence": self.sequences[to], "timestamp": self.clock}
        length = HEADER.size + len(body)
        frame = HEADER.pack(MAGIC, VERSION, 0, length, PROTOCOL, TOKEN, self.me, to,
                            self.c["incarnation"], self.c["run"], operation, self.sequences[to],
                            self.clock) + body
        self.record("attempted", to, header, length)
        if self.closing:
            self.record("refused", to, header, length, "this process was closing its connections")
            return
        connection = reply_over if reply_over is not None and reply_over.peer == to else None
        if self.mode == "persistent":
            connection = self.links.get(to)
            if connection and (connection.write_closed or (connection.read_closed and not self.quiescing)):
                connection.half_close()
                del self.links[to]
                connection = None
        try:
            if connection is None:
                connection = await self.dial(to)
                if self.mode == "persistent":
                    self.links[to] = connection
        except OSError as error:
            self.record("refused", to, header, length, str(error))
            return
        try:
            await self.loop.sock_sendall(connection.sock, frame)
            self.record("sent", to, header, length)
        except OSError as error:
            say("fault", what="reset", peer=to, detail=str(error))
            connection.half_close()
        if self.mode == "per-message":
            connection.half_close()

    # The algorithm: process 0 makes the token, each hands it to the next.

    def tell(self, event, round):
        operation = (round - 1) * self.n + 1
        say("history", time=time.time_ns(), event=event, operation=operation, value={"round": round})
        return operation

    async def circulate(self, round):
        operation = self.tell("invoke", round)
        await self.send(1 % self.n, operation, {"round": round, "hops": 1})

    async def received(self, token, operation, reply_over):
        due = self.n if self.me == 0 else self.me
        if token["hops"] != due:
            say("fault", what="protocol", detail=f"the token came after {token['hops']} hops, not {due}")
        elif self.me != 0:
            token["hops"] += 1
            await self.send((self.me + 1) % self.n, operation, token, reply_over)
        else:
            self.tell("ok", token["round"])
            if token["round"] < self.c["rounds"] and not self.quiescing:
                await self.circulate(token["round"] + 1)

    async def start(self, links):
        await self.adopt(links)
        self.started = True
        if self.me == 0:
            await self.circulate(1)
        for early in self.early:
            await self.handle(*early)

    async def finish(self, without):
        self.quiescing = True
        async with self.handling:
            self.closing = True
        while True:
            self.changed.clear()
            for connection in self.connections:
                connection.half_close()
            ours = [c for c in self.connections if c.peer is not None and c.peer not in without]
            if all(c.read_closed for c in ours):
                break
            await self.changed.wait()
        say("finished", channels=self.channels())


async def main():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=16 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    node = None
    while True:
        line = await reader.readline()
        if not line:
            return 2
        command = json.loads(line)
        kind = command["type"]
        if kind == "configure":
            node = Node(command)
            try:
                node.listen()
            except OSError as error:
                where = command["peers"][command["id"]]
                say("error", what="cannot-listen", address=where, detail=str(error))
                return 2
            say("listening", address=command["peers"][command["id"]])
        elif kind == "connect":
            await node.connect()
        elif kind == "start":
            await node.start(command.get("links", []))
        elif kind == "counters":
            say("counters", poll=command["poll"], channels=node.channels())
        elif kind == "quiesce":
            node.quiescing = True
        elif kind == "finish":
            await node.finish(set(command.get("without", [])))
            return 0
        else:
            say("error", what="control", detail=f"'{kind}' has no place here")
            return 2


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(asyncio.run(main()))
