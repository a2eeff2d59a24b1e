//! Texts that a node reads from its disk, from its settings and from the configuration of its group, damaged at random. None
//! makes it panic, and whatever is understood is written and understood as the same.
//!
//! They are read by well-known libraries, so this is all the fuzzing they get.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use fuzz_targets::mutation::mutant;
use raft_core::membership::Contact;
use raft_node::config::addresses::AddressMap;
use raft_node::config::file;
use raft_node::data_directory::identity::Identity;
use raft_node::member_contact::MemberContact;

/// Calls `read` with texts made from `samples`; what it panics at is shown with the panic.
fn damage(samples: &[&str], read: impl Fn(&str)) {
    let corpus: Vec<Vec<u8>> = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    for seed in 0..5_000 {
        let text = String::from_utf8_lossy(&mutant(&corpus, seed)).into_owned();
        let shown = Shown(&text);
        read(&text);
        std::mem::forget(shown);
    }
}

/// Shows the text when a panic drops it.
struct Shown<'a>(&'a str);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("the text: {:?}\n", self.0));
    }
}

#[test]
fn an_identity_is_understood_or_refused() {
    let identity = Identity::new(
        "demo".parse().unwrap(),
        raft_core::types::NodeId(3),
        Default::default(),
    )
    .encode();
    damage(&[&identity], |text| {
        if let Ok(identity) = Identity::decode(text) {
            assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }
    });
}

#[test]
fn a_contact_is_understood_or_says_nothing() {
    let samples = [
        r#"{"name":"east-4","peer-urls":["quic://10.0.0.4:2380"],"client-urls":["http://[::1]:2379"]}"#,
        r#"{"client-urls":["http://a:1"],"zone":"east"}"#,
        "10.0.0.4:2380",
    ];
    damage(&samples, |text| {
        let _ = MemberContact::peer_address_in(text);
        let contact = Contact::new(text).ok();
        let Some(contact) = contact.and_then(|contact| MemberContact::from_contact(&contact)) else {
            return;
        };
        let written = contact.to_contact().unwrap();
        assert_eq!(MemberContact::from_contact(&written), Some(contact.clone()));
        if let Ok(checked) = contact.checked() {
            assert_eq!(checked.clone().checked(), Ok(checked));
        }
    });
}

#[test]
fn settings_and_addresses_are_understood_or_refused() {
    let samples = [
        "node-id = 1\ncluster = \"demo\"\npeers = { 1 = \"quic://127.0.0.1:2380\", 2 = \"quic://b:1\" }\n",
        "1=quic://127.0.0.1:2380,2=quic://[::1]:2380",
    ];
    damage(&samples, |text| {
        let _ = file::parse(text, Path::new("config.toml"));
        if let Ok(map) = text.parse::<AddressMap>() {
            assert_eq!(map.to_string().parse(), Ok(map));
        }
    });
}
