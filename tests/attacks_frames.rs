//! Attacks with frames and messages (SECURITY S25 to S39), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{
    BINARY, CLOSE, CONTINUATION, Client, PING, PONG, TEXT, close_payload, connect, frame,
};
use csp_websocket::{CloseCode, Config, Gateway, WebSocket};
use serve::{SOON, config};
use sharing::Shared;
use siege::{BOTH, LITTLE, answering, withstands, withstands_with};
use std::io::Read;
use std::time::{Duration, Instant};

fn masked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(fin, 0, opcode, Some([0x37, 0xfa, 0x21, 0x3d]), payload)
}

/// The header of a masked frame alone, with a length of 64 bits.
fn header(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

/// Sends each of these and not a byte more, in both modes: the answer is this close code, then the end.
fn each_is_refused(apart: &Apart, code: u16, cases: &[Vec<u8>]) {
    for path in BOTH {
        for bytes in cases {
            let end = &bytes[bytes.len().saturating_sub(40)..];
            println!("{path}: {} bytes, {}", bytes.len(), end.escape_ascii());
            let mut client = connect(apart.addr, path);
            client.send_bytes(bytes);
            client.expect_close(code);
            client.expect_eof();
        }
    }
}

#[test]
fn s25_a_length_beyond_all_bounds_is_compared_and_not_cut_down() {
    let test = "s25_a_length_beyond_all_bounds_is_compared_and_not_cut_down";
    withstands(test, Config::default(), LITTLE, |apart| {
        let of = |length: u64| [b"\x82\xff", &length.to_be_bytes()[..]].concat();
        each_is_refused(apart, 1002, &[1 << 63, (1 << 63) | 5, u64::MAX].map(of));
        // In 32 bits these would be 5 and 0.
        let lengths = [(1 << 32) | 5, 1 << 32, u64::MAX >> 1];
        each_is_refused(apart, 1009, &lengths.map(|length| header(0x82, length)));
    });
}

#[test]
fn s26_announced_lengths_take_no_memory() {
    const EACH: usize = 400;
    let test = "s26_announced_lengths_take_no_memory";
    // A thread costs what it uses of its stack, and its inbox 1 KiB.
    let memory = LITTLE + 2 * EACH as u64 * (64 << 10);
    let config = config(|c| {
        c.max_message = 1 << 40;
        c.sessions.max_sockets = 10 * EACH;
    });
    withstands(test, config, memory, |apart| {
        let before = apart.reserved();
        let mut clients: Vec<Client> = Vec::new();
        for path in BOTH {
            for n in 0..EACH {
                let length = [16 << 20, 1 << 40][n % 2];
                let mut client = connect(apart.addr, path);
                // The pong comes once there is nothing more to take in: the header has been read by then.
                let ping = masked(true, PING, b"");
                client.send_bytes(&[ping, header(0x82, length), vec![7]].concat());
                assert_eq!(client.recv_frame().opcode, PONG);
                clients.push(client);
            }
        }
        // The stacks of the dedicated ones, and what the allocator sets aside for threads: 64 MiB, eight times for
        // each processor.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let stacks = EACH as u64 * (1 << 20) + 8 * processors as u64 * (64 << 20);
        let reserved = apart.reserved().saturating_sub(before);
        assert!(reserved < stacks + memory, "{reserved} bytes are reserved");
    });
}

#[test]
fn s27_a_length_in_too_long_a_form_is_refused() {
    let test = "s27_a_length_in_too_long_a_form_is_refused";
    withstands(test, Config::default(), LITTLE, |apart| {
        let in_two = (0..126u16).map(|length| [b"\x82\xfe", &length.to_be_bytes()[..]].concat());
        // Six bytes of zero tell that two would have done, whatever follows.
        let in_eight = [0x82, 0x81, 0x02].map(|first| header(first, 0xffff)[..8].to_vec());
        each_is_refused(apart, 1002, &in_two.chain(in_eight).collect::<Vec<_>>());
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            for length in [125, 126, 0xffff, 0x1_0000] {
                client.binary(&vec![7; length]);
                client.expect_binary(&vec![7; length]);
            }
            client.end();
        }
    });
}

#[test]
fn s28_a_frame_that_is_not_masked_is_refused_at_its_second_byte() {
    let test = "s28_a_frame_that_is_not_masked_is_refused_at_its_second_byte";
    withstands(test, Config::default(), LITTLE, |apart| {
        let cases = [0x81, 0x82, 0x01, 0x02, 0x80, 0x88, 0x89, 0x8a]
            .into_iter()
            .flat_map(|first| [0, 5, 125, 126, 127].map(|second| vec![first, second]));
        each_is_refused(apart, 1002, &cases.collect::<Vec<_>>());
    });
}

#[test]
fn s29_reserved_bits_and_opcodes_are_refused_at_the_first_byte() {
    let test = "s29_reserved_bits_and_opcodes_are_refused_at_the_first_byte";
    withstands(test, Config::default(), LITTLE, |apart| {
        let reserved = |first: &u8| first & 0x70 != 0 || matches!(first & 0x0f, 3..=7 | 11..);
        let first = (0..=255).filter(reserved);
        let begun = masked(false, TEXT, b"begun");
        let amid = [0x90, 0xc0, 0x83].map(|first| [&begun[..], &[first]].concat());
        let cases = first.map(|first| vec![first]).chain(amid);
        each_is_refused(apart, 1002, &cases.collect::<Vec<_>>());
    });
}

#[test]
fn s30_control_frames_that_are_long_or_in_fragments_are_refused_at_once() {
    let test = "s30_control_frames_that_are_long_or_in_fragments_are_refused_at_once";
    withstands(test, Config::default(), LITTLE, |apart| {
        let in_fragments = [0x08, 0x09, 0x0a].map(|first| vec![first]);
        let long = [CLOSE, PING, PONG]
            .into_iter()
            .flat_map(|opcode| [0xfe, 0xff].map(|second| vec![0x80 | opcode, second]));
        let cases: Vec<Vec<u8>> = in_fragments.into_iter().chain(long).collect();
        let begun = masked(false, BINARY, b"begun");
        let amid = cases.iter().map(|case| [&begun[..], case].concat());
        let cases: Vec<Vec<u8>> = cases.iter().cloned().chain(amid).collect();
        each_is_refused(apart, 1002, &cases);
    });
}

#[test]
fn s31_the_sum_of_all_fragments_is_held_against_the_limit_at_each_header() {
    const MOST: usize = 1 << 20;
    let test = "s31_the_sum_of_all_fragments_is_held_against_the_limit_at_each_header";
    let config = config(|c| c.max_message = MOST as u64);
    withstands(test, config, LITTLE, |apart| {
        let begun = |len: usize| masked(false, BINARY, &vec![7; len]);
        let more = |len: usize| masked(false, CONTINUATION, &vec![7; len]);
        let cases = [
            header(0x82, MOST as u64 + 1),
            [begun(600_000), header(0x80, 600_000)].concat(),
            [begun(MOST), masked(true, CONTINUATION, b"x")[..6].to_vec()].concat(),
            [
                begun(1),
                more(MOST / 4).repeat(3),
                header(0x80, MOST as u64 / 4),
            ]
            .concat(),
            [begun(1), masked(true, PING, b""), header(0x80, MOST as u64)].concat(),
            [begun(1), header(0x80, u64::MAX >> 1)].concat(),
        ];
        each_is_refused(apart, 1009, &cases);
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            for _ in 0..3 {
                client.fragmented(BINARY, &[&[7; 1_000], &vec![7; MOST - 1_000]]);
                client.expect_binary(&[7; MOST]);
            }
            client.end();
        }
    });
}

#[test]
fn s32_too_many_fragments_are_refused_at_the_one_too_many() {
    let test = "s32_too_many_fragments_are_refused_at_the_one_too_many";
    withstands(test, Config::default(), LITTLE, |apart| {
        let begun = |payload: &[u8], count: usize| {
            let more = masked(false, CONTINUATION, payload).repeat(count - 1);
            [masked(false, TEXT, payload), more].concat()
        };
        let header = |fin: bool, payload: &[u8]| masked(fin, CONTINUATION, payload)[..6].to_vec();
        let cases = [
            [begun(b"x", 1_024), header(false, b"x")].concat(),
            [begun(b"x", 1_024), header(true, b"x")].concat(),
            [begun(b"", 64), header(false, b"")].concat(),
            [begun(b"", 64), header(true, b"")].concat(),
        ];
        each_is_refused(apart, 1008, &cases);
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.send_bytes(&begun(b"x", 1_023));
            client.send_bytes(&masked(true, CONTINUATION, b"x"));
            client.expect_text(&"x".repeat(1_024));
            client.end();
        }
    });
}

/// Whoever raises the limit pays for the bytes, and not for each fragment.
#[test]
fn s32_fragments_cost_no_more_memory_than_their_bytes() {
    const COUNT: usize = 500_000;
    let test = "s32_fragments_cost_no_more_memory_than_their_bytes";
    let config = config(|c| c.max_fragments = u32::MAX);
    withstands(test, config, LITTLE, |apart| {
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            send_in_fragments(&mut client, COUNT);
            client.expect_binary(&vec![b'x'; COUNT]);
            client.end();
        }
    });
}

fn send_in_fragments(client: &mut Client, count: usize) {
    client.send_bytes(&masked(false, BINARY, b"x"));
    let thousand = masked(false, CONTINUATION, b"x").repeat(1_000);
    (1..count / 1_000).for_each(|_| client.send_bytes(&thousand));
    client.send_bytes(&masked(false, CONTINUATION, b"x").repeat(998));
    client.send_bytes(&masked(true, CONTINUATION, b"x"));
}

#[test]
fn s33_four_times_the_work_takes_about_four_times_the_time() {
    let test = "s33_four_times_the_work_takes_about_four_times_the_time";
    let config = config(|c| {
        c.max_fragments = u32::MAX;
        c.max_message = 1 << 30;
    });
    withstands(test, config, LITTLE + (512 << 20), |apart| {
        type Work = fn(&mut Client, usize);
        let works: [(&str, usize, Work); 2] = [
            ("fragments", 200_000, send_in_fragments),
            ("bytes", 32 << 20, |client, count| {
                client.send_bytes(&header(0x82, count as u64)[..10]);
                client.send_bytes(&vec![0; 4 + count]); // a mask of zeros
            }),
        ];
        for path in BOTH {
            for (what, count, work) in works {
                let mut client = connect(apart.addr, path);
                client.limit = 6 * SOON;
                let mut took = |count| {
                    let before = apart.ticks();
                    work(&mut client, count);
                    let mut echo = vec![0; 10 + count];
                    client.stream.read_exact(&mut echo).expect("the echo");
                    apart.ticks() - before
                };
                // Whoever else works on the machine only adds to it, so the least of a few counts.
                let (mut one, mut four) = (u64::MAX, u64::MAX);
                for _ in 0..3 {
                    (one, four) = (one.min(took(count)), four.min(took(4 * count)));
                    println!("{path}, {what}: {one} and {four} ticks");
                    if four < 8 * one.max(5) {
                        break;
                    }
                }
                assert!(four < 8 * one.max(5), "{what}: {one} and {four} ticks");
                client.end();
            }
        }
    });
}

#[test]
fn s34_messages_within_messages_are_refused() {
    let test = "s34_messages_within_messages_are_refused";
    withstands(test, Config::default(), LITTLE, |apart| {
        let all = |frames: &[(bool, u8)]| -> Vec<u8> {
            let frames = frames.iter();
            frames
                .flat_map(|(fin, opcode)| masked(*fin, *opcode, b"x"))
                .collect()
        };
        let cases = [
            vec![(true, CONTINUATION)],
            vec![(false, CONTINUATION)],
            vec![(false, TEXT), (true, TEXT)],
            vec![(false, TEXT), (false, BINARY)],
            vec![(false, BINARY), (true, TEXT)],
            vec![(false, TEXT), (false, CONTINUATION), (true, BINARY)],
            vec![(false, TEXT), (true, PING), (true, TEXT)],
        ];
        let cases = cases.map(|frames| {
            let mut bytes = all(&frames);
            bytes.pop(); // the header is enough
            bytes
        });
        each_is_refused(apart, 1002, &cases);
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.fragmented(TEXT, &[b"wh", b"ole"]);
            client.send_frame(true, 0, CONTINUATION, true, b"more");
            client.expect_text("whole");
            client.expect_close(1002);
            client.expect_eof();
        }
    });
}

/// Frames of every form, and what comes back for them.
fn script() -> (Vec<u8>, Vec<u8>) {
    let sent = [
        masked(true, TEXT, "héllo".as_bytes()),
        masked(false, TEXT, b"a\xf0\x9f"),
        masked(true, PING, b"between"),
        masked(false, CONTINUATION, b""),
        masked(true, CONTINUATION, b"\x98\x80"),
        masked(true, PONG, b"nobody asked"),
        masked(true, TEXT, b""),
        masked(true, BINARY, &[7; 126]),
        masked(true, CLOSE, &close_payload(4_001, "done")),
    ];
    let answer = |opcode, payload: &[u8]| frame(true, 0, opcode, None, payload);
    let received = [
        answer(TEXT, "héllo".as_bytes()),
        answer(PONG, b"between"),
        answer(TEXT, "a😀".as_bytes()),
        answer(TEXT, b""),
        answer(BINARY, &[7; 126]),
        answer(CLOSE, &4_001u16.to_be_bytes()),
    ];
    (sent.concat(), received.concat())
}

/// All that the gateway sends up to the end of the stream.
fn all_received(client: &mut Client) -> Vec<u8> {
    let mut received = Vec::new();
    client
        .stream
        .set_read_timeout(Some(SOON))
        .expect("a timeout");
    client.stream.read_to_end(&mut received).expect("the end");
    received
}

#[test]
fn s36_the_same_bytes_mean_the_same_however_they_are_cut() {
    let test = "s36_the_same_bytes_mean_the_same_however_they_are_cut";
    withstands(test, Config::default(), LITTLE, |apart| {
        let (script, expected) = script();
        for path in BOTH {
            // Of 126 equal bytes not every cut is another case.
            let long = script.len() - 12 - 126..script.len() - 12;
            for at in (1..script.len()).filter(|at| at % 16 == 0 || !long.contains(at)) {
                let mut client = connect(apart.addr, path);
                let (first, second) = script.split_at(at);
                client.send_bytes(first);
                apart.until_all_taken(&client);
                client.send_bytes(second);
                assert_eq!(all_received(&mut client), expected, "{path}, cut at {at}");
            }
            let mut client = connect(apart.addr, path);
            client.send_split(&script, 1);
            assert_eq!(all_received(&mut client), expected, "{path}, byte by byte");
        }
    });
}

#[test]
fn s36_the_end_of_the_stream_at_any_byte_is_the_end_of_the_connection() {
    let test = "s36_the_end_of_the_stream_at_any_byte_is_the_end_of_the_connection";
    withstands(test, Config::default(), LITTLE, |apart| {
        let (script, expected) = script();
        for path in BOTH {
            for at in 0..script.len() {
                let mut client = connect(apart.addr, path);
                client.send_bytes(&script[..at]);
                client.half_close();
                let received = all_received(&mut client);
                assert!(expected.starts_with(&received), "{path}, cut at {at}");
            }
        }
    });
}

#[test]
fn s37_text_that_is_not_utf8_is_refused_at_the_bad_byte() {
    let test = "s37_text_that_is_not_utf8_is_refused_at_the_bad_byte";
    withstands(test, Config::default(), LITTLE, |apart| {
        // Of a frame that announces 1,000 bytes no more than these comes.
        let begun = |fin: bool, opcode: u8, payload: &[u8]| {
            let mut whole = payload.to_vec();
            whole.resize(1_000, b'x');
            masked(fin, opcode, &whole)[..8 + payload.len()].to_vec()
        };
        let bad: [&[u8]; 12] = [
            b"ab\xff",
            b"\x80",
            b"\xc0",
            b"\xc1",
            b"\xe0\x9f",
            b"\xed\xa0",
            b"\xf0\x8f",
            b"\xf4\x90",
            b"\xf5",
            b"\xe2\x82(",
            b"\xf0\x9f\x98x",
            "many good ones, é\u{fffd}\u{10ffff}\0 among them".as_bytes(),
        ];
        let mut bad = bad.map(<[u8]>::to_vec);
        bad[11].push(0xfe);
        let whole = bad.iter().map(|bytes| begun(true, TEXT, bytes));
        // The same a byte later than the end of a fragment.
        let first = masked(false, TEXT, "é".as_bytes());
        let amid = bad
            .iter()
            .map(|bytes| [&first[..], &begun(true, CONTINUATION, bytes)].concat());
        let halves = [
            [
                masked(false, TEXT, b"\xe2"),
                begun(false, CONTINUATION, b"("),
            ]
            .concat(),
            [
                masked(false, TEXT, b"\xf0\x9f"),
                masked(true, CONTINUATION, b"\x98"),
            ]
            .concat(),
            masked(true, TEXT, b"\xe2\x82"),
            masked(true, CLOSE, b"\x03\xe8\xff"),
        ];
        let cases: Vec<Vec<u8>> = whole.chain(amid).chain(halves).collect();
        each_is_refused(apart, 1007, &cases);
    });
}

#[test]
fn s38_close_frames_keep_to_the_table() {
    let test = "s38_close_frames_keep_to_the_table";
    let wordy = |ws: &mut WebSocket| ws.end_server_with(CloseCode::new(4_321), &"é".repeat(100));
    let routes = |gateway: Gateway| {
        let shared = move || Shared {
            server: wordy,
            message: sharing::echo,
        };
        gateway
            .route("/wordy", move || wordy)
            .route("/wordy/shared", shared)
    };
    withstands_with(test, Config::default(), routes, LITTLE, |apart| {
        let ranges = [0..=2, 990..=1_020, 1_999..=2_000, 2_998..=3_001];
        let ranges = ranges.into_iter().chain([3_999..=4_001, 4_998..=5_001]);
        let codes: Vec<u16> = ranges.flatten().chain([32_768, 65_535]).collect();
        let longest = format!("{}x", "é".repeat(61));
        for path in BOTH {
            for code in &codes {
                let mut client = connect(apart.addr, path);
                client.close(*code, if code % 2 == 0 { "" } else { &longest });
                let sound = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                let answer = if sound { *code } else { 1002 };
                assert_eq!(client.expect_close(answer).is_empty(), sound, "{code}");
                client.expect_eof();
            }
            let mut client = connect(apart.addr, path);
            client.send_frame(true, 0, CLOSE, true, b"");
            client.expect_close(client::NO_CODE);
            client.expect_eof();
        }
        let one_byte = masked(true, CLOSE, b"\x03");
        let too_long = masked(true, CLOSE, &[3; 126])[..2].to_vec();
        each_is_refused(apart, 1002, &[one_byte, too_long]);
        // Our own reason is cut where a character ends.
        for path in ["/wordy", "/wordy/shared"] {
            let mut client = connect(apart.addr, path);
            assert_eq!(client.expect_close(4_321), "é".repeat(61));
        }
    });
}

/// Sends until the gateway hangs up; how many bytes it took.
fn flood(client: &mut Client) -> usize {
    let bytes = masked(true, BINARY, &[7; 65_000]);
    let end = Instant::now() + SOON;
    let mut taken = 0;
    while client.try_send_bytes(&bytes).is_ok() {
        taken += bytes.len();
        assert!(Instant::now() < end, "all of {taken} bytes was taken");
    }
    taken
}

#[test]
fn s39_what_comes_behind_a_close_is_dropped_up_to_a_budget() {
    let test = "s39_what_comes_behind_a_close_is_dropped_up_to_a_budget";
    let routes = |gateway| answering(gateway, "/ends", |ws, _| ws.end_server());
    // Nothing but the budget ends it.
    let config = config(|c| c.close_timeout = Duration::from_secs(3_600));
    withstands_with(test, config, routes, LITTLE, |apart| {
        // 32 MiB, and what both systems hold of the rest.
        let most = 48 << 20;
        type Begin = fn(&mut Client);
        let begins: [([&str; 2], Begin); 3] = [
            (BOTH, |client| {
                client.send_bytes(&[0x83]);
                assert_eq!(client.recv_frame().opcode, CLOSE);
            }),
            (["/ends", "/ends/shared"], |client| {
                client.text("end");
                assert_eq!(client.recv_frame().opcode, CLOSE);
            }),
            (BOTH, |client| client.close(1000, "")),
        ];
        for (paths, begin) in begins {
            for path in paths {
                let mut client = connect(apart.addr, path);
                begin(&mut client);
                let taken = flood(&mut client);
                assert!(taken <= most, "{path}: {taken} bytes were taken");
            }
        }
        // Up to then it is read, so that the close is not lost to whoever writes before reading.
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.send_bytes(&[0x83]);
            (0..20).for_each(|_| client.send_bytes(&[0x82; 1 << 20]));
            client.half_close();
            client.expect_close(1002);
            client.expect_eof();
        }
    });
}
