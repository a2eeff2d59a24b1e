//! What a certificate says, for people and for checks before signing.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::error::CertificateError;

/// What one certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its alternative names.
    pub names: Vec<String>,
    /// What it may be used for in TLS.
    pub usages: Vec<&'static str>,
    /// Whether it may sign certificates.
    pub is_authority: bool,
    /// How many authorities may stand below it.
    pub path_length: Option<u32>,
    /// From when it is valid.
    pub not_before: OffsetDateTime,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
    /// Its public key, without the algorithm.
    pub public_key: Vec<u8>,
    /// The certificate itself.
    pub(super) der: Vec<u8>,
}

impl Description {
    /// Describes the first certificate in the PEM file at `path`.
    pub fn read(path: &Path) -> Result<Description, CertificateError> {
        Ok(Description::read_all(path)?.swap_remove(0))
    }

    /// Describes every certificate in the PEM file at `path`: one at least.
    pub fn read_all(path: &Path) -> Result<Vec<Description>, CertificateError> {
        let text = fs::read(path).map_err(CertificateError::io("read", path))?;
        Description::parse_all(&text).map_err(|reason| CertificateError::Unreadable {
            path: path.to_owned(),
            expected: "a PEM certificate",
            reason,
        })
    }

    /// Describes every certificate in `text`: one at least. What else is in it, such as a key, is passed over as TLS does.
    fn parse_all(text: &[u8]) -> Result<Vec<Description>, String> {
        let mut found = Vec::new();
        let mut other = None;
        for pem in Pem::iter_from_buffer(text) {
            let pem = pem.map_err(|error| error.to_string())?;
            if pem.label != "CERTIFICATE" {
                other = Some(pem.label);
                continue;
            }
            let (_, certificate) =
                X509Certificate::from_der(&pem.contents).map_err(|error| error.to_string())?;
            found.push(describe(&certificate, &pem.contents));
        }
        match other {
            _ if !found.is_empty() => Ok(found),
            Some(label) => Err(format!("it has a {label} alone")),
            None => Err("it has no line -----BEGIN CERTIFICATE-----".to_owned()),
        }
    }

    /// The certificate itself, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        let lines = BASE64.encode(&self.der);
        let lines: Vec<&str> = lines
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    }

    /// Whether the key of `authority` signed this certificate.
    #[must_use]
    pub fn is_signed_by(&self, authority: &Description) -> bool {
        let Ok((_, authority)) = X509Certificate::from_der(&authority.der) else {
            return false;
        };
        X509Certificate::from_der(&self.der)
            .is_ok_and(|(_, own)| own.verify_signature(Some(authority.public_key())).is_ok())
    }
}

fn describe(certificate: &X509Certificate<'_>, der: &[u8]) -> Description {
    let constraints = certificate.basic_constraints().ok().flatten();
    let mut names = Vec::new();
    let mut usages = Vec::new();
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(alternatives) => {
                names.extend(alternatives.general_names.iter().map(|name| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    GeneralName::IPAddress(bytes) => {
                        address(bytes).map_or_else(|| name.to_string(), |address| address.to_string())
                    }
                    other => other.to_string(),
                }));
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let known = [("server", usage.server_auth), ("client", usage.client_auth)];
                usages.extend(known.iter().filter(|(_, set)| *set).map(|(name, _)| *name));
            }
            _ => {}
        }
    }
    Description {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        usages,
        is_authority: constraints.as_ref().is_some_and(|found| found.value.ca),
        path_length: constraints.and_then(|found| found.value.path_len_constraint),
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        der: der.to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of_four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    of_four
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string());
        let or_none = |list: String| {
            if list.is_empty() { "none".to_owned() } else { list }
        };
        writeln!(f, "subject:    {}", self.subject)?;
        writeln!(f, "issuer:     {}", self.issuer)?;
        writeln!(f, "names:      {}", or_none(self.names.join(", ")))?;
        writeln!(f, "usages:     {}", or_none(self.usages.join(", ")))?;
        writeln!(f, "authority:  {}", if self.is_authority { "yes" } else { "no" })?;
        writeln!(f, "valid from: {}", time(self.not_before))?;
        let left = (self.not_after - OffsetDateTime::now_utc()).whole_days();
        if self.not_after <= OffsetDateTime::now_utc() {
            write!(f, "valid to:   {} (EXPIRED)", time(self.not_after))
        } else {
            write!(f, "valid to:   {} ({left} days left)", time(self.not_after))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::authority::Authority;

    #[test]
    fn certificates_are_found_among_other_things_and_written_as_they_were_read() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_make(directory.path(), &"demo".parse().unwrap()).unwrap();
        let key = fs::read_to_string(directory.path().join("ca.key")).unwrap();
        let certificate = fs::read_to_string(authority.certificate()).unwrap();
        let all = Description::parse_all((key.clone() + &certificate + &certificate).as_bytes()).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].pem().replace('\n', ""),
            certificate.replace(['\r', '\n'], "")
        );
        let error = Description::parse_all(key.as_bytes()).unwrap_err();
        assert!(error.contains("PRIVATE KEY alone"), "{error}");
        let error = Description::parse_all(b"nothing").unwrap_err();
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
    }
}
