// ---- Chat: the view of a link to a room ------------------------------------------------------------------------------

const CHAT = "/chat";
const COLOURS = 5; // As many as the style has for names.
const PUSHED = Symbol("pushed"); // What came is no news of the room: somebody sent it by this WebSocket's ID.

const chat = {
  link: undefined, room: "", you: "", people: [], last: "",
  roll: new Roll($("talk"), () => atEnd($("talk"))),

  entered(phase) {
    const focused = document.activeElement;
    const inside = phase === "open" || phase === "closing";
    showStatus();
    $("join-form").hidden = inside;
    for (const id of ["leave-form", "people-card", "push-card"]) $(id).hidden = !inside;
    $("join").disabled = phase === "connecting";
    $("leave").disabled = $("say").disabled = $("say-send").disabled = phase !== "open";
    // What goes grey or away would drop the keyboard's place on the page.
    if ($("chat").contains(focused) && !usable(focused)) $(phase === "open" ? "say" : "name").focus();
  },
  sent() {}, // It comes back as said, in its place among the others.
  received(message) {
    const news = newsIn(message);
    if (news === PUSHED) this.pushed(message);
    else this[news.type](news);
  },
  noted({ kind, title, text }) {
    if (kind === "error") {
      const refused = this.link?.phase === "connecting";
      this.happened([refused ? "Could not come in. The room may be full, or the server is not there." : `${title}: ${text}`], "bad");
    } else if (kind === "close" && this.you) {
      this.happened(this.leaving ? ["You left ", this.room] : [`${title}. Join again to come back.`], this.leaving ? "" : "bad");
      this.you = "";
    }
  },

  join(room, name) {
    this.leaving = false;
    const query = new URLSearchParams(Object.entries({ room, name }).filter(([, value]) => value.trim()));
    this.link = new Link(`${CHAT}?${query}`, [], this);
    this.entered(this.link.phase);
  },
  leave() {
    this.leaving = true;
    this.link.close(1000);
  },

  // -- News of the room

  welcome({ room, you, id, here, history }) {
    Object.assign(this, { room, you, people: here });
    $("you").textContent = you;
    $("in-room").textContent = room;
    $("own-id").textContent = id;
    $("push-line").textContent = `csp-websocket send --gateway ADDR \\\n  --id ${id} hello`;
    $("copy-note").textContent = "";
    this.roll.clear();
    for (const said of history) this.say(said, false); // Who had this name then is not known.
    this.happened(["You are in ", room, " as ", you]);
    this.showPeople();
  },
  joined({ name }) {
    this.people.push(name);
    this.happened(["", name, " came in"]);
    this.showPeople();
  },
  left({ name }) {
    this.people = this.people.filter(other => other !== name);
    this.happened(["", name, " left"]);
    this.showPeople();
  },
  said(said) {
    this.say(said, said.name === this.you);
  },
  error({ text }) {
    this.happened([text], "bad");
  },
  pushed(message) {
    const when = new Date();
    this.last = "";
    this.roll.add(() => pushedRow(message, when));
  },

  // Name and time stand once above what somebody says in one minute.
  say(said, own) {
    const speech = `${Math.floor(said.at / 60_000)} ${said.name}`;
    const more = speech === this.last;
    this.last = speech;
    this.roll.add(() => saidRow(said, own, more), own);
  },
  // Every second word is a peer's own: it may run from right to left.
  happened(words, how = "") {
    this.last = "";
    this.roll.add(() => {
      const row = element("p", `happened ${how}`);
      row.append(...words.map((word, n) => (n % 2 ? element("bdi", "", word) : word)));
      return row;
    });
  },
  showPeople() {
    $("people-count").textContent = this.people.length;
    $("people").replaceChildren(...this.people.map(name => {
      const person = element("li", "who");
      person.dataset.colour = colourOf(name);
      person.append(element("bdi", "", name));
      if (name === this.you) person.append(element("span", "me", " (you)"));
      return person;
    }));
  },
};

// What has another shape than the room's news is shown as pushed, not believed.
function newsIn({ kind, data }) {
  const text = value => typeof value === "string";
  const time = value => Number.isFinite(value) && Math.abs(value) <= 8.64e15; // What a Date can hold.
  const said = value => value?.type === "said" && text(value.name) && text(value.text) && time(value.at);
  const shapes = {
    welcome: ({ room, you, id, here, history }) =>
      [room, you, id].every(text) && Array.isArray(here) && here.every(text) && Array.isArray(history) && history.every(said),
    joined: ({ name }) => text(name),
    left: ({ name }) => text(name),
    said,
    error: news => text(news.text),
  };
  try {
    const news = kind === "text" ? JSON.parse(data) : null;
    return Object.hasOwn(shapes, news?.type) && shapes[news.type](news) ? news : PUSHED;
  } catch {
    return PUSHED; // Not JSON.
  }
}

function saidRow({ name, text, at }, own, more) {
  const row = element("div", `said${own ? " own" : ""}${more ? " more" : ""}`);
  const meta = element("div", more ? "spoken" : "meta");
  const who = element("span", "who", name);
  who.dataset.colour = colourOf(name);
  meta.append(who, clock(new Date(at)));
  row.append(meta, paragraph(text));
  return row;
}

function pushedRow(message, when) {
  const row = element("div", "pushed");
  const meta = element("div", "meta");
  meta.append(element("span", "what", "pushed to you"), clock(when));
  row.append(meta, message.kind === "text" ? paragraph(previewOf(message)) : element("pre", "", previewOf(message)));
  return row;
}

// As text only: what a peer sent is never markup.
function paragraph(text) {
  const shown = element("p", "text", text);
  shown.dir = "auto";
  return shown;
}

function clock(when) {
  const today = when.toDateString() === new Date().toDateString();
  const shown = element("time", "", `${today ? "" : `${when.toLocaleDateString()} `}${when.toTimeString().slice(0, 5)}`);
  shown.dateTime = when.toISOString();
  shown.title = when.toLocaleString();
  return shown;
}

function colourOf(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 32 + letter.codePointAt(0)) % 65_521;
  return sum % COLOURS;
}

const atEnd = list => list.scrollHeight - list.scrollTop - list.clientHeight < 60;
const usable = control => !control.disabled && control.checkVisibility();

on("join-form", "Cannot join", () => {
  if (chat.link && chat.link.phase !== "closed") return;
  chat.join($("room").value, $("name").value);
  const room = $("room").value.trim();
  history.replaceState(null, "", `#${CHAT}${room && `?${new URLSearchParams({ room })}`}`);
}, chat);

on("leave-form", "Cannot leave", () => chat.leave(), chat);

on("say-form", "Cannot send", () => {
  if (chat.link?.phase !== "open" || !$("say").value.trim()) return;
  chat.link.send($("say").value);
  $("say").value = "";
}, chat);

$("copy-id").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("own-id").textContent);
    $("copy-note").textContent = "Copied.";
  } catch {
    // Not allowed, or not there outside https and localhost.
    getSelection().selectAllChildren($("own-id"));
    $("copy-note").textContent = "It is selected: Ctrl+C copies it.";
  }
});
