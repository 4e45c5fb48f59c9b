//! `with` and `ExitStack`.

use std::io;

use withal_benches::{Bench, US, timed};
use withal_core::{Error, ExitStack, with};

use crate::connection::{Connection, Open, close, open};

pub(crate) fn add(bench: &mut Bench<'_>) {
    let work = "sync, 1 manager: `with`";
    bench.case(work, US, |n| timed(n, block));
    bench.case(work, "by hand", |n| timed(n, by_hand));
    bench.case(work, "scopeguard", |n| timed(n, guarded));

    for count in [1, 10, 1000] {
        let work = format!("sync, {count} in an `ExitStack`");
        bench.case(&work, US, move |n| timed(n, |_| stack(count)));
        bench.case(&work, "by hand, in a `Vec`", move |n| {
            timed(n, |_| stack_by_hand(count))
        });
    }
}

fn block(number: u64) -> Result<u64, Error> {
    with(Open(number), |connection| {
        connection.0 += 1;
        Ok(connection.0)
    })
}

fn by_hand(number: u64) -> io::Result<u64> {
    let mut connection = open(number)?;
    connection.0 += 1;
    let value = connection.0;
    close(connection)?;
    Ok(value)
}

/// A guard cannot say that closing failed.
fn guarded(number: u64) -> io::Result<u64> {
    let mut connection = scopeguard::guard(open(number)?, |connection| drop(close(connection)));
    connection.0 += 1;
    Ok(connection.0)
}

fn stack(count: u64) -> Result<u64, Error> {
    with(ExitStack::new(), |stack| {
        let mut sum = 0;
        for number in 0..count {
            let mut connection = stack.enter_context(Open(number))?;
            connection.0 += 1;
            sum += connection.0;
        }
        Ok(sum)
    })
}

fn stack_by_hand(count: u64) -> io::Result<u64> {
    let mut stack: Vec<Connection> = Vec::new();
    let mut sum = 0;
    for number in 0..count {
        let mut connection = open(number)?;
        connection.0 += 1;
        sum += connection.0;
        stack.push(connection);
    }
    while let Some(connection) = stack.pop() {
        close(connection)?;
    }
    Ok(sum)
}
