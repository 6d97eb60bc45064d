//! The parts of a frame's way: header, unmasking, validation.

use super::{KEY, SIZES, Works, copy, row, rows};
use crate::report::Report;
use crate::rig::client::{BINARY, frame};
use crate::rig::{size_name, text};
use csp_websocket::proto::{Header, Mask, Utf8};
use std::hint::black_box;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;

pub fn headers(report: &mut Report) {
    rows(report, "header of", |size| {
        let bytes = frame(true, 0, BINARY, Some(KEY), &vec![0; size])[..14].to_vec();
        let same = bytes.clone();
        vec![
            (
                "csp",
                Box::new(move |times| {
                    for _ in 0..times {
                        let header = Header::parse(black_box(&bytes), false);
                        assert!(black_box(header).is_ok());
                    }
                }),
            ),
            (
                "tungstenite",
                Box::new(move |times| {
                    for _ in 0..times {
                        let header = FrameHeader::parse(&mut Cursor::new(black_box(&same)));
                        assert!(black_box(header).is_ok());
                    }
                }),
            ),
        ]
    });
}

pub fn unmasking(report: &mut Report) {
    rows(report, "unmask", |size| {
        let from = vec![1_u8; size];
        let (mut ours, mut other) = (from.clone(), from.clone());
        let works: Works<'_> = vec![
            ("memcpy", copy(from)),
            (
                "csp",
                Box::new(move |times| {
                    for _ in 0..times {
                        Mask::new(black_box(KEY)).apply(black_box(&mut ours));
                    }
                }),
            ),
            (
                "fastwebsockets",
                Box::new(move |times| {
                    for _ in 0..times {
                        fastwebsockets::unmask(black_box(&mut other), black_box(KEY));
                    }
                }),
            ),
        ];
        works
    });
}

pub fn validation(report: &mut Report) {
    let mut first = true;
    for (alphabet, sample) in super::decode::ALPHABETS {
        for size in SIZES {
            let bytes = text(sample, size).into_bytes();
            let works: Works<'_> = vec![
                ("memcpy", copy(bytes.clone())),
                ("std", {
                    let bytes = bytes.clone();
                    Box::new(move |times| {
                        for _ in 0..times {
                            assert!(std::str::from_utf8(black_box(&bytes)).is_ok());
                        }
                    })
                }),
                ("simdutf8", {
                    let bytes = bytes.clone();
                    Box::new(move |times| {
                        for _ in 0..times {
                            assert!(simdutf8::basic::from_utf8(black_box(&bytes)).is_ok());
                        }
                    })
                }),
                (
                    "csp",
                    Box::new(move |times| {
                        for _ in 0..times {
                            assert!(Utf8::new().take(black_box(&bytes)).is_ok());
                        }
                    }),
                ),
            ];
            let cells = [size_name(size), alphabet.to_owned()];
            row(report, first, &["validate", "text"], &cells, works);
            first = false;
        }
    }
}
