//! A program for the tests of the library: it does with files what its arguments say, and prints what failed.
//!
//! `write FILE TEXT`, `sync PATH`, `sync-write FILE TEXT`, `rename FROM TO`, `remove FILE`, `mkdir DIRECTORY`, one after the
//! other; each argument is one such command, with spaces between its words.
#![allow(
    clippy::print_stdout,
    reason = "what failed is what the tests want to know from this program"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

fn main() {
    for command in std::env::args().skip(1) {
        if let Err(error) = run(&command) {
            println!("{command}: {error}");
        }
    }
}

fn run(command: &str) -> io::Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    match words[..] {
        // One call, so that a short write is seen as one.
        ["write", file, text] => {
            let mut file = OpenOptions::new().create(true).append(true).open(file)?;
            let written = file.write(text.as_bytes())?;
            match written == text.len() {
                true => Ok(()),
                false => Err(io::Error::other(format!("{written} bytes"))),
            }
        }
        ["sync-write", file, text] => {
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_DSYNC);
            options.open(file)?.write_all(text.as_bytes())
        }
        ["sync", path] => File::open(path)?.sync_all(),
        ["rename", from, to] => fs::rename(from, to),
        ["remove", file] => fs::remove_file(file),
        ["mkdir", directory] => fs::create_dir(directory),
        _ => Err(io::Error::other("no such command")),
    }
}
