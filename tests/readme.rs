//! The README says what the code does: its tables against the code, its first program against the example.

use csp_websocket::proto::Violation;
use csp_websocket::{Config, Deflate, Limit, Misuse, Status};
use std::collections::BTreeSet;
use std::time::Duration;

const README: &str = include_str!("../README.md");

#[test]
fn the_program_is_the_example() {
    let example = include_str!("examples/echo.rs");
    let (_head, program) = example.split_once("\n\n").expect("a head");
    assert!(README.contains(&format!("```rust,no_run\n{program}```\n")));
}

#[test]
fn the_shell_takes_each_curl_line_for_what_it_is_meant() {
    let lines = README
        .lines()
        .filter(|line| line.starts_with("C=") || line.contains("key.header)"));
    let lines: Vec<&str> = lines.collect();
    let folder = std::env::temp_dir().join(format!("csp-readme-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a directory");
    std::fs::write(folder.join("key"), "the-key\n").expect("a file");
    // In place of the program, one that prints each of its arguments in a line.
    let curl = "curl() { printf '[%s]\\n' \"$@\"; }";
    let script = [&[curl][..], &lines, &["$C/websockets", "cat key.header"]].concat();
    let shell = std::process::Command::new("sh")
        .args(["-e", "-c", &script.join("\n")])
        .current_dir(&folder)
        .output();
    let _ = std::fs::remove_dir_all(&folder);
    let shell = shell.expect("a shell");
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout),
        "[-H]\n[@key.header]\n[http://127.0.0.1:8081/websockets]\nAuthorization: Bearer the-key\n",
        "{shell:?}"
    );
}

#[test]
fn every_example_is_listed() {
    for name in names_of("[[example]]") {
        assert_row(&format!("| `{name}` | "));
    }
}

#[test]
fn every_field_of_the_configuration_is_listed_with_its_default() {
    let config = Config::default();
    let (sessions, shared) = (&config.sessions, &config.shared);
    let deflate = Deflate::default();
    assert!(config.deflate.is_none());
    let (timeout, quoted) = (sessions.timeout, |s: &str| format!("`{s}`"));
    assert_eq!(config.origins.to_string(), "same");
    assert!(config.host_names.is_empty() && !config.proxy_protocol);
    let defaults = [
        ("max_connections", count(config.max_connections)),
        ("max_connections_per_address", "0: any number".to_owned()),
        ("max_lifetime", "0: for good".to_owned()),
        ("stack_size", size(config.stack_size as u64)),
        ("handshake_timeout", time(config.handshake_timeout)),
        ("write_timeout", time(config.write_timeout)),
        ("close_timeout", time(config.close_timeout)),
        ("ping_interval", time(config.ping_interval)),
        ("pong_timeout", time(config.pong_timeout)),
        ("max_message", size(config.max_message)),
        ("max_fragments", count(config.max_fragments as usize)),
        (
            "max_empty_fragments",
            count(config.max_empty_fragments as usize),
        ),
        ("message_timeout", time(config.message_timeout)),
        (
            "max_control_frames",
            count(config.max_control_frames as usize),
        ),
        ("origins", "same host and port".to_owned()),
        ("host_names", "none".to_owned()),
        ("trusted_proxies", config.trusted_proxies.to_string()),
        ("proxy_protocol", "off".to_owned()),
        ("sessions.cookie", quoted(&sessions.cookie)),
        ("sessions.path", quoted(&sessions.path)),
        ("sessions.secure", sessions.secure.to_string()),
        ("sessions.timeout", time(timeout)),
        ("sessions.max_sessions", count(sessions.max_sessions)),
        ("sessions.max_sockets", count(sessions.max_sockets)),
        ("shared.workers", "one for each processor".to_owned()),
        ("shared.outbox_bytes", size(shared.outbox_bytes as u64)),
        ("shared.outbox_messages", count(shared.outbox_messages)),
        (
            "shared.slow_consumer",
            format!("`{:?}`", shared.slow_consumer),
        ),
        ("shared.kept_bytes", size(shared.kept_bytes as u64)),
        ("shared.kept_messages", count(shared.kept_messages)),
        ("deflate", "none: off".to_owned()),
        ("deflate.window_bits", deflate.window_bits.to_string()),
        (
            "deflate.context_takeover",
            deflate.context_takeover.to_string(),
        ),
        (
            "deflate.client_context_takeover",
            deflate.client_context_takeover.to_string(),
        ),
        ("deflate.level", deflate.level.to_string()),
        ("deflate.threshold", deflate.threshold.to_string()),
        ("deflate.max_connections", count(deflate.max_connections)),
    ];
    for (field, default) in &defaults {
        assert_row(&format!("| `{field}` | {default} | "));
    }

    // What this test does not know of is a field that was added.
    let source = include_str!("../src/config.rs");
    let fields = source.lines().filter_map(|line| {
        let (name, _type) = line.strip_prefix("    pub ")?.split_once(": ")?;
        (!["sessions", "shared"].contains(&name)).then_some(name)
    });
    let known = defaults
        .iter()
        .map(|(name, _)| name.rsplit('.').next().expect("a name"));
    let (mut fields, mut known) = (fields.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    fields.sort_unstable();
    known.sort_unstable();
    assert_eq!(fields, known);
}

/// What these attack is not there: a WebSocket client; 66 names no attack.
const NOT_IN_THIS_VERSION: [u8; 2] = [66, 72];

#[test]
fn every_attack_is_listed_with_its_defence_its_limit_and_its_test() {
    let (_, table) = README
        .split_once("| number | attack | defence and default | test |\n|---|---|---|---|\n")
        .expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let mut listed = Vec::new();
    for row in table.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, number, _, defence, tests, _] = cells[..] else {
            panic!("not four cells: {row}");
        };
        let number = number.strip_prefix('S').and_then(|n| n.parse().ok());
        let number: u8 = number.unwrap_or_else(|| panic!("not a number: {row}"));
        listed.push(number);
        names_limits_with_their_defaults(defence);
        if NOT_IN_THIS_VERSION.contains(&number) {
            assert!(defence.starts_with("not in this version: "), "{row}");
            assert_eq!(tests, "", "{row}");
        } else {
            let tests: Vec<&str> = quoted(tests).map(|(test, _)| test).collect();
            assert!(!tests.is_empty(), "no test: {row}");
            tests.into_iter().for_each(is_a_test);
        }
    }
    assert!(listed.is_sorted(), "{listed:?}");
    assert_eq!(listed, (1..=76).collect::<Vec<u8>>());
}

/// `field (default)`, as the table of limits has it; a field is what is quoted and all in lower case.
fn names_limits_with_their_defaults(defence: &str) {
    for (name, behind) in quoted(defence) {
        let is_field = |c: char| c.is_ascii_lowercase() || "_.".contains(c);
        if name.chars().all(is_field) {
            let row = format!("| `{name}` | ");
            let row = README.lines().find_map(|line| line.strip_prefix(&row));
            let row = row.unwrap_or_else(|| panic!("no limit is named {name}: {defence}"));
            let default = row.split(" | ").next().expect("a default");
            let stated = format!(" ({default})");
            assert!(
                behind.starts_with(&stated),
                "{name} has {default}: {defence}"
            );
        }
    }
}

/// `FILE::NAME` is a test in a file of `tests` or `src`.
fn is_a_test(test: &str) {
    let (file, name) = test.split_once("::").expect("FILE::NAME");
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |folder| std::fs::read_to_string(format!("{root}/{folder}/{file}.rs"));
    let source = read("tests").or_else(|_| read("src"));
    let source = source.unwrap_or_else(|error| panic!("{test}: {error}"));
    let start = format!("fn {name}(");
    let mut before = "";
    let found = source.lines().map(str::trim).any(|line| {
        let found = before == "#[test]" && line.starts_with(&start);
        before = line;
        found
    });
    assert!(found, "there is no test {test}");
}

/// What stands between backquotes, each with the text behind it.
fn quoted(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once('`')?;
        let (inside, behind) = from.split_once('`').expect("a closing backquote");
        rest = behind;
        Some((inside, behind))
    })
}

#[test]
fn every_status_number_is_listed_with_its_meaning() {
    for misuse in Misuse::ALL {
        let (number, text) = (misuse.code(), misuse.text());
        assert_row(&format!("| {number} | `Misuse::{misuse:?}` | {text} |"));
    }
    for limit in Limit::ALL {
        let (number, text) = (limit.code(), limit.text());
        assert_row(&format!("| {number} | `Limit::{limit:?}` | {text} |"));
    }
    let violations = [
        Violation::ReservedBits,
        Violation::ReservedOpcode,
        Violation::Unmasked,
        Violation::LengthForm,
        Violation::ControlTooLong,
        Violation::ControlFragmented,
        Violation::NothingToContinue,
        Violation::Interleaved,
        Violation::NotUtf8,
        Violation::CloseLength,
        Violation::CloseCode,
        Violation::CloseReason,
        Violation::NotDeflate,
    ];
    for violation in violations {
        let (number, text) = (Status::from(violation).code(), violation.reason());
        assert_row(&format!(
            "| {number} | `Violation::{violation:?}` | {text} |"
        ));
    }
    let others = [
        ("OK", Status::OK),
        ("Io", Status::Io(std::io::Error::other("")).code()),
        ("Shutdown", Status::Shutdown.code()),
        ("Timeout", Status::Timeout.code()),
        ("Closed", Status::Closed(None).code()),
    ];
    for (name, number) in others {
        assert_row(&format!("| {number} | `Status::{name}` | "));
    }
    assert_row("| 450 | `Status::Refused` | ");
    assert_row("| 900–999 | `Status::App` | ");

    // The numbers as the source has them: none is missing above.
    let source = include_str!("../src/status.rs");
    let arms = source.lines().filter(|line| line.contains("Violation::"));
    let number = |line: &str| {
        line.rsplit_once("=> ")?
            .1
            .strip_suffix(',')?
            .parse::<u16>()
            .ok()
    };
    assert_eq!(arms.filter_map(number).count(), violations.len());
}

#[test]
fn every_metric_is_listed_with_its_labels() {
    let gateway = csp_websocket::Gateway::bind("127.0.0.1:0", Config::default());
    let text = gateway.expect("a gateway").handle().counters().to_string();
    let mut names = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = line.split_once(' ').expect("a type");
        let sample = text.lines().find(|line| line.starts_with(name));
        let labels = sample.and_then(|line| line.split_once('{'));
        let labels = labels.map_or("", |(_, labels)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels: Vec<_> = labels.map(|(label, _)| format!("`{label}`")).collect();
        let labels = format!(" {} ", labels.join(", ")).replace("  ", " ");
        assert_row(&format!("| `{name}` |{labels}| "));
        names += 1;
    }
    let rows = README
        .lines()
        .filter(|line| line.starts_with("| `csp_websocket_"));
    assert_eq!(rows.count(), names);
}

#[test]
fn every_member_of_the_original_is_listed() {
    let members = "UseSession NoCharSetConvert AtEnd BinaryData GWClientAddress NoDataFraming SessionEndOnClose \
        SessionId SharedConnection WebSocketID EndServer() Initialize() InitializeServer() OnClientMessage() \
        OnPreServer() OnPostServer() OpenServer() Read() SendAsyncMessage() Server() Write()";
    let (_, table) = README
        .split_once("| `%CSP.WebSocket` | here |")
        .expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let left = |line: &'static str| line.split(" | ").next().unwrap_or_default();
    for member in members.split_whitespace() {
        let found = table
            .lines()
            .any(|line| left(line).contains(&format!("`{member}`")));
        assert!(found, "{member}");
    }
}

#[test]
fn every_package_is_listed_with_its_reason() {
    let manifest = include_str!("../Cargo.toml");
    let (_, section) = manifest
        .split_once("\n[dependencies]\n")
        .expect("a section");
    let mut reason = "";
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        if let Some(comment) = line.strip_prefix("# ") {
            reason = comment;
        } else if let Some((name, _)) = line.split_once(" = ") {
            assert_row(&format!("| `{name}` | {reason} |"));
        }
    }
}

#[test]
fn every_package_that_is_compiled_is_listed_and_no_other() {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".to_owned());
    let tree = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--edges", "normal,build", "--all-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).expect("text");
    let built: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != "csp-websocket")
        .collect();

    let (_, section) = README.split_once("\n## Packages\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: Vec<&str> = rows.collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), built);
    assert_eq!(listed.len(), built.len(), "one of them twice");
}

/// The names in every section of the manifest with this title.
fn names_of(title: &str) -> impl Iterator<Item = &'static str> {
    let sections = include_str!("../Cargo.toml").split(title).skip(1);
    sections.map(|section| section.split('"').nth(1).expect("a name"))
}

fn assert_row(start: &str) {
    let found = README.lines().any(|line| line.starts_with(start));
    assert!(found, "README.md has no line that begins with: {start}");
}

/// `16384` as `16,384`.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    match bytes {
        n if n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n => format!("{} KiB", n >> 10),
    }
}

fn time(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
