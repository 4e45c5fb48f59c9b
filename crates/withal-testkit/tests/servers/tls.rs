//! PostgreSQL with TLS.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;
use withal_core::BoxError;
use withal_scope::scope;
use withal_testkit::servers::postgres;

use crate::support::{by_socket, show};

/// Connects with the host's name verified against `root`, and nothing else trusted.
async fn verify_full(url: &str, root: &str) -> Result<bool, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = MakeRustlsConnect::new(config);
    let (client, connection) = tokio_postgres::connect(url, tls).await?;
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    tokio::select! {
        biased;
        row = client.query_one(sql, &[]) => Ok(row?.get(0)),
        ended = connection => Err(format!("the connection ended: {ended:?}").into()),
    }
}

#[tokio::test]
async fn its_certificate_is_good_by_its_own_authority_and_no_other() {
    scope(async |s| {
        let server = s.enter(postgres().tls()).await?;
        let other = s.enter(postgres().tls()).await?;
        let root = server.root_certificate().unwrap();
        assert!(verify_full(&server.url(), root).await?);
        let by_name = server.url().replace("127.0.0.1", "localhost");
        assert!(verify_full(&by_name, root).await?);

        let stranger = other.root_certificate().unwrap();
        let refused = verify_full(&server.url(), stranger).await.unwrap_err();
        assert!(
            format!("{refused:?}").contains("BadSignature"),
            "{refused:?}"
        );
        let elsewhere = format!("{}&hostaddr=127.0.0.1", server.url());
        let elsewhere = elsewhere.replace("@127.0.0.1", "@example.org");
        let refused = verify_full(&elsewhere, root).await.unwrap_err();
        assert!(
            format!("{refused:?}").contains("NotValidForName"),
            "{refused:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn its_port_refuses_to_go_without_and_its_socket_needs_none() {
    scope(async |s| {
        let server = s.enter(postgres().tls()).await?;
        let mut plain: tokio_postgres::Config = server.url().parse()?;
        plain.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let refused = show(&plain, "ssl").await.unwrap_err();
        assert!(format!("{refused:?}").contains("28000"), "{refused:?}");
        assert_eq!(show(&by_socket(server), "ssl").await?, "on");
        Ok(())
    })
    .await
    .unwrap();
}
