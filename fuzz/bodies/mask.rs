//! `Mask`: a payload unmasked in stretches of any length is what the naive twin makes of it.
//!
//! Input: a key, a list of stretches (a count, then their lengths, used in turn), the payload.

use super::Input;
use csp_websocket::proto::Mask;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let key = [input.byte(), input.byte(), input.byte(), input.byte()];
    let cuts = input.sizes();
    let naive: Vec<u8> = (input.rest.iter().zip(key.iter().cycle()))
        .map(|(byte, key)| byte ^ key)
        .collect();

    let mut whole = input.rest.to_vec();
    Mask::new(key).apply(&mut whole);
    assert_eq!(whole, naive);

    let mut got = input.rest.to_vec();
    let mut mask = Mask::new(key);
    let mut left = &mut got[..];
    for cut in cuts {
        let (now, later) = left.split_at_mut(cut.min(left.len()));
        mask.apply(now);
        left = later;
    }
    mask.apply(left);
    assert_eq!(got, naive);
}
