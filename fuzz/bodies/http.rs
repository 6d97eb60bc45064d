//! Request heads and answers by hand, so that an error in the product's own reading cannot hide itself.

/// A head by hand: its request line and its headers, `None` where it is not lines of `name: value`, or not whole.
pub struct Lines<'a> {
    pub request: &'a [u8],
    pub headers: Vec<(String, &'a [u8])>,
    /// The length of the longest line.
    pub longest: usize,
    /// How many bytes the head has, with the blank line.
    pub size: usize,
}

pub fn lines(bytes: &[u8]) -> Option<Lines<'_>> {
    let size = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let mut rest = &bytes[..size - 2];
    let mut lines = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    let headers = lines[1..].iter().map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name.to_ascii_lowercase(), trimmed(&line[colon + 1..])))
    });
    Some(Lines {
        request: lines[0],
        headers: headers.collect::<Option<_>>()?,
        longest: lines.iter().map(|line| line.len()).max().unwrap_or(0),
        size,
    })
}

impl<'a> Lines<'a> {
    pub fn all(&self, name: &str) -> Vec<&'a [u8]> {
        (self.headers.iter().filter(|(other, _)| other == name))
            .map(|(_, value)| *value)
            .collect()
    }

    pub fn lists(&self, name: &str, token: &str) -> bool {
        (self.all(name).iter())
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// What RFC 6455, 4.2.1 asks of a client.
    pub fn is_handshake(&self) -> bool {
        let key = self.all("sec-websocket-key");
        self.request.starts_with(b"GET ")
            && self.request.ends_with(b" HTTP/1.1")
            && self.all("host").len() == 1
            && self.lists("upgrade", "websocket")
            && self.lists("connection", "upgrade")
            && self.all("sec-websocket-version") == [b"13"]
            && key.len() == 1
            && is_sixteen_bytes(key[0])
    }
}

/// The status of an answer and how long its body is; it must be one answer, and whole.
pub fn parts(answer: &[u8]) -> (u16, usize) {
    let head = lines(answer).expect("lines of name: value");
    let body = answer.len() - head.size;
    let text = std::str::from_utf8(&answer[..head.size]).expect("text");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
    let (version, status) = text.split_at(9);
    assert_eq!(version, "HTTP/1.1 ");
    let status = status[..3].parse().expect("three digits");
    assert_eq!(head.all("connection").len(), 1);
    assert_eq!(head.all("transfer-encoding").len(), 0);
    if status == 101 {
        assert_eq!(head.all("content-length").len(), 0);
        assert_eq!(head.all("sec-websocket-accept").len(), 1);
        assert!(head.all("sec-websocket-protocol").len() <= 1);
        assert!(head.lists("upgrade", "websocket") && head.lists("connection", "upgrade"));
    } else {
        assert!(head.lists("connection", "close"));
        let len = head.all("content-length");
        let len = std::str::from_utf8(len[0])
            .expect("digits")
            .parse::<usize>();
        // The answer to HEAD tells the length of a body that does not come.
        assert!(len.is_ok_and(|len| len == body || body == 0));
    }
    (status, body)
}

/// Without the blanks and tabs around it (RFC 9110, 5.5); a stray CR stays.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_ink = |byte: &u8| !b" \t".contains(byte);
    match (
        value.iter().position(is_ink),
        value.iter().rposition(is_ink),
    ) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => b"",
    }
}

/// Base64 (RFC 4648, 4) of sixteen bytes: 22 letters, of which the last has four bits left over, and padding.
fn is_sixteen_bytes(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && (key[..22].iter()).all(|b| b.is_ascii_alphanumeric() || b"+/".contains(b))
        && b"AQgw".contains(&key[21])
}
