//! Tokens and comma-separated lists, the two shapes that every list header of the handshake is made of.

/// The items of a list, without the blanks around them; empty items do not count (RFC 9110, 5.6.1).
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// True for one or more token characters (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let cases: [(&str, &[&str]); 6] = [
            ("", &[]),
            (" , ,", &[]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            (" a\t, ,b c ,", &["a", "b c"]),
            ("\"a,b\"", &["\"a", "b\""]),
        ];
        for (value, expected) in cases {
            let got: Vec<_> = items(value.as_bytes())
                .map(|i| std::str::from_utf8(i).unwrap())
                .collect();
            assert_eq!(got, expected, "{value:?}");
        }
    }

    #[test]
    fn tokens() {
        let cases: [(&[u8], bool); 9] = [
            (b"", false),
            (b"chat", true),
            (b"a.b_c-1~", true),
            (b"a b", false),
            (b"a/b", false),
            (b"a:b", false),
            (b"\"a\"", false),
            (b"a\n", false),
            (b"\xc3\xa9", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_token(text), expected, "{text:?}");
        }
    }
}
