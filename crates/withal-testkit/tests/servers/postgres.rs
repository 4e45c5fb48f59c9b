//! PostgreSQL.

use std::time::Instant;

use withal_scope::scope;
use withal_testkit::servers::postgres;

use crate::support::{by_socket, select_1, show};

#[tokio::test]
async fn it_answers_at_its_port_and_its_socket() {
    let before = Instant::now();
    scope(async |s| {
        let server = s.enter(postgres()).await?;
        println!("ready after {:?}", before.elapsed());
        assert_eq!(select_1(&server.url()).await?, 1);
        assert_eq!(show(&by_socket(server), "fsync").await?, "off");
        Ok(())
    })
    .await
    .unwrap();
    println!("gone after {:?}", before.elapsed());
}
