//! What goes to the page: small JSON texts. Nothing in JSON ever comes back, so there is no parser.

use std::fmt::Write;

/// The welcome of one who comes in. `said` are messages as [`said`] made them, the oldest first.
pub(super) fn welcome<'a>(
    room: &str,
    you: &str,
    id: &str,
    here: impl Iterator<Item = &'a str>,
    said: impl Iterator<Item = &'a str>,
) -> String {
    let here = here.map(string).collect::<Vec<_>>().join(",");
    let said = said.collect::<Vec<_>>().join(",");
    let (room, you, id) = (string(room), string(you), string(id));
    format!(
        r#"{{"type":"welcome","room":{room},"you":{you},"id":{id},"here":[{here}],"history":[{said}]}}"#
    )
}

/// Somebody came in.
pub(super) fn joined(name: &str, at: u64) -> String {
    let name = string(name);
    format!(r#"{{"type":"joined","name":{name},"at":{at}}}"#)
}

/// Somebody is gone.
pub(super) fn left(name: &str, at: u64) -> String {
    let name = string(name);
    format!(r#"{{"type":"left","name":{name},"at":{at}}}"#)
}

/// Somebody said something. `at` is in milliseconds since 1970, as JavaScript counts.
pub(super) fn said(name: &str, text: &str, at: u64) -> String {
    let (name, text) = (string(name), string(text));
    format!(r#"{{"type":"said","name":{name},"text":{text},"at":{at}}}"#)
}

/// What was sent was not taken, and why.
pub(super) fn error(text: &str) -> String {
    let text = string(text);
    format!(r#"{{"type":"error","text":{text}}}"#)
}

/// A string with its quotes (RFC 8259, 7): what must be escaped is, everything else stands as it is.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..='\x1F' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn strings_as_the_rfc_writes_them() {
        for (text, quoted) in [
            ("", r#""""#),
            ("Grüße 😀 </script>", r#""Grüße 😀 </script>""#),
            (r#"say "a\b""#, r#""say \"a\\b\"""#),
            ("a\nb\r\tc", r#""a\nb\r\tc""#),
            ("\0\x08\x0C\x1F", r#""\u0000\u0008\u000c\u001f""#),
            ("\x7F\u{85}\u{2028}", "\"\x7F\u{85}\u{2028}\""),
        ] {
            assert_eq!(string(text), quoted);
        }
    }

    #[test]
    fn another_reader_finds_every_character_again() {
        let every: String = ('\0'..='\u{3000}')
            .chain(['\u{FFFD}', '\u{10FFFF}'])
            .collect();
        assert_eq!(read(&string(&every)), json!(every));
    }

    #[test]
    fn each_message_is_an_object_with_a_type() {
        let hello = said("ann", "\"hi\"", 7);
        let greeting = welcome(
            "a/b",
            "bob",
            "ID",
            ["ann", "bob"].into_iter(),
            [&*hello].into_iter(),
        );
        for (text, value) in [
            (
                greeting,
                json!({"type": "welcome", "room": "a/b", "you": "bob", "id": "ID", "here": ["ann", "bob"],
                    "history": [{"type": "said", "name": "ann", "text": "\"hi\"", "at": 7}]}),
            ),
            (
                welcome("r", "n", "i", [].into_iter(), [].into_iter()),
                json!({"type": "welcome", "room": "r", "you": "n", "id": "i", "here": [], "history": []}),
            ),
            (
                joined("\\", 1),
                json!({"type": "joined", "name": "\\", "at": 1}),
            ),
            (
                left("\"", 2),
                json!({"type": "left", "name": "\"", "at": 2}),
            ),
            (error("no\n"), json!({"type": "error", "text": "no\n"})),
        ] {
            assert_eq!(read(&text), value);
        }
    }
}
