//! Names of people and rooms, as they come from the address: short, and nothing in them that cannot be seen.

use std::collections::HashSet;
use std::iter;

/// Characters that a name has at most.
const MOST: usize = 40;

/// The name in this text: runs of blanks are one blank, those at the ends none. `None` if nothing is left.
///
/// # Errors
/// What is wrong with it, in words for the client.
pub(super) fn name(text: &str) -> Result<Option<String>, &'static str> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("a name is not UTF-8");
    }
    let unseen = |letter: char| letter.is_control() || is_hidden(letter);
    let only_joiners = || text.contains(is_joiner) && seen(text).trim().is_empty();
    if text.contains(unseen) || only_joiners() {
        return Err("a name has a control character, or one that cannot be seen");
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let name = words.join(" ");
    match name.chars().count() {
        0 => Ok(None),
        1..=MOST => Ok(Some(name)),
        _ => Err("a name has more than 40 characters"),
    }
}

/// Cannot be seen, or turns the direction of what follows. Joiners stay: some scripts and emoji need them.
fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E007F}'
    )
}

/// Joins its neighbours, or chooses how the one before it looks.
fn is_joiner(letter: char) -> bool {
    matches!(
        letter,
        '\u{180B}'..='\u{180D}' | '\u{180F}' | '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{E0100}'..='\u{E01EF}'
    )
}

/// What of a name two people can tell apart.
fn seen(name: &str) -> String {
    name.replace(is_joiner, "").to_lowercase()
}

/// `wanted`, with the first number behind it that nobody has if somebody has it already. Case is no difference, nor is
/// a joiner.
pub(super) fn free<'a>(wanted: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let taken: HashSet<String> = taken.map(seen).collect();
    let numbered = (2_u64..).map(|n| format!("{wanted} {n}"));
    let mut names = iter::once(wanted.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(&seen(name)));
    free.unwrap_or_default() // There are more numbers than people.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name() {
        let forty = "ü".repeat(40);
        for (text, found) in [
            ("ann", Some("ann")),
            ("  Ann \u{A0} Smith ", Some("Ann Smith")),
            ("👩\u{200D}💻", Some("👩\u{200D}💻")),
            ("葛\u{E0100}", Some("葛\u{E0100}")),
            ("<b>\"&\\", Some("<b>\"&\\")),
            (&forty, Some(&forty)),
            ("", None),
            (" \u{3000} ", None),
        ] {
            assert_eq!(name(text), Ok(found.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn what_is_none_and_why() {
        let long = "ü".repeat(41);
        for (text, part) in [
            ("a\nb", "control"),
            ("\tann", "control"),
            ("a\0", "control"),
            ("\x7F", "control"),
            ("a\u{85}", "control"),
            ("ann\u{200B}", "cannot be seen"),
            ("\u{202E}nna", "cannot be seen"),
            ("\u{FEFF}", "cannot be seen"),
            ("ann\u{61C}", "cannot be seen"),
            ("\u{3164}", "cannot be seen"),
            ("ann\u{2800}", "cannot be seen"),
            ("ann\u{E0041}", "cannot be seen"),
            ("\u{200D}\u{200C} \u{FE0F}", "cannot be seen"),
            ("\u{FFFD}", "UTF-8"),
            (&long, "40"),
        ] {
            let why = name(text).expect_err(text);
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_the_first_free_number() {
        for (wanted, taken, given) in [
            ("ann", &[][..], "ann"),
            ("ann", &["bob"], "ann"),
            ("ann", &["ann"], "ann 2"),
            ("ANN", &["ann", "ann 2"], "ANN 3"),
            ("Änne", &["änne", "änne 3"], "Änne 2"),
            ("ann 2", &["ann", "ann 2"], "ann 2 2"),
            ("a\u{200C}nn", &["ann"], "a\u{200C}nn 2"),
            ("ann", &["ann\u{FE0F}"], "ann 2"),
        ] {
            assert_eq!(free(wanted, taken.iter().copied()), given);
        }
    }
}
