//! In place of DEFLATE in a build without the feature `deflate`: nothing that could be made.

use super::Violation;

/// Nobody has one, so nothing below is ever called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Codec {}

impl Codec {
    pub(super) const FOUND: Option<Codec> = None;

    pub(super) fn inflater(self) -> Inflater {
        match self {}
    }

    pub(super) fn deflater(self, _: u8, _: u8) -> Deflater {
        match self {}
    }
}

#[derive(Debug)]
pub(super) enum Inflater {}

pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) given: usize,
    pub(super) ended: bool,
}

impl Inflater {
    pub(super) fn inflate(&mut self, _: &[u8], _: &mut [u8]) -> Result<Step, Violation> {
        match *self {}
    }

    pub(super) fn reset(&mut self) {
        match *self {}
    }
}

#[derive(Debug)]
pub(super) enum Deflater {}

impl Deflater {
    pub(super) fn deflate(&mut self, _: &[u8], _: &mut Vec<u8>, _: usize) -> bool {
        match *self {}
    }

    pub(super) fn reset(&mut self) {
        match *self {}
    }
}
