//! Migrations on a session that somebody has used.

use withal_sql::migrate::{Migrations, Migrator};
use withal_sql::params;

use crate::support::with_connection;

#[tokio::test]
async fn a_temporary_table_of_its_name_does_not_hide_what_is_applied() {
    with_connection(async |conn| {
        let migrations = Migrations::of([("1_a.sql", "CREATE TABLE a (id bigint)")])?;
        let migrator = Migrator::new(migrations);
        let hide = "CREATE TEMP TABLE withal_migrations (version bigint)";
        conn.batch(hide).await?;
        assert_eq!(migrator.run(conn).await?, 1);
        conn.batch(hide).await?;
        assert_eq!(migrator.state(conn).await?.version, Some(1));
        assert_eq!(migrator.run(conn).await?, 0);
        // First in the path by name, too.
        conn.batch("SET search_path = pg_temp, public").await?;
        assert_eq!(migrator.state(conn).await?.version, Some(1));
        let sql = "SELECT count(*) FROM public.withal_migrations";
        assert_eq!(conn.query_one_as::<i64>(sql, params![]).await?, 1);
        Ok(())
    })
    .await;
}
