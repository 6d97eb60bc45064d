use crate::report::Report;
pub fn codec(_: &mut Report) {}
