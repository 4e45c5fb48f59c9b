//! A certificate for loopback, and the authority that gave it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use withal_core::BoxError;

use super::error::ServerError;
use super::home::Home;

/// Writes `server.crt` and `server.key` into the data directory; gives the root certificate, in PEM.
pub(super) fn make(home: &Home) -> Result<String, ServerError> {
    write(home).map_err(ServerError::doing("make a certificate"))
}

fn write(home: &Home) -> Result<String, BoxError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "withal-testkit");
    let key = KeyPair::generate()?;
    let root = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);

    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;

    let data = home.join("data");
    fs::write(data.join("server.crt"), certificate.pem())?;
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(data.join("server.key"))?;
    file.write_all(key.serialize_pem().as_bytes())?;
    Ok(root.pem())
}
