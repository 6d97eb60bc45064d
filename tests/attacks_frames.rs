//! Attacks with frames and messages (SECURITY S25 to S39), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use client::connect;
use csp_websocket::Config;
use siege::{BOTH, LITTLE, withstands};

#[test]
fn s25_a_length_with_the_top_bit_set_is_refused() {
    let test = "s25_a_length_with_the_top_bit_set_is_refused";
    withstands(test, Config::default(), LITTLE, |apart| {
        for path in BOTH {
            for length in [1 << 63, (1 << 63) | 5, u64::MAX] {
                let mut client = connect(apart.addr, path);
                client.send_bytes(&[b"\x82\xff", &u64::to_be_bytes(length)[..]].concat());
                client.expect_close(1002);
                client.expect_eof();
            }
        }
    });
}
