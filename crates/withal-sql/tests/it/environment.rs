//! Where passwords, services and certificates are looked for, as libpq looks for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use withal_core::{AsyncContextManager as _, BoxError, ExitCase};
use withal_pool::AcquireError;
use withal_scope::async_with;
use withal_sql::{Database, ErrorKind, OpenDatabase};
use withal_testkit::servers::postgres;

use crate::support::noticed;

/// What a new connection answers; or why there is none.
async fn ask(url: &str, sql: &str) -> Result<String, String> {
    let database = Database::open(url).enter().await;
    let database = database.map_err(|error| error.to_string())?;
    let answer = match database.lease().await {
        Ok(lease) => {
            let answer = lease.query_one_as(sql, &[]).await;
            lease.release().await;
            answer.map_err(|error| error.to_string())
        }
        Err(AcquireError::Create(error)) => Err(error.to_string()),
        Err(other) => Err(other.to_string()),
    };
    OpenDatabase::exit(database, ExitCase::Succeeded)
        .await
        .unwrap();
    answer
}

fn write(path: &Path, mode: u32, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const USER: &str = "SELECT current_user::text";

#[tokio::test]
async fn a_password_is_taken_from_a_file_that_nobody_else_can_read() {
    async_with(postgres(), async |server| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("pgpass");
        let text = format!(
            "127.0.0.1:{}:*:postgres:{}\n",
            server.port(),
            server.password()
        );
        let url = format!(
            "postgres://postgres@{}/postgres?passfile={}",
            server.addr(),
            file.display()
        );
        write(&file, 0o600, &text);
        assert_eq!(ask(&url, USER).await, Ok("postgres".to_owned()));
        let word = file.to_str().unwrap();
        assert!(noticed(word).is_empty());
        write(&file, 0o644, &text);
        let refused = ask(&url, USER).await.unwrap_err();
        assert!(refused.contains(".pgpass"), "{refused}");
        assert!(!refused.contains(server.password()), "{refused}");
        let notices = noticed(word);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].contains("chmod 0600"), "{notices:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_service_says_where_to_connect() {
    async_with(postgres(), async |server| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("services");
        let text = format!(
            "[orders]\nhost=127.0.0.1\nport={}\nuser=postgres\npassword={}\n\
             dbname=postgres\napplication_name=by service\n",
            server.port(),
            server.password()
        );
        write(&file, 0o600, &text);
        let url = format!("postgres://?service=orders&servicefile={}", file.display());
        let name = ask(&url, "SHOW application_name").await;
        assert_eq!(name, Ok("by service".to_owned()));
        Ok(())
    })
    .await
    .unwrap();
}

/// An authority, and a certificate of it for a user: `root.crt`, `ada.crt`, `ada.key`.
fn certify(folder: &Path) -> Result<(), BoxError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let root = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);
    let mut client = CertificateParams::default();
    client.distinguished_name.push(DnType::CommonName, "ada");
    let key = KeyPair::generate()?;
    let certificate = client.signed_by(&key, &issuer)?;
    write(&folder.join("root.crt"), 0o644, &root.pem());
    write(&folder.join("ada.crt"), 0o644, &certificate.pem());
    write(&folder.join("ada.key"), 0o600, &key.serialize_pem());
    let other = KeyPair::generate()?;
    write(&folder.join("other.key"), 0o600, &other.serialize_pem());
    Ok(())
}

#[tokio::test]
async fn a_user_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    // The server is another user's.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    certify(folder.path()).unwrap();
    let place = folder.path().display();
    let clients =
        "local all all trust\nhostssl all postgres all password\nhostssl all ada all cert\n";
    write(&folder.path().join("hba"), 0o644, clients);
    let server = postgres()
        .tls()
        .setting("ssl_ca_file", format!("{place}/root.crt"))
        .setting("hba_file", format!("{place}/hba"));
    async_with(server, async |server| {
        let made = ask(&server.url(), "SELECT 1::bigint::text").await;
        assert_eq!(made, Ok("1".to_owned()));
        let database = Database::open(server.url()).enter().await?;
        database
            .lease()
            .await?
            .batch("CREATE ROLE ada LOGIN")
            .await?;
        OpenDatabase::exit(database, ExitCase::Succeeded).await?;

        let url = format!("postgres://ada@{}/postgres?sslmode=require", server.addr());
        let with = |key: &str| format!("{url}&sslcert={place}/ada.crt&sslkey={place}/{key}");
        assert_eq!(ask(&with("ada.key"), USER).await, Ok("ada".to_owned()));
        let refused = ask(&url, USER).await.unwrap_err();
        assert!(refused.contains("sslcert"), "{refused}");
        for (key, says) in [
            ("other.key", "are no pair"),
            ("missing.key", "No such file"),
            ("ada.crt", "others may read"),
        ] {
            let refused = ask(&with(key), USER).await.unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        write(&folder.path().join("ada.crt"), 0o600, "no certificate");
        let refused = ask(&with("ada.key"), USER).await.unwrap_err();
        assert!(refused.contains("no certificate in"), "{refused}");
        let alone = ask(&format!("{url}&sslkey={place}/ada.key"), USER).await;
        assert!(alone.unwrap_err().contains("go together"));
        Ok(())
    })
    .await
    .unwrap();
}

#[test]
fn a_service_that_is_not_there_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let opened = runtime.unwrap().block_on(async {
        let url = "postgres://?service=nowhere&servicefile=/nowhere";
        Database::open(url).enter().await
    });
    let error = opened.unwrap_err();
    let error: &withal_sql::Error = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Url);
    assert!(
        error.to_string().contains("no service `nowhere`"),
        "{error}"
    );
}
