#!/usr/bin/env python3
"""Uses the page in real browsers, as persons would: mouse, keyboard, file picker; one at the console, two in the chat.

    python3 tests/browser.py http://127.0.0.1:8080/ [--compressed] [--brief] [--screenshot FILE.png] [--push-command COMMAND]

COMMAND, with `--id ID TEXT` put behind it, sends a text to a WebSocket of the server from outside, as
`csp-websocket send --gateway ADDR` does; without it that check is left out. `--compressed` says that the page has to show
that permessage-deflate was agreed on, and its absence that it must not. `--brief` is two echoes. Whoever signed the
certificate of an https address is not looked at.

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
import shlex
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
LOGS = "[...document.querySelectorAll('.roll')].map(log => log.innerText).join('\\n')"
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    "--remote-debugging-port=0", "--window-size=1280,860", "--ignore-certificate-errors",
]


class Failed(Exception):
    """A check did not hold."""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("url", help="where the page is, for example http://127.0.0.1:8080/")
    options.add_argument("--screenshot", metavar="FILE.png", help="written at the end, also after a failure; those of the chat beside it")
    options.add_argument("--push-command", metavar="COMMAND", type=shlex.split, help="sends to a WebSocket from outside")
    options.add_argument("--compressed", action="store_true", help="permessage-deflate is agreed on")
    options.add_argument("--brief", action="store_true", help="only two echoes")
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
    url = chosen.url.rstrip("/") + "/"
    with browser(chosen.chromium, folder / "profile") as address:
        with Page(address) as page, pictures(chosen.screenshot, page=page):
            if chosen.brief:
                use_echoes(page, url, chosen.compressed)
                return
            use_console(page, url, file, chosen.compressed)
        # Two contexts share as little as two browsers do.
        with Page(address) as ann, Page(address) as bob, pictures(chosen.screenshot, ann=ann, bob=bob):
            use_chat(ann, bob, url, chosen.push_command)


@contextlib.contextmanager
def pictures(file, **pages):
    """Whatever happens: `page` is shown in the file of this name, others in files beside it, also as on a phone."""
    try:
        yield
    finally:
        for name, page in pages.items() if file else ():
            path = pathlib.Path(file)
            page.screenshot(path if name == "page" else path.with_stem(f"{path.stem}-{name}"))
            page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
            page.screenshot(path.with_stem(f"{path.stem}-{name}-phone"))


def use_echoes(page, url, compressed):
    """A text there and back, in each mode."""
    for path in ["/echo", "/shared/echo"]:
        page.open(url)
        page.click(f"#routes a[href='#{path}']")
        page.click("#connect")
        page.until(f"connected to {path}", "document.querySelector('#state').dataset.state === 'open'")
        shows_what_was_agreed(page, compressed)
        page.fill("#text", TEXT * 20)
        page.click("#send")
        page.until("the text came back", rows_with(".in[data-kind=text]", TEXT * 20))
        disconnect(page, f"from {path}")
        page.check_quiet(url)
        page.click("#clear")


def shows_what_was_agreed(page, compressed):
    shown = "document.querySelector('[data-kind=open]').textContent.includes('permessage-deflate')"
    page.until(f"compressed: {compressed}", f"{shown} === {str(compressed).lower()}")


def use_console(page, url, file, compressed):
    """The visit, in the order of a person who sees the page for the first time."""
    page.open(url)
    page.until("the page is there, closed", "document.querySelector('#state').dataset.state === 'closed'")
    page.until("/echo is chosen", "document.querySelector('#route').value === '/echo'")

    page.click("#connect")
    page.until("connected to /echo", "document.querySelector('#state').dataset.state === 'open'")
    shows_what_was_agreed(page, compressed)
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
    page.click("#routes a[href='#/shared/echo']")
    page.until("a click chooses /shared/echo", "document.querySelector('#route').value === '/shared/echo'")
    page.click("#connect")
    page.until("connected to /shared/echo", "document.querySelector('#state').dataset.state === 'open'")
    page.fill("#text", TEXT)
    page.click("#send")
    page.until("the text came back from a worker", rows_with(".in[data-kind=text]", TEXT))
    page.click("#send-bytes")
    page.until("and the bytes did", "document.querySelector('.row.in[data-kind=binary]').dataset.length === '1024'")
    disconnect(page, "from /shared/echo")

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

    page.check_quiet(url)

    page.fill("#route", "/nowhere")
    page.click("#connect")
    page.until("a refused handshake leaves a hint",
               "document.querySelector('.row[data-kind=error] pre').textContent.includes('route')")
    page.until("and the page can connect again", "!document.querySelector('#connect').disabled")


def use_chat(ann, bob, url, push_command):
    """Two people meet in a room, talk, and part."""
    ann.open(url)
    ann.click("#routes a[href='#/chat']")
    ann.until("the chip opens the chat", "!document.querySelector('#chat').hidden && document.querySelector('#console').hidden")
    ann.fill("#room", "tea & <i>cake</i>")
    ann.fill("#name", "Änne <b>")
    ann.click("#join")
    ann.until("Änne is in", heard(".happened", "You are in tea & <i>cake</i> as Änne <b>"))
    ann.until("alone", people("Änne <b> (you)"))
    ann.until("the header says so", "document.querySelector('#state').dataset.state === 'open'")
    ann.until("the keyboard is at the message", "document.activeElement.id === 'say'")
    ann.type("Is <i>anybody</i> there?")
    ann.enter()
    ann.until("what she says is shown as hers, as text only", heard(".said.own", "Is <i>anybody</i> there?"))
    ann.until("and the line is empty again", "document.querySelector('#say').value === ''")

    # The address names the room: it can be sent to somebody.
    bob.open(ann.value("location.href"))
    bob.until("the address gives the room", "document.querySelector('#room').value === 'tea & <i>cake</i>'")
    bob.fill("#name", "Bob")
    bob.enter()
    bob.until("Bob is in, by keyboard", people("Änne <b>", "Bob (you)"))
    bob.until("he learns what was said before", heard(".said:not(.own)", "Is <i>anybody</i> there?"))
    ann.until("she sees him come", heard(".happened", "Bob came in"))
    ann.until("and here", people("Änne <b> (you)", "Bob"))

    bob.fill("#say", TEXT)
    bob.click("#say-send")
    for page, whose in [(bob, ".own"), (ann, ":not(.own)")]:
        page.until(f"Bob's words reach {whose}", heard(f".said{whose}", TEXT))
    ann.until("under his name", """
        [...document.querySelectorAll('.said')].at(-1).querySelector('.who').textContent === 'Bob'""")
    for n in range(30):
        ann.fill("#say", f"Line {n} 👋")
        ann.enter()
    bob.until("many lines come in order", """
        [...document.querySelectorAll('.said .text')].slice(-30).every((line, n) => line.textContent === `Line ${n} 👋`)""")
    bob.until("the last one is in sight", """
        (line => line.bottom <= document.querySelector('#talk').getBoundingClientRect().bottom + 1)
        (document.querySelector('#talk').lastElementChild.getBoundingClientRect())""")

    bob.until("and the page itself does not scroll", "document.documentElement.scrollHeight <= innerHeight")
    if push_command:
        push(ann, bob, push_command)
    ann.click("#copy-id")
    ann.until("a click copies the ID, or selects it", "document.querySelector('#copy-note').textContent.length > 0")
    ann.until("the line for a terminal has the ID", """
        document.querySelector('#push-line').textContent.includes(` --id ${document.querySelector('#own-id').textContent} `)""")

    with Page(ann.browser) as cid:
        cid.open(url + "#/chat?room=tea+%26+%3Ci%3Ecake%3C%2Fi%3E")
        cid.click("#join")
        cid.until("a third one is a guest", "/^guest-[0-9]+$/.test(document.querySelector('#you').textContent)")
        cid.until("and hears all of it", heard(".said", TEXT))
        ann.until("three are here", "document.querySelectorAll('#people li').length === 3")
        cid.check_quiet(url)
    ann.until("a closed tab has left", people("Änne <b> (you)", "Bob"))

    bob.click("#leave")
    bob.until("Bob left", heard(".happened", "You left tea & <i>cake</i>"))
    bob.until("and can join again", "!document.querySelector('#join').disabled && !document.querySelector('#join-form').hidden")
    ann.until("she sees him go", heard(".happened", "Bob left"))
    ann.until("and not here any more", people("Änne <b> (you)"))
    ann.click("#to-console")
    ann.until("the console is closed as it was", "document.querySelector('#state').dataset.state === 'closed'")
    ann.click("#to-chat")
    ann.until("and the chat still open", "document.querySelector('#state').dataset.state === 'open'")
    bob.click("#join")
    bob.until("Bob is back", heard(".happened", "You are in tea & <i>cake</i> as Bob"))
    ann.until("which she sees", people("Änne <b> (you)", "Bob"))
    for page in [ann, bob]:
        page.check_quiet(url)


def push(one, other, command):
    """Sends to one of the two from outside."""
    to = one.value("document.querySelector('#own-id').textContent")
    sent = subprocess.run([*command, "--id", to, TEXT], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_SECONDS)
    one.check("a text was sent from outside", sent.returncode == 0, sent)
    one.until("it shows up as pushed", heard(".pushed", TEXT))
    other.check("in this one only", other.value("document.querySelectorAll('.pushed').length") == 0, "the other has it, too")


def heard(selector, text):
    """An expression: the conversation has this text in such a row, and no element where the text stands."""
    return (f"[...document.querySelectorAll('#talk > {selector}')].map(row => row.querySelector('.text') ?? row)"
            f".some(row => row.textContent === {json.dumps(text)} && !row.querySelector(':not(bdi)'))")


def people(*names):
    return f"""JSON.stringify([...document.querySelectorAll('#people li')].map(one => one.textContent))
        === {json.dumps(json.dumps(names, ensure_ascii=False, separators=(',', ':')))}"""


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
    """One tab in a context of its own, spoken to by the DevTools protocol over one WebSocket."""

    def __init__(self, address):
        self.browser = address
        self.connecting = connect(address, max_size=None, proxy=None, open_timeout=WAIT_SECONDS)
        self.numbers = itertools.count(1)
        self.session = None
        self.errors = []  # What the console printed as an error, uncaught exceptions, policy violations.
        self.fetched = []  # Addresses of everything requested, WebSockets aside.

    def __enter__(self):
        self.socket = self.connecting.__enter__()
        self.context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"]:
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *failure):
        with contextlib.suppress(Failed, ConnectionClosed):
            self.session = None
            self.call("Target.disposeBrowserContext", browserContextId=self.context)
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
                raise Failed(f"{what}\n        the log said: {self.value(LOGS)!r}")
            time.sleep(0.02)
        print(f"ok      {what}", flush=True)

    def check(self, what, holds, found):
        if not holds:
            raise Failed(f"{what}: {found}")
        print(f"ok      {what}", flush=True)

    def check_quiet(self, url):
        """What must not have happened in all the time."""
        fetched = {address.partition("#")[0] for address in self.fetched}
        self.check("nothing was fetched but the page", fetched == {url}, fetched)
        self.check("no errors on the console", not self.errors, self.errors)

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
        self.type(text)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def enter(self):
        self.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
        self.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)

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
