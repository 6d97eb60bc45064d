//! The same over TLS: what comes of a play is what comes of it without, whatever the stream does to the records.

#[path = "../../../tests/tunnel/mod.rs"]
pub(super) mod tunnel;

use super::play::Play;
use super::stage::Stage;
use super::*;
use rustls::ClientConfig;
use std::sync::Arc;

/// Bytes that TLS adds on each way, more or less: those of the handshake and of some records.
const ADDED: usize = 2_500;

fn over_tls(config: &Arc<ClientConfig>, stream: Faulty) -> Faulty {
    stream.over_tls(tunnel::client(config))
}

#[test]
fn what_passes_changes_nothing_over_tls() {
    let (plain, config) = (Stage::new(LONG), tunnel::client_config());
    for_seeds_on(&Stage::over_tls(LONG), 300, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let play = Play::drawn(dice, mode);
        let expected = undisturbed(&plain, &play);
        let stream = faulty(&play, noise(dice, &play), None, None);
        let outcome = stage.play(&play, over_tls(&config, stream));
        assert_same(&play, &expected, &outcome);
    });
}

#[test]
fn what_fails_for_good_leaves_a_beginning_over_tls() {
    let (plain, config) = (Stage::new(LONG), tunnel::client_config());
    for_seeds_on(&Stage::over_tls(LONG), 300, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let play = Play::drawn(dice, mode);
        let expected = undisturbed(&plain, &play);
        let noise = noise(dice, &play);
        let fault = dice.one_of(&FATAL);
        let mut cut = |len| {
            let at = dice.below(len + ADDED);
            Some(Cut { at, fault })
        };
        let (receives, writes) = (cut(play.script().len()), cut(expected.got.len()));
        let stream = match dice.below(2) {
            0 => faulty(&play, noise, receives, None),
            _ => faulty(&play, noise, None, writes),
        };
        let outcome = stage.play(&play, over_tls(&config, stream));
        assert_beginning(&expected, &outcome);
    });
}

/// With another thread that writes at the same time.
#[test]
fn a_writer_beside_the_server_over_tls() {
    let (plain, config) = (Stage::new(LONG), tunnel::client_config());
    for_seeds_on(&Stage::over_tls(LONG), 200, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let mut play = Play::drawn(dice, mode);
        let expected = undisturbed(&plain, &play);
        play.beside = 1 + dice.below(20);
        let stream = faulty(&play, noise(dice, &play), None, None);
        let outcome = stage.play(&play, over_tls(&config, stream));
        assert_eq!(outcome.seen, expected.seen);
        let (own, beside) = apart(&outcome);
        let taken = beside_taken(&play, &outcome);
        match play.just_ends {
            true => assert!(beside <= taken),
            false => assert_eq!(beside, taken),
        }
        assert!(is_beginning(&own.data, &frames(&expected.got).data));
    });
}
