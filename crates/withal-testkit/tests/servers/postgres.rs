//! PostgreSQL.

use std::time::Instant;

use withal_core::with;
use withal_scope::{async_with, scope};
use withal_testkit::servers::{PostgresServer, postgres};

use crate::support::{by_socket, directory, nothing_left, select_1, show, with_client};

#[tokio::test]
async fn it_answers_at_its_port_and_its_socket_and_is_gone_after_the_block() {
    let directory = directory();
    let before = Instant::now();
    async_with(postgres().directory(directory.path()), async |server| {
        println!("ready after {:?}", before.elapsed());
        assert_eq!(select_1(&server.url()).await?, 1);
        assert_eq!(show(&by_socket(server), "server_encoding").await?, "UTF8");
        assert!(server.socket_dir().starts_with(directory.path()));
        Ok(())
    })
    .await
    .unwrap();
    nothing_left(directory.path()).unwrap();
}

#[tokio::test]
async fn two_at_once_know_nothing_of_each_other() {
    let table = async |server: &PostgresServer, sql: &'static str| {
        let config = server.url().parse()?;
        with_client(&config, async |client| client.batch_execute(sql).await).await
    };
    scope(async |s| {
        let one = s.enter(postgres()).await?;
        let two = s.enter(postgres()).await?;
        assert_ne!((one.port(), one.pid()), (two.port(), two.pid()));
        table(one, "create table only_here ()").await?;
        table(one, "select from only_here").await?;
        let missing = table(two, "select from only_here").await.unwrap_err();
        assert!(format!("{missing:?}").contains("only_here"), "{missing:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn it_is_fast_or_durable_and_set_as_it_is_told() {
    let switches = ["fsync", "synchronous_commit", "full_page_writes"];
    scope(async |s| {
        let fast = s.enter(postgres().max_connections(7)).await?;
        let durable = s
            .enter(postgres().durable().setting("application_name", "it's"))
            .await?;
        for switch in switches {
            assert_eq!(show(&by_socket(fast), switch).await?, "off");
            assert_eq!(show(&by_socket(durable), switch).await?, "on");
        }
        assert_eq!(show(&by_socket(fast), "max_connections").await?, "7");
        assert_eq!(show(&by_socket(durable), "application_name").await?, "it's");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_port_asks_for_the_password_and_the_socket_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    scope(async |s| {
        let server = s.enter(postgres()).await?;
        let wrong = server.url().replace(server.password(), "wrong");
        let refused = select_1(&wrong).await.unwrap_err();
        assert!(format!("{refused:?}").contains("28P01"), "{refused:?}");
        let mode = server.socket_dir().metadata()?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(!format!("{server:?}").contains(server.password()));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn it_keeps_its_data_and_its_port_when_it_stops_crashes_and_restarts() {
    scope(async |s| {
        let server = s.enter(postgres().durable()).await?;
        let url = server.url();
        let config = url.parse()?;
        with_client(&config, async |client| {
            client
                .batch_execute("create table t as select 1 as a")
                .await
        })
        .await?;
        server.stop().await?;
        server.stop().await?;
        assert_eq!(server.pid(), None);
        assert!(select_1(&url).await.is_err());
        server.start().await?;
        server.crash().await?;
        server.restart().await?;
        server.start().await?;
        let count = with_client(&config, async |client| {
            let row = client.query_one("select count(*) from t", &[]).await?;
            Ok(row.get::<_, i64>(0))
        });
        assert_eq!(count.await?, 1);
        Ok(())
    })
    .await
    .unwrap();
}

#[test]
fn what_it_refuses_is_told_in_its_own_words() {
    let directory = directory();
    let wrong = postgres()
        .directory(directory.path())
        .setting("nonsense", "1");
    let error = with(wrong, |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("start PostgreSQL: it ended"), "{error}");
    assert!(error.contains("nonsense"), "{error}");
    nothing_left(directory.path()).unwrap();
}

#[test]
fn a_version_that_is_not_there_is_named_with_the_command_that_installs_it() {
    let error = with(postgres().version(1), |_| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("apt-get install postgresql"),
        "{error}"
    );
}
