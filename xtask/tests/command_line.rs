//! The program as a person meets it: help, and what it says to a command line that is wrong.

use std::process::{Command, Output};

fn xtask(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(words)
        .output()
        .expect("xtask starts")
}

#[test]
fn help_names_every_command_and_gives_examples() {
    for words in [&[][..], &["help"], &["--help"]] {
        let output = xtask(words);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for word in [
            "up --check",
            "test [--quick]",
            "layers",
            "bench [NAME]",
            "fuzz [--seconds N] [TARGET]",
            "Examples:",
        ] {
            assert!(text.contains(word), "{word}");
        }
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_names_the_word() {
    for words in [
        &["attic"][..],
        &["up", "--attic"],
        &["test", "attic"],
        &["bench", "attic"],
        &["fuzz", "attic"],
        &["layers", "attic"],
    ] {
        let output = xtask(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("attic"), "{errors}");
    }
}

#[test]
fn a_step_that_does_not_exist_is_answered_with_those_that_do() {
    let output = xtask(&["test", "--from", "attic"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("attic") && errors.contains("`up --check`"),
        "{errors}"
    );
}

#[test]
fn a_port_that_is_none_is_refused() {
    let output = xtask(&["up", "--client-port", "70000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("70000"));
}

#[test]
fn flags_that_contradict_each_other_are_refused_before_anything_is_built() {
    assert_eq!(xtask(&["up", "--check", "--keep"]).status.code(), Some(2));
}
