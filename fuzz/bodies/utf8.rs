//! `Utf8`: text in stretches of any length gives std's verdict, and fails in the stretch that has the bad byte.
//!
//! Input: a list of stretches (a count, then their lengths, used in turn), the text.

use super::Input;
use csp_websocket::proto::{Utf8, Violation};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.sizes();
    let bytes = input.take(2_048);
    let bad = bad_byte(bytes);
    for cuts in [&[][..], &cuts, &[1; 2_048]] {
        stretches(bytes, cuts, bad);
    }
}

/// Where the first byte is that cannot belong to any text which begins with these bytes.
fn bad_byte(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    error.error_len()?;
    let from = error.valid_up_to();
    (from..bytes.len())
        .find(|&at| std::str::from_utf8(&bytes[from..=at]).is_err_and(|e| e.error_len().is_some()))
}

fn stretches(bytes: &[u8], cuts: &[usize], bad: Option<usize>) {
    let mut utf8 = Utf8::new();
    let mut text = String::new();
    let (mut at, mut good) = (0, 0);
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let end = at + cut.min(bytes.len() - at);
        let result = stretch(&mut utf8, &bytes[at..end], &mut text);
        if bad.is_some_and(|bad| bad < end) {
            assert_eq!(
                result,
                Err(Violation::NotUtf8),
                "bad byte {bad:?}, stretch {at}..{end}"
            );
            return;
        }
        assert_eq!(result, Ok(()), "stretch {at}..{end}");
        good += std::str::from_utf8(&bytes[good..end]).map_or_else(|e| e.valid_up_to(), str::len);
        assert_eq!(text.len(), good, "whole characters, all of them");
        assert_eq!(utf8.is_whole(), good == end);
        if !utf8.is_whole() {
            assert!(Utf8::is_beginning(&bytes[good..end]));
            assert!((1..=3).contains(&utf8.missing()) && end - good + utf8.missing() <= 4);
        }
        at = end;
        if at == bytes.len() {
            assert_eq!(text.as_bytes(), &bytes[..good]);
            return;
        }
    }
}

/// As a connection does it: the begun character first, alone, then the rest.
fn stretch(utf8: &mut Utf8, mut bytes: &[u8], text: &mut String) -> Result<(), Violation> {
    if !utf8.is_whole() {
        let (first, rest) = bytes.split_at(utf8.missing().min(bytes.len()));
        text.extend(utf8.complete(first)?);
        bytes = rest;
    }
    if utf8.is_whole() {
        text.push_str(utf8.take(bytes)?);
    }
    Ok(())
}
