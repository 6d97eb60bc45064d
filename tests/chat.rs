//! The chat of the binary, as a page or a script uses it: names, rooms, who is here, history, limits.

mod client;
mod program;
mod tool;

use client::{Client, Handshake, Message, connect};
use program::Program;
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for a message that must not come.
const MOMENT: Duration = Duration::from_millis(200);

// -------------------------------------------------------------------------------------- names, and who is here

#[test]
fn whoever_comes_in_learns_the_room_the_own_name_and_who_is_here() {
    let program = Program::start(&[]);
    let (mut ann, welcome) = join(&program, "room=tea&name=ann");
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["room"], "tea");
    assert_eq!(welcome["you"], "ann");
    assert_eq!(welcome["here"], json!(["ann"]));
    assert_eq!(welcome["history"], json!([]));
    assert_eq!(welcome["id"].as_str().map(str::len), Some(22));

    let (_bob, of_bob) = join(&program, "room=tea&name=bob");
    assert_eq!(of_bob["here"], json!(["ann", "bob"]));
    assert_ne!(of_bob["id"], welcome["id"]);
    let joined = recv(&mut ann);
    assert_eq!(
        (&joined["type"], &joined["name"]),
        (&json!("joined"), &json!("bob"))
    );
    assert!(joined["at"].as_u64() > Some(1_600_000_000_000), "{joined}");
}

#[test]
fn names_are_tidied_and_made_unique_in_their_room() {
    let program = Program::start(&[]);
    let mut open = Vec::new();
    for (query, room, name) in [
        ("?name=ann", "lobby", "ann"),
        ("?name=ann&room=", "lobby", "ann 2"),
        ("?room=%20lobby+&name=+ANN%20", "lobby", "ANN 3"),
        ("?room=tea&name=ann", "tea", "ann"),
        ("", "lobby", "guest-1"),
        ("?name=+", "lobby", "guest-2"),
        ("?name=guest-3", "lobby", "guest-3"),
        ("?", "lobby", "guest-3 2"),
        ("?name=%C3%84nne%20%F0%9F%98%80", "lobby", "Änne 😀"),
        ("?name=%3Cb%3E%22%5C", "lobby", "<b>\"\\"),
    ] {
        let mut client = connect(program.addr, &format!("/chat{query}"));
        let welcome = recv(&mut client);
        assert_eq!(welcome["room"], room, "{query}");
        assert_eq!(welcome["you"], name, "{query}");
        open.push(client);
    }
}

#[test]
fn names_that_are_none_are_refused_with_400() {
    let program = Program::start(&[]);
    let long = format!("name={}", "x".repeat(41));
    for (query, part) in [
        ("name=a%0Ab", "name: "),
        ("name=a%00", "control"),
        ("name=%E2%80%AEnna", "cannot be seen"),
        ("name=%FF", "UTF-8"),
        ("room=a%7Fb", "room: "),
        (long.as_str(), "40"),
    ] {
        let refused = Handshake::to(program.addr, &format!("/chat?{query}")).send();
        assert_eq!(refused.response.status, 400, "{query}");
        let body = &refused.response.body;
        assert!(body.contains(part), "{query}: {body}");
    }
    // None of them is in the room.
    let (_, welcome) = join(&program, "name=ann");
    assert_eq!(welcome["here"], json!(["ann"]));
}

#[test]
fn who_leaves_or_vanishes_is_gone_for_the_others() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (bob, _) = join(&program, "name=bob");
    expect(&mut ann, "joined", "bob");
    bob.end();
    expect(&mut ann, "left", "bob");

    let (bob, welcome) = join(&program, "name=bob");
    assert_eq!(welcome["you"], "bob", "the name is free again");
    expect(&mut ann, "joined", "bob");
    drop(bob); // Without a word.
    expect(&mut ann, "left", "bob");
    let (_, welcome) = join(&program, "name=cid");
    assert_eq!(welcome["here"], json!(["ann", "cid"]));
}

// ------------------------------------------------------------------------------------------ what is said

#[test]
fn what_is_said_reaches_everybody_in_the_room_and_nobody_else() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (mut bob, _) = join(&program, "name=bob");
    let (mut cid, _) = join(&program, "room=tea&name=cid");
    expect(&mut ann, "joined", "bob");
    for text in [
        "hello",
        "<b>\"quoted\"</b>\\\n",
        "😀 Grüße",
        "{\"type\":\"left\"}",
        "\u{1}",
    ] {
        ann.text(text);
        for client in [&mut ann, &mut bob] {
            let said = expect(client, "said", "ann");
            assert_eq!(said["text"], text);
            assert!(said["at"].is_u64(), "{said}");
        }
    }
    cid.text("alone");
    assert_eq!(expect(&mut cid, "said", "cid")["text"], "alone");
    ann.expect_silence(MOMENT);
    bob.expect_silence(MOMENT);
}

#[test]
fn chats_at_two_paths_do_not_hear_each_other() {
    let program = Program::start(&["--route", "/other=chat"]);
    let (mut ann, _) = join(&program, "name=ann");
    let mut bob = connect(program.addr, "/other?name=ann");
    assert_eq!(recv(&mut bob)["you"], "ann");
    bob.text("here");
    assert_eq!(expect(&mut bob, "said", "ann")["text"], "here");
    ann.expect_silence(MOMENT);
}

#[test]
fn a_latecomer_gets_the_last_fifty_messages() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    for n in 0..60 {
        ann.text(&n.to_string());
    }
    let said: Vec<Value> = (0..60).map(|_| expect(&mut ann, "said", "ann")).collect();
    let (mut bob, welcome) = join(&program, "name=bob");
    assert_eq!(welcome["history"], json!(said[10..]), "as they were said");
    bob.text("hi");
    assert_eq!(expect(&mut bob, "said", "bob")["text"], "hi");
}

#[test]
fn the_last_one_takes_the_room_along() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (mut bob, _) = join(&program, "name=bob");
    bob.text("hello");
    expect(&mut bob, "said", "bob");
    bob.end();
    expect(&mut ann, "joined", "bob");
    expect(&mut ann, "said", "bob");
    expect(&mut ann, "left", "bob");
    let (mut cid, welcome) = join(&program, "name=cid");
    assert_eq!(welcome["history"][0]["text"], "hello");
    expect(&mut ann, "joined", "cid");
    ann.end();
    expect(&mut cid, "left", "ann");
    cid.end();
    program::until("a new room", || {
        let (client, welcome) = join(&program, "name=ann");
        client.end();
        welcome["history"] == json!([]) && welcome["here"] == json!(["ann"])
    });
}

#[test]
fn nobody_misses_a_message_or_gets_one_twice_by_joining_while_others_talk() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let mut late = Vec::new();
    for n in 0..90 {
        ann.text(&n.to_string());
        // What was said last may be under way still: it is in the history, or comes behind it.
        if n % 6 == 5 {
            late.push(join(&program, ""));
        }
    }
    for (mut client, welcome) in late {
        let history = welcome["history"].as_array().expect("an array");
        let mut numbers: Vec<usize> = history.iter().map(number).collect();
        while numbers.last() != Some(&89) {
            let news = recv(&mut client);
            if news["type"] == "said" {
                numbers.push(number(&news));
            }
        }
        let first = numbers[0];
        assert_eq!(numbers, (first..90).collect::<Vec<_>>(), "{welcome}");
        assert!(history.len() == 50 || first == 0, "{welcome}");
    }
}

// ------------------------------------------------------------------------------------------------- limits

#[test]
fn what_cannot_be_said_is_answered_to_its_sender_only() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (mut bob, _) = join(&program, "name=bob");
    expect(&mut ann, "joined", "bob");
    let most = "ü".repeat(2_000);
    ann.text(&most);
    assert_eq!(expect(&mut ann, "said", "ann")["text"], most);
    assert_eq!(expect(&mut bob, "said", "ann")["text"], most);

    ann.text(&format!("{most}!"));
    assert_error(&mut ann, "2001");
    ann.binary(b"bytes");
    assert_error(&mut ann, "text");
    ann.text(" \n");
    assert_error(&mut ann, "nothing");
    bob.expect_silence(MOMENT);

    ann.text(&"x".repeat(100_000));
    ann.expect_close(1009);
    drop(ann);
    expect(&mut bob, "left", "ann");
}

#[test]
fn who_talks_too_fast_is_told_so_and_drowns_nobody() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (mut bob, _) = join(&program, "name=bob");
    expect(&mut ann, "joined", "bob");
    for n in 0..300 {
        ann.text(&n.to_string());
    }
    let answers: Vec<Value> = (0..300).map(|_| recv(&mut ann)).collect();
    let count = |kind| {
        answers
            .iter()
            .filter(|answer| answer["type"] == kind)
            .count()
    };
    assert_eq!(count("said") + count("error"), 300);
    assert!(count("said") >= 100 && count("error") >= 100, "{answers:?}");
    for n in 0..100 {
        assert_eq!(number(&expect(&mut bob, "said", "ann")), n);
    }
}

#[test]
fn a_flood_of_joins_is_bounded_by_503() {
    // One session each, as of clients that keep no cookies.
    let program = Program::start(&[]);
    let mut open: Vec<Client> = Vec::new();
    let mut fill = |path: &dyn Fn(usize) -> String| {
        let mut inside = 0;
        let refused = (0..110).map(|n| {
            let client = Handshake::to(program.addr, &path(n)).send();
            let status = client.response.status;
            inside += usize::from(status == 101);
            open.push(client);
            status
        });
        let refused: Vec<u16> = refused.filter(|status| *status != 101).collect();
        assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
        inside
    };
    assert_eq!(fill(&|_| "/chat?room=full".to_owned()), 100);
    assert_eq!(fill(&|n| format!("/chat?room={n}")), 99, "besides that one");
    drop(open);
    program::until("there is room again", || {
        let client = Handshake::to(program.addr, "/chat?room=full").send();
        client.response.status == 101
    });
}

#[test]
fn a_chat_ends_with_1001_when_the_gateway_stops() {
    let program = Program::start(&[]);
    let (mut ann, _) = join(&program, "name=ann");
    let (mut bob, _) = join(&program, "room=tea&name=bob");
    program.signal("TERM");
    ann.expect_close(1001);
    bob.expect_close(1001);
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let log = &ended.stderr;
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

// -------------------------------------------------------------------------------------------------- below

/// Comes in with this query; the welcome is the first message.
fn join(program: &Program, query: &str) -> (Client, Value) {
    let mut client = connect(program.addr, &format!("/chat?{query}"));
    let welcome = recv(&mut client);
    (client, welcome)
}

fn recv(client: &mut Client) -> Value {
    match client.recv_message() {
        Message::Text(text) => serde_json::from_str(&text).expect(&text),
        other => panic!("not text: {other:?}"),
    }
}

/// Reads one message, which must be of this type and about this person.
fn expect(client: &mut Client, kind: &str, name: &str) -> Value {
    let got = recv(client);
    assert_eq!(got["type"], kind, "{got}");
    assert_eq!(got["name"], name, "{got}");
    got
}

fn assert_error(client: &mut Client, part: &str) {
    let got = recv(client);
    assert_eq!(got["type"], "error", "{got}");
    let text = got["text"].as_str().expect("a text");
    assert!(text.contains(part), "{text}");
}

/// The number that was said.
fn number(said: &Value) -> usize {
    let text = said["text"].as_str().expect("a text");
    text.parse().expect(text)
}
