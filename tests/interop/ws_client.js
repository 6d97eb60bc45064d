// Checks a gateway with the published Node package `ws`.
//
//   node ws_client.js plain|compressed ws://127.0.0.1:PORT [AUTHORITY.pem]
//
// The routes are those that websockets_client.py tells of. `compressed` says that permessage-deflate has to be agreed on,
// `plain` that it must not. Prints one line a check. Exit status: 0 all passed, 1 some failed.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const { once } = require("node:events");
const WebSocket = require("ws");

const [, , agreed, url, authority] = process.argv;
const LIMIT = 10_000;
const OPTIONS = { handshakeTimeout: LIMIT, maxPayload: 64 << 20, ...(authority && { ca: fs.readFileSync(authority) }) };

const CHECKS = {
  async text(open) {
    const ws = await open("/echo");
    for (const text of ["hello", "Grüße, 世界, 𝄞", "x".repeat(125), "x".repeat(126), "é".repeat(40_000), ""]) {
      await echo(ws, text);
    }
    await close(ws, 1000, "");
  },

  async "binary, where the header grows, and 4 MiB"(open) {
    const ws = await open("/echo");
    for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 4 << 20]) {
      await echo(ws, Buffer.from(Array.from({ length: 256 }, (_, n) => n)).subarray(0, Math.min(size, 256)));
      await echo(ws, Buffer.alloc(size, "a message that is said again "));
    }
    await close(ws, 4001, "Tschüß");
  },

  async "in fragments"(open) {
    const ws = await open("/echo");
    const back = next(ws);
    ws.send("one ", { fin: false });
    ws.send("", { fin: false });
    ws.ping("between");
    ws.send("two ", { fin: false });
    ws.send("thrée", { fin: true });
    assert.strictEqual(await back, "one two thrée");
    await close(ws, 1000, "");
  },

  async "compressed and not, in turns"(open) {
    const ws = await open("/echo");
    for (let n = 0; n < 20; n++) {
      const text = `message ${n} `.repeat(200);
      const back = next(ws);
      ws.send(text, { compress: n % 3 === 0 });
      assert.strictEqual(await back, text);
    }
    await close(ws, 1000, "");
  },

  async "many in flight"(open) {
    const ws = await open("/echo");
    const sent = Array.from({ length: 200 }, (_, n) => `${n} `.repeat(n * 10));
    const got = [];
    const all = new Promise((done) => ws.on("message", (data) => got.push(data.toString()) === sent.length && done()));
    for (const text of sent) ws.send(text);
    await within(all, "all answers");
    assert.deepStrictEqual(got, sent);
    await close(ws, 1000, "");
  },

  async "ping and pong"(open) {
    const ws = await open("/echo");
    for (const payload of ["", "here?", "\xff".repeat(60)]) {
      const pong = once(ws, "pong");
      ws.ping(payload);
      assert.strictEqual((await within(pong, "a pong"))[0].toString(), payload);
    }
    await close(ws, 1001, "leaving");
  },

  async "close by the server"(open) {
    for (const [code, reason] of [[1000, ""], [1011, "sorry"], [4002, "Tschüß"]]) {
      const ws = await open("/close");
      const closed = once(ws, "close");
      ws.send(`${code} ${reason}`);
      const [got, why] = await within(closed, "a close");
      assert.deepStrictEqual([got, why.toString()], [code, reason]);
    }
  },

  async push(open) {
    const ws = await open("/clock");
    for (let n = 0; n < 2; n++) assert.match(await next(ws), /^tick [0-9]+$/);
    await close(ws, 1000, "");
  },

  async "50 connections"(open) {
    const all = await Promise.all(Array.from({ length: 50 }, () => open("/echo")));
    await Promise.all(all.map((ws, n) => echo(ws, `socket ${n}`)));
    await Promise.all(all.map((ws) => close(ws, 1000, "")));
  },

  async "its own choice of parameters"() {
    for (const offer of [
      { serverNoContextTakeover: true, clientNoContextTakeover: true },
      { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
      { serverMaxWindowBits: 15, clientMaxWindowBits: 15, threshold: 0 },
    ]) {
      const ws = await connect("/echo", { perMessageDeflate: offer });
      assert.strictEqual(ws.extensions !== "", agreed === "compressed", ws.extensions);
      for (let n = 0; n < 5; n++) await echo(ws, `said ${n} times over `.repeat(500));
      await close(ws, 1000, "");
    }
    const ws = await connect("/echo", { perMessageDeflate: false });
    assert.strictEqual(ws.extensions, "");
    await echo(ws, "plain ".repeat(500));
    await close(ws, 1000, "");
  },

  async "an unknown path"() {
    const ws = new WebSocket(`${url}/no-such-route`, OPTIONS);
    ws.on("error", () => {});
    const [, response] = await within(once(ws, "unexpected-response"), "a refusal");
    assert.strictEqual(response.statusCode, 404);
    ws.terminate();
  },
};

function within(promise, what) {
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error(`no ${what} in time`)), LIMIT).unref());
  return Promise.race([promise, late]);
}

async function connect(path, options) {
  const ws = new WebSocket(url + path, { ...OPTIONS, ...options });
  await within(once(ws, "open"), "connection");
  return ws;
}

async function open(path) {
  const ws = await connect(path, {});
  assert.strictEqual(ws.extensions.startsWith("permessage-deflate"), agreed === "compressed", ws.extensions);
  return ws;
}

/** The next message: text as a string, bytes as a buffer. */
async function next(ws) {
  const [data, binary] = await within(once(ws, "message"), "message");
  return binary ? data : data.toString();
}

async function echo(ws, message) {
  const back = next(ws);
  ws.send(message);
  assert.deepStrictEqual(await back, message);
}

async function close(ws, code, reason) {
  const closed = once(ws, "close");
  ws.close(code, reason);
  assert.strictEqual((await within(closed, "close"))[0], code);
}

(async () => {
  let failed = 0;
  for (const [name, check] of Object.entries(CHECKS)) {
    const started = Date.now();
    let result = "ok";
    try {
      await check(open);
    } catch (error) {
      failed += 1;
      result = `FAILED: ${error.message}`;
    }
    console.log(`${agreed.padEnd(12)}${name.padEnd(44)}${String(Date.now() - started).padStart(6)} ms  ${result}`);
  }
  process.exit(failed ? 1 : 0);
})();
