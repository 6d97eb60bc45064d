//! Who is let in, decided from the head alone.

use super::{Command, Fault, Head};
use std::hint::black_box;

/// What a control request must keep to be let in.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    /// The key that a request has to show; `None` asks for none.
    pub key: Option<&'a str>,
    /// The longest body, in bytes.
    pub max_body: u64,
}

/// A request that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// What it asks for.
    pub command: Command,
    /// How many bytes its body has.
    pub length: usize,
}

impl Door<'_> {
    /// Lets a request in, or says why not. In the order of trust: a stranger learns nothing but that it is one.
    ///
    /// # Errors
    /// 403 for any `Origin`, 401 without the key, 404, 405, 417, 411, 413, or 400 for a body that is not taken.
    pub fn admit(&self, head: &Head) -> Result<Admitted, Fault> {
        if head.has_origin() {
            return Err(Fault::OriginRefused);
        }
        if !self.opens(head.bearer()) {
            return Err(Fault::KeyRequired);
        }
        let command = Command::of(head)?;
        if head.waits_for_continue().is_none() {
            return Err(Fault::Expectation);
        }
        let length = match (command.takes_body(), head.length()) {
            (true, Some(length)) if length > self.max_body => return Err(Fault::TooLarge),
            (true, Some(length)) => usize::try_from(length).map_err(|_| Fault::TooLarge)?,
            (true, None) => return Err(Fault::LengthRequired),
            (false, None | Some(0)) => 0,
            (false, Some(_)) => return Err(Fault::BodyNotTaken),
        };
        Ok(Admitted { command, length })
    }

    fn opens(&self, shown: Option<&str>) -> bool {
        match (self.key, shown) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(key), Some(shown)) => is_same(key.as_bytes(), shown.as_bytes()),
        }
    }
}

/// Compares in a time that tells nothing of where two texts of one length differ. That their lengths differ may show.
fn is_same(secret: &[u8], shown: &[u8]) -> bool {
    let differ = |all: u8, (a, b): (&u8, &u8)| black_box(all | (a ^ b));
    secret.len() == shown.len() && secret.iter().zip(shown).fold(0, differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn admit(key: Option<&str>, request: &str) -> Result<Admitted, Fault> {
        let (line, headers) = request.split_once('|').unwrap_or((request, ""));
        let headers: String = headers.split('|').map(|h| format!("{h}\r\n")).collect();
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{}\r\n", headers.trim_start());
        let head = Head::parse(head.as_bytes()).unwrap();
        Door { key, max_body: 100 }.admit(&head)
    }

    #[test]
    fn without_a_key() {
        let ok = |length: usize| Ok(length);
        let cases = [
            ("GET /websockets", ok(0)),
            ("GET /websockets|Authorization: Bearer x", ok(0)),
            ("GET /websockets|Content-Length: 0", ok(0)),
            (
                "GET /websockets|Content-Length: 1",
                Err(Fault::BodyNotTaken),
            ),
            ("POST /websockets/x/wake", ok(0)),
            ("DELETE /websockets/x", ok(0)),
            ("POST /websockets/x|Content-Length: 0", ok(0)),
            ("POST /websockets/x|Content-Length: 100", ok(100)),
            (
                "POST /websockets/x|Content-Length: 101",
                Err(Fault::TooLarge),
            ),
            (
                "POST /topics/x|Content-Length: 18446744073709551615",
                Err(Fault::TooLarge),
            ),
            ("POST /websockets/x", Err(Fault::LengthRequired)),
            ("POST /topics/x", Err(Fault::LengthRequired)),
            (
                "POST /topics/x|Content-Length: 1|Expect: 100-continue",
                ok(1),
            ),
            (
                "POST /topics/x|Content-Length: 1|Expect: more",
                Err(Fault::Expectation),
            ),
            ("GET /nothing", Err(Fault::NotFound)),
            ("GET /websockets|Origin: null", Err(Fault::OriginRefused)),
            ("GET /nothing|Origin:", Err(Fault::OriginRefused)),
        ];
        for (request, expected) in cases {
            let admitted = admit(None, request).map(|admitted| admitted.length);
            assert_eq!(admitted, expected, "{request}");
        }
    }

    #[test]
    fn with_a_key() {
        let list = "GET /websockets|Authorization: ";
        for (shown, opens) in [
            ("Bearer secret", true),
            ("bearer   secret", true),
            ("Bearer secre", false),
            ("Bearer secrets", false),
            ("Bearer Secret", false),
            ("Bearer secreT", false),
            ("Bearer ", false),
            ("Basic secret", false),
            ("secret", false),
        ] {
            let admitted = admit(Some("secret"), &format!("{list}{shown}"));
            assert_eq!(admitted.is_ok(), opens, "{shown}");
            assert!(opens || admitted == Err(Fault::KeyRequired));
        }
        // The key comes before anything that tells of what is there; the origin before the key.
        for request in ["GET /nothing", "PUT /websockets", "POST /topics/%"] {
            assert_eq!(admit(Some("k"), request), Err(Fault::KeyRequired));
        }
        let page = "GET /websockets|Origin: http://a|Authorization: Bearer k";
        assert_eq!(admit(Some("k"), page), Err(Fault::OriginRefused));
    }

    #[test]
    fn a_comparison_takes_as_long_wherever_the_texts_differ() {
        let secret = vec![b'k'; 8 * 1_024];
        let mut first = secret.clone();
        first[0] = b'x';
        let time = |shown: &[u8]| {
            let begun = Instant::now();
            black_box(is_same(black_box(&secret), black_box(shown)));
            begun.elapsed()
        };
        // The quickest of many, each too short to be interrupted often: nobody else had the processor then.
        let (mut differs_at_once, mut never) = (Duration::MAX, Duration::MAX);
        for _ in 0..500 {
            differs_at_once = differs_at_once.min(time(&first));
            never = never.min(time(&secret));
        }
        // One that stops at the first difference is a hundred times as quick.
        assert!(
            differs_at_once > never / 4,
            "{differs_at_once:?}, {never:?}"
        );
    }
}
