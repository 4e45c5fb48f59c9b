//! Asking servers, and looking for what is left of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use withal_core::BoxError;
use withal_os::{OpenTempDir, TempDir};
use withal_testkit::servers::PostgresServer;

/// Runs `work` with a client; nothing of it is left afterwards.
pub(crate) async fn with_client<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, BoxError> {
    let (client, connection) = config.connect(NoTls).await?;
    let work = async move { work(&client).await };
    tokio::select! {
        biased;
        done = work => Ok(done?),
        ended = connection => Err(format!("the connection ended: {ended:?}").into()),
    }
}

pub(crate) async fn show(config: &Config, what: &str) -> Result<String, BoxError> {
    with_client(config, async |client| {
        let row = client.query_one(&format!("show {what}"), &[]).await?;
        Ok(row.get(0))
    })
    .await
}

pub(crate) async fn select_1(url: &str) -> Result<i32, BoxError> {
    with_client(&url.parse()?, async |client| {
        Ok(client.query_one("select 1", &[]).await?.get(0))
    })
    .await
}

pub(crate) fn by_socket(server: &PostgresServer) -> Config {
    let mut config = Config::new();
    config.host_path(server.socket_dir()).port(server.port());
    config.user("postgres").dbname("postgres");
    config
}

/// A directory for servers, as open as `/tmp` to the user they run as if we are root.
pub(crate) fn directory() -> OpenTempDir {
    let directory = TempDir::new().open().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    directory
}

/// The processes whose command line names `directory`.
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let wanted = directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(wanted)).collect()
}

/// Whether nothing is left of the servers made in `directory`, the directory itself aside.
pub(crate) fn nothing_left(directory: &Path) -> Result<(), String> {
    let left = fs::read_dir(directory).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let processes = processes_in(directory);
    match left.is_empty() && processes.is_empty() {
        true => Ok(()),
        false => Err(format!("left: {left:?}, running: {processes:?}")),
    }
}

/// Waits until `condition` holds; a minute at most.
#[expect(
    clippy::disallowed_methods,
    reason = "other processes tell nobody that they have ended"
)]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} never came");
}
