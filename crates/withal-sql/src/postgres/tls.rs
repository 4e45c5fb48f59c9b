//! TLS, by rustls.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::url::wrong;
use crate::{Error, ErrorKind};

/// What is checked of the server's certificate; libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// There is no TLS.
    Off,
    /// Nothing: it is encrypted, to whoever answers; and, if not required, only if the server can.
    Nothing { is_required: bool },
    /// That a known authority has signed it.
    Authority,
    /// That, and that it is for this host.
    Full,
}

impl Verify {
    pub(super) fn of(mode: Option<&str>, has_root: bool) -> Option<Verify> {
        Some(match mode.unwrap_or("prefer") {
            "disable" => Verify::Off,
            "prefer" | "allow" => Verify::Nothing { is_required: false },
            // As libpq has it.
            "require" if has_root => Verify::Authority,
            "require" => Verify::Nothing { is_required: true },
            "verify-ca" => Verify::Authority,
            "verify-full" => Verify::Full,
            _ => return None,
        })
    }
}

/// Where certificates are.
pub(super) struct Files {
    /// Those of authorities.
    pub(super) root: Option<String>,
    /// Who we are, and the key to it.
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

impl Files {
    /// What we show of ourselves, if anything.
    fn identity(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Error> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err(wrong("`sslcert` and `sslkey` go together")),
        };
        let chain = CertificateDer::pem_file_iter(certificate);
        let chain: Vec<_> = chain.and_then(Iterator::collect).map_err(|error| {
            let why = format!("cannot read the certificate in `sslcert={certificate}`: {error}");
            wrong(why)
        })?;
        if chain.is_empty() {
            let why = format!("there is no certificate in `sslcert={certificate}`");
            return Err(wrong(why));
        }
        let key = private_key(key)
            .map_err(|why| wrong(format!("cannot use the key in `sslkey={key}`: {why}")))?;
        Ok(Some((chain, key)))
    }
}

/// Nothing that stands in the file is told.
fn private_key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    let metadata = fs::metadata(file).map_err(|error| error.to_string())?;
    // As libpq has it: one of the system's may be read by a group.
    let others = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.mode() & others != 0 {
        return Err("others may read or write it; `chmod 0600` it".to_owned());
    }
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => {
            "there is none in it (one with a password is not taken)".to_owned()
        }
        _ => "it is no PEM".to_owned(),
    })
}

#[derive(Clone)]
pub(super) struct Tls(pub(super) MakeRustlsConnect);

impl Tls {
    pub(super) fn new(verify: Verify, files: &Files) -> Result<Tls, Error> {
        let provider = Arc::new(ring::default_provider());
        let lenient = |authorities| {
            let provider = provider.clone();
            Arc::new(Lenient {
                authorities,
                provider,
            })
        };
        let verifier: Arc<dyn ServerCertVerifier> = match verify {
            Verify::Off | Verify::Nothing { .. } => lenient(None),
            Verify::Authority | Verify::Full => {
                let roots = Arc::new(roots(files.root.as_deref())?);
                let known = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                let known = known.build().map_err(|error| {
                    wrong("there is no certificate to verify with").with_source(error)
                })?;
                match verify {
                    Verify::Full => known,
                    _ => lenient(Some(known)),
                }
            }
        };
        let identity = match verify {
            Verify::Off => None,
            _ => files.identity()?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Connect, "cannot use TLS").with_source(error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|error| wrong(format!("`sslcert` and `sslkey` are no pair: {error}")))?,
        };
        Ok(Tls(MakeRustlsConnect::new(config)))
    }
}

/// The certificates in the file, or those of the system.
fn roots(file: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != "system") else {
        // Those that cannot be read are left out: without any, building the verifier fails.
        let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let cannot = |error: &dyn std::error::Error| {
        wrong(format!(
            "cannot read the certificates in `sslrootcert={file}`: {error}"
        ))
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| cannot(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| cannot(&error))?;
        roots.add(certificate).map_err(|error| cannot(&error))?;
    }
    Ok(roots)
}

/// Checks less of the server than that it is the host it was looked for at.
#[derive(Debug)]
struct Lenient {
    /// Knows who may sign its certificate; without, anybody may.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        match authorities.verify_server_cert(certificate, between, name, ocsp, now) {
            // That is looked at last.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}
