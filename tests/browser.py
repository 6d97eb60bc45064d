#!/usr/bin/env python3
"""Uses the console page in a real browser, as a person would: mouse, keyboard, file picker.

    python3 tests/browser.py http://127.0.0.1:8080/ [--screenshot FILE.png]

Needs Chromium and `pip install websockets`. Prints one line for each check; exits 0 if all held, 1 otherwise, and
never takes longer than a minute. What the page shows is all that counts: nothing here reaches into its script.
"""

import argparse
import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TOTAL_SECONDS = 60
WAIT_SECONDS = 10
TEXT = "Grüße <b>an</b> & \"alle\" 😀"
FILE_BYTES = bytes(range(256)) * 40 + b"end"
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--remote-debugging-port=0", "--window-size=1280,860",
]


class Failed(Exception):
    """A check did not hold."""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("url", help="where the page is, for example http://127.0.0.1:8080/")
    options.add_argument("--screenshot", metavar="FILE.png", help="written at the end, also after a failure")
    options.add_argument("--chromium", default=shutil.which("chromium") or "chromium", help="the browser to start")
    chosen = options.parse_args()
    # Both arrive as exceptions, so the browser is ended on every way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TOTAL_SECONDS)
    try:
        with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
            run(chosen, pathlib.Path(folder))
    except (Failed, OSError, ConnectionClosed) as failure:
        print(f"FAILED  {failure or type(failure).__name__}", flush=True)
        return 1
    return 0


def on_alarm(*_):
    raise Failed(f"not done after {TOTAL_SECONDS} s")


def run(chosen, folder):
    file = folder / "sample.bin"
    file.write_bytes(FILE_BYTES)
    with browser(chosen.chromium, folder / "profile") as address, Page(address) as page:
        try:
            use(page, chosen.url.rstrip("/") + "/", file)
        finally:
            if chosen.screenshot:
                page.screenshot(chosen.screenshot)


def use(page, url, file):
    """The visit, in the order of a person who sees the page for the first time."""
    page.open(url)
    page.until("the page is there, closed", "document.querySelector('#state').dataset.state === 'closed'")
    page.until("/echo is chosen", "document.querySelector('#route').value === '/echo'")

    page.click("#connect")
    page.until("connected to /echo", "document.querySelector('#state').dataset.state === 'open'")
    page.until("handshake time is shown", "/[0-9.]+ ms/.test(document.querySelector('[data-kind=open]').textContent)")

    page.fill("#text", TEXT)
    page.click("#send")
    page.until("the text is logged as sent", rows_with(".out[data-kind=text]", TEXT))
    page.until("the text came back, shown as text only", rows_with(".in[data-kind=text]", TEXT))
    page.until("its length counts characters",
               f"document.querySelector('.row.in[data-kind=text]').dataset.length === '{len(TEXT)}'")
    page.until("its round-trip time is shown",
               "/round trip [0-9.]+ ms/.test(document.querySelector('.row.in[data-kind=text]').textContent)")

    page.fill("#text", "by keyboard")
    page.ctrl_enter()
    page.until("Ctrl+Enter sends", rows_with(".in[data-kind=text]", "by keyboard"))

    page.choose_file("#file", file)
    page.until("the file's name and size are shown",
               f"document.querySelector('#file-note').textContent.includes('sample.bin, {len(FILE_BYTES):,} bytes')")
    page.click("#send-file")
    page.until("the file came back as binary",
               f"document.querySelector('.row.in[data-kind=binary]').dataset.length === '{len(FILE_BYTES)}'")
    page.until("with a hex dump",
               "document.querySelector('.row.in[data-kind=binary] pre').textContent.startsWith('0000  00 01 02')")
    page.until("and a round-trip time",
               "/round trip [0-9.]+ ms/.test(document.querySelector('.row.in[data-kind=binary]').textContent)")

    disconnect(page, "from /echo")

    page.click("#clear")
    page.until("cleared", "document.querySelector('#log').childElementCount === 0")
    page.open(url + "#/clock")
    page.until("the address chooses /clock", "document.querySelector('#route').value === '/clock'")
    page.click("#connect")
    page.until("two times were pushed", "document.querySelectorAll('.row.in[data-kind=text]').length >= 2")
    disconnect(page, "from /clock")

    page.click("#clear")
    page.click("#routes a[href='#/raw/echo']")
    page.until("a click chooses /raw/echo", "document.querySelector('#route').value === '/raw/echo'")
    page.click("#connect")
    page.until("connected to /raw/echo", "document.querySelector('#state').dataset.state === 'open'")
    page.fill("#text", "stream")
    page.click("#send")
    # A byte stream may arrive in any number of pieces.
    page.until("the text came back as bytes", """
        [...document.querySelectorAll('.row.in[data-kind=binary]')]
            .reduce((sum, row) => sum + Number(row.dataset.length), 0) === 6""")
    disconnect(page, "from /raw/echo")

    fetched = {address.partition("#")[0] for address in page.fetched}
    page.check("nothing was fetched but the page", fetched == {url}, fetched)
    page.check("no errors on the console", not page.errors, page.errors)

    page.fill("#route", "/nowhere")
    page.click("#connect")
    page.until("a refused handshake leaves a hint",
               "document.querySelector('.row[data-kind=error] pre').textContent.includes('route')")
    page.until("and the page can connect again", "!document.querySelector('#connect').disabled")


def disconnect(page, whence):
    closes = page.value("document.querySelectorAll('.row[data-kind=close]').length")
    page.click("#disconnect")
    page.until(f"disconnected {whence}: 1000, clean", f"""
        (rows => rows.length === {closes} + 1 && rows.at(-1).dataset.code === '1000' && rows.at(-1).dataset.clean === 'true')
        ([...document.querySelectorAll('.row[data-kind=close]')])""")


def rows_with(selector, text):
    """An expression: a row has exactly this text in its preview, and no element in it."""
    return (f"[...document.querySelectorAll('.row{selector} pre')]"
            f".some(pre => pre.textContent === {json.dumps(text)} && pre.childElementCount === 0)")


class Page:
    """One tab, spoken to by the DevTools protocol over one WebSocket."""

    def __init__(self, address):
        self.connecting = connect(address, max_size=None, proxy=None, open_timeout=WAIT_SECONDS)
        self.numbers = itertools.count(1)
        self.session = None
        self.errors = []  # What the console printed as an error, uncaught exceptions, policy violations.
        self.fetched = []  # Addresses of everything requested, WebSockets aside.

    def __enter__(self):
        self.socket = self.connecting.__enter__()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"]:
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *failure):
        self.connecting.__exit__(*failure)

    def call(self, method, **parameters):
        """One command and its result; events that arrive meanwhile are noted."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        self.socket.send(json.dumps(command))
        while True:
            try:
                message = json.loads(self.socket.recv(timeout=WAIT_SECONDS))
            except TimeoutError:
                raise Failed(f"the browser did not answer {method}") from None
            if message.get("id") != number:
                self.note(message.get("method"), message.get("params", {}))
            elif "error" in message:
                raise Failed(f"{method}: {message['error']['message']}")
            else:
                return message["result"]

    def note(self, event, about):
        if event == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.errors.append(str([argument.get("value") for argument in about["args"]]))
        elif event == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(about["entry"]["text"])
        elif event == "Network.requestWillBeSent" and not about["request"]["url"].startswith("data:"):
            self.fetched.append(about["request"]["url"])

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        # An element that is not there yet is an exception of the expression, not of the page.
        return None if "exceptionDetails" in result else result["result"].get("value")

    def until(self, what, expression):
        """Asks again and again until the expression is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise Failed(f"{what}\n        the log said: {self.value('document.querySelector(`#log`)?.innerText')!r}")
            time.sleep(0.02)
        print(f"ok      {what}", flush=True)

    def check(self, what, holds, found):
        if not holds:
            raise Failed(f"{what}: {found}")
        print(f"ok      {what}", flush=True)

    def open(self, url):
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise Failed(f"{url}: {answer['errorText']}")

    def click(self, selector):
        """Presses the mouse in the middle of an element that can be seen and is not disabled."""
        self.wait_for(selector)
        spot = self.value(f"""(box => ({{ x: box.x + box.width / 2, y: box.y + box.height / 2 }}))((element => {{
            element.scrollIntoView({{ block: 'nearest' }});
            return element.getBoundingClientRect();
        }})(document.querySelector({json.dumps(selector)})))""")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **spot)

    def wait_for(self, selector):
        deadline = time.monotonic() + WAIT_SECONDS
        found = f"document.querySelector({json.dumps(selector)})"
        while not self.value(f"{found}.checkVisibility() && !{found}.disabled"):
            if time.monotonic() > deadline:
                raise Failed(f"{selector} cannot be used")
            time.sleep(0.02)

    def fill(self, selector, text):
        """Types over what a field holds."""
        self.click(selector)
        self.call("Input.dispatchKeyEvent", type="keyDown", key="a", code="KeyA", modifiers=2, commands=["selectAll"])
        self.call("Input.dispatchKeyEvent", type="keyUp", key="a", code="KeyA", modifiers=2)
        self.call("Input.insertText", text=text)

    def ctrl_enter(self):
        for kind in ["rawKeyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, modifiers=2)

    def choose_file(self, selector, file):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self, file):
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        pathlib.Path(file).write_bytes(base64.b64decode(picture))


@contextlib.contextmanager
def browser(program, profile):
    """A headless Chromium of our own with a fresh profile; gives its DevTools address and ends it afterwards."""
    errors = profile.with_suffix(".log")
    with errors.open("wb") as log:
        # In a group of its own: the browser starts many processes, and all of them must go.
        process = subprocess.Popen([program, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", "about:blank"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        yield devtools_address(process, profile / "DevToolsActivePort", errors)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def devtools_address(process, file, errors):
    deadline = time.monotonic() + 2 * WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = file.read_text().splitlines()
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise Failed(f"the browser did not start: {errors.read_text(errors='replace')[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
