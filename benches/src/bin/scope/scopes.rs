//! `async_with` and `scope`, in a task of a multi-thread runtime as in a server.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use async_safe_defer::send_async_scope;
use tokio::runtime::Runtime;
use withal_benches::{Bench, US};
use withal_core::Error;
use withal_scope::{async_with, scope};

use crate::connection::{Connection, Open, async_close, async_open};

pub(crate) fn add<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime) {
    let work = "async, 1 resource: `async_with`";
    bench.case(work, US, |n| timed(runtime, n, block));
    bench.case(work, "by hand", |n| timed(runtime, n, by_hand));
    bench.case(work, "async-safe-defer", |n| {
        timed(runtime, n, |_| deferred(1))
    });

    for count in [1, 10, 1000] {
        let work = format!("async, {count} in a `scope`");
        bench.case(&work, US, move |n| timed(runtime, n, move |_| flat(count)));
        bench.case(&work, "by hand, in a `Vec`", move |n| {
            timed(runtime, n, move |_| flat_by_hand(count))
        });
        bench.case(&work, "async-safe-defer", move |n| {
            timed(runtime, n, move |_| deferred(count))
        });
    }
}

/// Times `repeats` awaits in one task; starting the task is not counted.
fn timed<O, F>(runtime: &Runtime, repeats: u64, operation: O) -> Duration
where
    O: Fn(u64) -> F + Send + 'static,
    F: Future + Send,
{
    let task = runtime.spawn(async move {
        let began = Instant::now();
        for index in 0..repeats {
            let _ = black_box(operation(index).await);
        }
        began.elapsed()
    });
    runtime
        .block_on(task)
        .expect("no operation here panics, and nobody cancels the task")
}

async fn block(number: u64) -> Result<u64, Error> {
    async_with(Open(number), async |connection| {
        connection.0 += 1;
        Ok(connection.0)
    })
    .await
}

async fn by_hand(number: u64) -> io::Result<u64> {
    let mut connection = async_open(number).await?;
    connection.0 += 1;
    let value = connection.0;
    async_close(connection).await?;
    Ok(value)
}

async fn flat(count: u64) -> Result<u64, Error> {
    scope(async |s| {
        let mut sum = 0;
        for number in 0..count {
            let connection = s.enter(Open(number)).await?;
            connection.0 += 1;
            sum += connection.0;
        }
        Ok(sum)
    })
    .await
}

async fn flat_by_hand(count: u64) -> io::Result<u64> {
    let mut stack: Vec<Connection> = Vec::new();
    let mut sum = 0;
    for number in 0..count {
        let mut connection = async_open(number).await?;
        connection.0 += 1;
        sum += connection.0;
        stack.push(connection);
    }
    while let Some(connection) = stack.pop() {
        async_close(connection).await?;
    }
    Ok(sum)
}

/// What is deferred cannot fail, and is lost with a panic and with the future.
async fn deferred(count: u64) -> io::Result<u64> {
    send_async_scope!(defers, {
        let mut sum = 0;
        for number in 0..count {
            let connection = async_open(number).await?;
            sum += connection.0 + 1;
            defers.defer(move || async move {
                let _ = async_close(connection).await;
            });
        }
        Ok(sum)
    })
    .await
}
