#!/usr/bin/env python3
"""Checks a gateway with the published Python package `websockets`.

    websockets_client.py sync|asyncio ws://127.0.0.1:PORT [AUTHORITY.pem]

The two modes are the package's two client implementations, put through the same checks. The gateway serves `/echo`
(each message back in its own type), `/clock` (text messages by itself, two within ten seconds) and `/close` (ends with
the code and the reason of the first message, such as `4002 done`), and admits pages of its own origin only.

Prints one line a check. Exit status: 0 all passed, 1 some failed.
"""
import asyncio
import ssl
import sys
import threading
import time

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

LIMIT = 10  # seconds any one call may take
# No proxy: the environment's would be asked to reach the loopback interface. No size limit of the client's own.
OPTIONS = {"proxy": None, "max_size": None, "open_timeout": LIMIT, "close_timeout": LIMIT}


# ---------------------------------------------------------------- the checks

def check_text(gateway):
    with gateway.connect("/echo") as ws:
        for text in ("hello", "Grüße, 世界, 𝄞", "x" * 125, "x" * 126, "é" * 40_000):
            echo(ws, text)


def check_binary_1_mib(gateway):
    with gateway.connect("/echo") as ws:
        echo(ws, bytes(range(256)) * 4096)


def check_lengths_where_the_header_grows(gateway):
    with gateway.connect("/echo") as ws:
        for size in (1, 125, 126, 127, 65_535, 65_536, 65_537):
            echo(ws, b"\xa5" * size)


def check_empty(gateway):
    with gateway.connect("/echo") as ws:
        echo(ws, "")
        echo(ws, b"")
        echo(ws, "after")


def check_fragmented(gateway):
    with gateway.connect("/echo") as ws:
        ws.send(["one ", "", "two ", "thrée"])
        same(ws.recv(LIMIT), "one two thrée")
        ws.send([b"\x00" * 1000] * 100)
        same(ws.recv(LIMIT), b"\x00" * 100_000)


def check_ping_pong(gateway):
    with gateway.connect("/echo") as ws:
        for payload in (b"", b"here?", b"\xff" * 125):
            ws.ping_and_wait(payload)
        echo(ws, "and a message")


def check_ping_between_fragments(gateway):
    with gateway.connect("/echo") as ws:
        ws.send_around(["one ", "two"], lambda: ws.ping_and_wait(b"between"))
        same(ws.recv(LIMIT), "one two")


def check_50_in_flight(gateway):
    with gateway.connect("/echo") as ws:
        messages = ["message %d" % n if n % 2 else bytes([n]) * n for n in range(50)]
        for message in messages:
            ws.send(message)
        for message in messages:
            same(ws.recv(LIMIT), message)


def check_close_by_client(gateway):
    for code, reason in ((1000, ""), (1001, "leaving"), (4001, "Tschüß")):
        ws = gateway.connect("/echo")
        echo(ws, "before")
        ws.close(code, reason)
        same(ws.protocol.close_rcvd is not None, True, "close frame received")
        same(ws.protocol.close_rcvd.code, code, "code in the answer")


def check_close_by_server(gateway):
    for code, reason in ((1000, ""), (1011, "sorry"), (4002, "Tschüß")):
        with gateway.connect("/close") as ws:
            ws.send("%d %s" % (code, reason))
            try:
                same(ws.recv(LIMIT), None, "a message in place of the close")
            except ConnectionClosed as e:
                same((e.rcvd.code, e.rcvd.reason, e.rcvd_then_sent), (code, reason, True))


def check_push(gateway):
    with gateway.connect("/clock") as ws:
        same({type(ws.recv(LIMIT)) for _ in range(2)}, {str}, "types of what was pushed")


def check_no_subprotocol(gateway):
    with gateway.connect("/echo") as ws:
        same(ws.subprotocol, None)
    with gateway.connect("/echo", subprotocols=["unheard-of"]) as ws:
        same(ws.subprotocol, None)
        echo(ws, "without one")


def check_origin(gateway):
    own = gateway.url.replace("ws", "http", 1)
    with gateway.connect("/echo", origin=own) as ws:
        echo(ws, "from a page of this gateway")
    refused(403, lambda: gateway.connect("/echo", origin="http://attacker.example"))


def check_unknown_path(gateway):
    refused(404, lambda: gateway.connect("/no-such-route"))


def check_50_connections(gateway):
    sockets = [gateway.connect("/echo") for _ in range(50)]
    for n, ws in enumerate(sockets):
        ws.send("socket %d" % n)
    for n, ws in enumerate(sockets):
        same(ws.recv(LIMIT), "socket %d" % n)
        ws.close()


def echo(ws, message):
    ws.send(message)
    same(ws.recv(LIMIT), message)


def refused(status, connect):
    try:
        connect().close()
    except InvalidStatus as e:
        same(e.response.status_code, status, "HTTP status")
    else:
        raise AssertionError("accepted in place of %d" % status)


def same(got, want, what="received"):
    # Types too: text never comes back as bytes.
    if type(got) is not type(want) or got != want:
        raise AssertionError("%s %.60r, expected %.60r" % (what, got, want))


# ------------------------------------------------- one face for both clients

class SyncGateway:
    def __init__(self, url):
        self.url = url

    def connect(self, path, **more):
        # "legacy" is the package's word for connecting at once, without a `with` of its own.
        connect = websockets.sync.client.connect
        return SyncSocket(connect(self.url + path, legacy=True, **OPTIONS, **more))


class AsyncioGateway:
    """Runs an event loop on a thread of its own, so that it works on while a check computes."""

    def __init__(self, url):
        self.url = url
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(2 * LIMIT)

    def connect(self, path, **more):
        async def connect():
            return await websockets.asyncio.client.connect(self.url + path, **OPTIONS, **more)

        return AsyncioSocket(self, self.run(connect()))


class Socket:
    def __init__(self, inner):
        self.inner, self.protocol, self.subprotocol = inner, inner.protocol, inner.subprotocol

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class SyncSocket(Socket):
    def send(self, message):
        self.inner.send(message)

    def send_around(self, parts, between):
        def parts_and_calls():
            for part in parts:
                yield part
                between()

        self.inner.send(parts_and_calls())

    def recv(self, timeout):
        return self.inner.recv(timeout)

    def ping_and_wait(self, payload):
        if not self.inner.ping(payload).wait(LIMIT):
            raise AssertionError("no pong within %d s" % LIMIT)

    def close(self, code=1000, reason=""):
        self.inner.close(code, reason)


class AsyncioSocket(Socket):
    def __init__(self, gateway, inner):
        super().__init__(inner)
        self.run = gateway.run

    def send(self, message):
        self.run(self.inner.send(message))

    def send_around(self, parts, between):
        async def parts_and_calls():
            for part in parts:
                yield part
                await asyncio.to_thread(between)

        self.run(self.inner.send(parts_and_calls()))

    def recv(self, timeout):
        return self.run(asyncio.wait_for(self.inner.recv(), timeout))

    def ping_and_wait(self, payload):
        async def ping():
            await asyncio.wait_for(await self.inner.ping(payload), LIMIT)

        self.run(ping())

    def close(self, code=1000, reason=""):
        self.run(self.inner.close(code, reason))


def main():
    gateways = {"sync": SyncGateway, "asyncio": AsyncioGateway}
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in gateways:
        sys.exit(__doc__)
    if len(sys.argv) == 4:
        OPTIONS["ssl"] = ssl.create_default_context(cafile=sys.argv[3])
        if sys.argv[1] == "sync":
            # Its threads read from and write to one TLS connection at once, which OpenSSL does not allow: with TLS 1.3,
            # where tickets come behind the handshake, requests are lost now and then, whatever server they are for.
            OPTIONS["ssl"].maximum_version = ssl.TLSVersion.TLSv1_2
    gateway = gateways[sys.argv[1]](sys.argv[2].rstrip("/"))
    failed = 0
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        started = time.monotonic()
        try:
            check(gateway)
            result = "ok"
        except Exception as e:
            failed += 1
            result = "FAILED: %s: %s" % (type(e).__name__, e)
        took = (time.monotonic() - started) * 1000
        title = name.removeprefix("check_").replace("_", " ")
        print("%-8s%-36s%6.0f ms  %s" % (sys.argv[1], title, took, result), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
