//! A client of the application: what it says and hears, and whether the account of it is right.

use super::app::PUSHERS;
use super::site::{Account, Site};
use super::words::{Random, message, parse};
use crate::client::{
    BINARY, CLOSE, CONTINUATION, Client, Handshake, PING, PONG, TEXT, close_payload, frame,
};
use csp_websocket::Data;
use std::collections::{HashMap, VecDeque};
use std::net::Shutdown;
use std::time::Duration;

/// What comes to a guest.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// A message of somebody, checked.
    Message,
    /// The last one: nothing of the pushers follows.
    Bye,
    /// A close frame, with its code; it has been answered.
    Close(u16),
}

pub struct Guest {
    pub name: String,
    pub client: Client,
    /// Messages sent.
    pub said: u64,
    /// Of those an echo must come of, in order: length and type.
    echoes: VecDeque<(usize, bool)>,
    /// The next number of each pusher and of the flood.
    next: HashMap<String, u64>,
    /// The numbers of the news that came.
    news: Vec<u64>,
    /// Numbers of the flood that never came.
    pub gaps: u64,
    closed: bool,
}

impl Guest {
    /// Opens a WebSocket in this role, with a cookie if there is one.
    pub fn arrive(site: &Site, role: &str, cookie: Option<&str>) -> Guest {
        let name = site.new_name();
        let mut handshake = Handshake::to(site.addr, &format!("/?name={name}&role={role}"));
        if let Some(cookie) = cookie {
            handshake = handshake.cookie("CSPSESSIONID", cookie);
        }
        let mut client = handshake.connect();
        client.limit = super::PATIENCE;
        Guest {
            name,
            client,
            said: 0,
            echoes: VecDeque::new(),
            next: HashMap::new(),
            news: Vec::new(),
            gaps: 0,
            closed: false,
        }
    }

    pub fn cookie(&self) -> Option<&str> {
        self.client.response.cookie("CSPSESSIONID")
    }

    // ---------------------------------------------------------------- saying

    /// Sends one message of any kind, in any number of frames.
    pub fn say(&mut self, random: &mut Random, may_be_empty: bool) {
        let binary = random.once_in(2);
        let data = match random.below(20) {
            0 if may_be_empty && binary => Data::from(Vec::new()),
            0 if may_be_empty => Data::from(""),
            _ => message("c", self.said, random.len(), binary),
        };
        self.said += 1;
        self.echoes.push_back((data.len(), binary));
        let bytes = frames(&data, random);
        self.client.send_while_receiving(&bytes);
    }

    /// Sends a command to the server.
    pub fn command(&mut self, command: &str) {
        let mask = Some([7, 1, 9, 3]);
        let bytes = frame(true, 0, TEXT, mask, format!("!{command}").as_bytes());
        self.client.send_while_receiving(&bytes);
    }

    pub fn close(&mut self) {
        let bytes = frame(true, 0, CLOSE, Some([1, 2, 3, 4]), &close_payload(1000, ""));
        self.client.send_while_receiving(&bytes);
        self.closed = true;
    }

    // --------------------------------------------------------------- hearing

    /// Waits for the next message or the close.
    pub fn hear(&mut self) -> Heard {
        let mut whole = Vec::new();
        let mut kind = None;
        loop {
            let next = self.client.recv_frame();
            assert_eq!(next.rsv, 0, "{next}");
            match (next.opcode, kind) {
                (PING, _) => {
                    let pong = frame(true, 0, PONG, Some([5, 6, 7, 8]), &next.payload);
                    let _ = self.client.try_send_bytes(&pong);
                    continue;
                }
                (PONG, _) => continue,
                (CLOSE, _) => return self.hear_close(&next.payload),
                (TEXT | BINARY, None) => kind = Some(next.opcode),
                (CONTINUATION, Some(_)) => {}
                _ => panic!("{}: in place of a message: {next}", self.name),
            }
            whole.extend_from_slice(&next.payload);
            if next.fin {
                break;
            }
        }
        let data = match kind {
            Some(TEXT) => Data::from(String::from_utf8(whole).expect("text is not UTF-8")),
            _ => Data::from(whole),
        };
        self.check(&data)
    }

    fn check(&mut self, data: &Data) -> Heard {
        if data.as_str() == Some("!bye") {
            return Heard::Bye;
        }
        let (len, binary) = (data.len(), matches!(data, Data::Binary(_)));
        let (sender, n) = match data.is_empty() {
            true => ("c", 0),
            false => parse(data).unwrap_or_else(|wrong| panic!("{}: {wrong}", self.name)),
        };
        match sender {
            "c" => {
                let oldest = self.said - self.echoes.len() as u64;
                let expected = self.echoes.pop_front();
                assert_eq!(expected, Some((len, binary)), "{}: echo {n}", self.name);
                assert!(
                    n == oldest || len == 0,
                    "{}: echo {n}, not {oldest}",
                    self.name
                );
            }
            "news" => {
                let last = self.news.last().copied();
                assert!(last < Some(n), "{}: news {n} after {last:?}", self.name);
                self.news.push(n);
            }
            _ => {
                let next = self.next.entry(sender.to_owned()).or_default();
                if sender == "flood" && n > *next {
                    self.gaps += n - *next;
                    *next = n;
                }
                assert_eq!(n, *next, "{}: the next of {sender}", self.name);
                *next += 1;
            }
        }
        Heard::Message
    }

    fn hear_close(&mut self, payload: &[u8]) -> Heard {
        let code = payload.get(..2).expect("a close frame with a code");
        if !self.closed {
            self.closed = true;
            let answer = frame(true, 0, CLOSE, Some([4, 3, 2, 1]), payload);
            let _ = self.client.try_send_bytes(&answer);
        }
        Heard::Close(u16::from_be_bytes([code[0], code[1]]))
    }

    /// Waits for every echo that is owed.
    pub fn hear_echoes(&mut self) {
        while !self.echoes.is_empty() {
            assert_eq!(self.hear(), Heard::Message, "{}: echoes missing", self.name);
        }
    }

    /// How many echoes are owed.
    pub fn owed(&self) -> usize {
        self.echoes.len()
    }

    /// Waits for the last message.
    pub fn hear_bye(&mut self) {
        while match self.hear() {
            Heard::Message => true,
            Heard::Bye => false,
            Heard::Close(code) => panic!("{}: close {code} in place of bye", self.name),
        } {}
    }

    /// Waits for the close, which must have this code, and for the end of the connection.
    pub fn hear_end(&mut self, code: u16) {
        loop {
            match self.hear() {
                Heard::Close(got) => {
                    assert_eq!(got, code, "{}: code of the close", self.name);
                    break;
                }
                Heard::Message | Heard::Bye => {}
            }
        }
        self.client.expect_hang_up();
        // After a violation the server waits for this.
        let _ = self.client.stream.shutdown(Shutdown::Both);
    }

    // --------------------------------------------------------------- reckoning

    /// What the application says of it once its WebSocket is over; nothing may be wrong with it.
    pub fn account(&self, site: &Site) -> Account {
        let account = site.account(&self.name);
        assert_eq!(account.list("posts"), [1], "{}: {account:?}", self.name);
        assert!(account.is_faultless(), "{}: {account:?}", self.name);
        site.count(account.list("pushed").iter().sum(), self.said);
        account
    }

    /// How many messages came of this sender.
    pub fn came(&self, sender: &str) -> u64 {
        let next = self.next.get(sender).copied().unwrap_or(0);
        if sender == "flood" {
            next - self.gaps
        } else {
            next
        }
    }

    /// Of each pusher every message that was accepted has come, but for the last of them where the end has cut off what
    /// waited behind a message in fragments: these are counted.
    pub fn has_pushed(&self, account: &Account) {
        let pushed = account.list("pushed");
        assert_eq!(pushed.len(), PUSHERS);
        let mut missing = 0;
        for (pusher, pushed) in pushed.iter().enumerate() {
            let came = self.came(&format!("p{pusher}"));
            assert!(came <= *pushed, "{}: of p{pusher}: {account:?}", self.name);
            missing += pushed - came;
        }
        assert!(
            missing <= account.cut_off(),
            "{}: {missing} missing, {account:?}",
            self.name
        );
    }

    /// Likewise, and the news, but for those that a full outbox cost.
    pub fn has_all(&self, account: &Account) {
        self.has_pushed(account);
        let pushed: u64 = account.list("pushed").iter().sum();
        let came: u64 = (0..PUSHERS)
            .map(|pusher| self.came(&format!("p{pusher}")))
            .sum();
        assert_eq!(came, pushed, "{}: {account:?}", self.name);
        let [from, to] = account.list("news")[..] else {
            panic!("{account:?}");
        };
        let came = self.news.iter().filter(|n| (from..to).contains(n)).count() as u64;
        let lost = to.saturating_sub(from) - came + account.number("refused");
        // One may have been under way, and lost, when the last was counted.
        let dropped = account.number("dropped");
        assert!(
            dropped == lost || dropped == lost + 1 && lost > 0,
            "{}: {lost} lost, {account:?}",
            self.name
        );
    }
}

/// A message as frames: one, or several with a ping among them.
fn frames(data: &Data, random: &mut Random) -> Vec<u8> {
    let mut mask = || [(); 4].map(|()| random.below(256) as u8);
    let masks = [mask(), mask(), mask(), mask()];
    let opcode = match data {
        Data::Text(_) => TEXT,
        Data::Binary(_) => BINARY,
    };
    let bytes = data.as_bytes();
    if !random.once_in(3) {
        return frame(true, 0, opcode, Some(masks[0]), bytes);
    }
    let (head, rest) = bytes.split_at(random.below(bytes.len() + 1));
    let (middle, tail) = rest.split_at(random.below(rest.len() + 1));
    [
        frame(false, 0, opcode, Some(masks[0]), head),
        frame(false, 0, CONTINUATION, Some(masks[1]), middle),
        frame(true, 0, PING, Some(masks[2]), b"amid"),
        frame(true, 0, CONTINUATION, Some(masks[3]), tail),
    ]
    .concat()
}

/// For those who wait between two looks.
pub const MOMENT: Duration = Duration::from_millis(10);
