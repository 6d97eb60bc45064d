//! A strict reader of the Prometheus text format 0.0.4, of the part that a gateway may use.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use std::collections::{BTreeMap, HashSet};

/// The value of each sample, by its name and labels as they stand.
pub type Samples = BTreeMap<String, u64>;

/// Reads it all, and panics where a line is not what it must be.
pub fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut samples = Samples::new();
    let mut families = HashSet::new();
    let mut family = ("", "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, sentence) = help.split_once(' ').expect("a name and a sentence");
            assert!(
                sentence.ends_with('.') && !sentence.contains('\\'),
                "{line}"
            );
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (again, kind) = kind.and_then(|kind| kind.split_once(' ')).expect("a type");
            assert_eq!(name, again);
            assert!(families.insert(name), "{name} twice");
            assert!(
                is_name(name) && name.starts_with("csp_websocket_"),
                "{name}"
            );
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
            family = (name, kind);
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
        let rest = sample
            .strip_prefix(family.0)
            .expect("the family that was begun");
        if !rest.is_empty() {
            labels(rest);
        }
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(
            samples.insert(sample.to_owned(), value).is_none(),
            "{sample} twice"
        );
    }
    samples
}

/// `{a="b",c="d"}`, with `\\`, `\"` and `\n` in the values.
fn labels(text: &str) {
    let mut rest = text.strip_prefix('{').expect("a brace");
    let mut seen = HashSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && seen.insert(name), "{text}");
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("the end of a value") {
                (at, '"') => break at,
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n')))),
                (_, c) => assert_ne!(c, '\n'),
            }
        };
        match value.get(end + 1..) {
            Some("}") => return,
            Some(more) => rest = more.strip_prefix(',').expect("a comma"),
            None => panic!("{text}"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
