//! Databases beside each other, on one private Postgres: checkouts, transfers, rows.
//!
//! All pools hold eight connections, and keep the statements they have prepared; bb8 has no place
//! for them. No two tasks move money of the same accounts, so that nobody waits for a row.

mod asyncpg;
mod memory;
mod peers;
mod rows;

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use withal_benches::{Bench, US};
use withal_core::{AsyncContextManager as _, BoxError, ExitCase, with};
use withal_testkit::proxy::{Direction, Proxy};
use withal_testkit::servers::{PostgresServer, postgres};

use crate::peers::{Bb8, Deadpool, Peer, Sqlx, Withal};

/// How many connections a pool holds.
const SIZE: usize = 8;
const ACCOUNTS: u64 = 1000;
/// What a message takes to a server elsewhere, and its answer back.
const TRIP: Duration = Duration::from_millis(2);
const SCHEMA: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO accounts SELECT id, 1000000 FROM generate_series(1, 1000) AS id;
    CREATE TABLE lines AS SELECT id::bigint, 'name ' || id AS name, repeat('x', 100) AS line
        FROM generate_series(1, 500000) AS id;
    ANALYZE";

fn main() -> Result<(), BoxError> {
    if memory::is_asked() {
        return memory::answer();
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    with(postgres().durable(), |server| measure(&runtime, server))?;
    Ok(())
}

fn measure(runtime: &Runtime, server: &PostgresServer) -> Result<(), BoxError> {
    let url = server.url();
    runtime.block_on(async {
        let withal = Withal::open(url.clone()).await?;
        withal.set_up(SCHEMA).await?;
        withal.close().await
    })?;
    let proxy = runtime.block_on(Proxy::to(server.addr()).enter())?;
    proxy.delay(Direction::ToServer, TRIP);
    let urls = Urls {
        away: server.url_at(proxy.addr()),
        here: url.clone(),
    };
    let mut bench = Bench::from_arguments();
    let pools = [
        add::<Withal>(&mut bench, runtime, US, &urls)?,
        add::<Deadpool>(&mut bench, runtime, "deadpool-postgres, Fast", &urls)?,
        add::<Sqlx>(&mut bench, runtime, "sqlx", &urls)?,
        add::<Bb8>(&mut bench, runtime, "bb8-postgres", &urls)?,
    ];
    rows::add(&mut bench, runtime, &url)?;
    asyncpg::add(&mut bench, &url)?;
    memory::add(&mut bench, &url)?;
    bench.run()?;
    pools.into_iter().try_for_each(|close| close(runtime))?;
    runtime.block_on(Proxy::exit(proxy, ExitCase::Succeeded))?;
    Ok(())
}

/// Of the same server.
struct Urls {
    here: String,
    /// By way of a network.
    away: String,
}

type Close = Box<dyn FnOnce(&Runtime) -> Result<(), BoxError>>;

/// Something that is done with a pool, by one of many tasks.
#[derive(Clone, Copy)]
enum Work {
    CheckOut,
    Query,
    Transfer,
}

/// Adds what one of them does.
fn add<'a, P: Peer>(
    bench: &mut Bench<'a>,
    runtime: &'a Runtime,
    who: &'static str,
    urls: &Urls,
) -> Result<Close, BoxError> {
    let synced = runtime.block_on(P::open(urls.here.clone()))?;
    let open_unsynced = |url: &str| {
        let url = format!("{url}?options=-c%20synchronous_commit%3Doff");
        runtime.block_on(P::open(url))
    };
    let unsynced = open_unsynced(&urls.here)?;
    let away = open_unsynced(&urls.away)?;
    for (name, tasks, work) in [
        ("take a connection and give it back", 1, Work::CheckOut),
        ("the same, 64 tasks on 8", 64, Work::CheckOut),
        ("take one, query a row, give it back", 1, Work::Query),
    ] {
        let peer = synced.clone();
        bench.case(name, who, move |repeats| {
            run(runtime, &peer, tasks, repeats, work)
        });
    }
    for (name, tasks, peer) in [
        ("transfers, 1 task", 1, &unsynced),
        ("transfers, 32 tasks", 32, &unsynced),
        ("transfers on the disk, 1 task", 1, &synced),
        ("transfers on the disk, 32 tasks", 32, &synced),
        ("transfers, 1 task, the server 2 ms away", 1, &away),
    ] {
        let peer = peer.clone();
        bench.rate(name, who, move |repeats| {
            run(runtime, &peer, tasks, repeats, Work::Transfer)
        });
    }
    Ok(Box::new(|runtime| {
        runtime.block_on(async {
            synced.close().await?;
            unsynced.close().await?;
            away.close().await
        })
    }))
}

/// Does the work `repeats` times, in so many tasks at once.
fn run<P: Peer>(runtime: &Runtime, peer: &P, tasks: u64, repeats: u64, work: Work) -> Duration {
    runtime.block_on(async {
        let rounds = repeats.div_ceil(tasks);
        let began = Instant::now();
        let mut running = JoinSet::new();
        for task in 0..tasks {
            let peer = peer.clone();
            let _ = running.spawn(async move {
                for round in 0..rounds {
                    let own = ACCOUNTS / tasks;
                    let account = 1 + task * own + round % (own - 1);
                    let done = match work {
                        Work::CheckOut => peer.check_out().await,
                        Work::Query => peer.query(account).await.map(drop),
                        Work::Transfer => peer.transfer(account, account + 1).await,
                    };
                    done.expect("the work is done");
                }
            });
        }
        drop(running.join_all().await);
        let done = (rounds * tasks) as f64;
        began.elapsed().mul_f64(repeats as f64 / done)
    })
}
