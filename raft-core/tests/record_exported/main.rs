//! Recordings that were exported as tests, as they came: `tests/record/export.rs` writes them with `UPDATE_EXPORTED=1`.

// Others than those who wrote this file decide how it is formatted.
#[rustfmt::skip]
mod from_the_middle;
#[rustfmt::skip]
mod from_the_start;
