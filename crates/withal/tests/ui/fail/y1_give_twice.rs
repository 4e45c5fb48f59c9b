//! Must not compile: a generator gives once.
#![allow(unused)]
use withal::*;

fn f() -> impl AsyncContextManager { asynccontextmanager(async |y: AsyncYielder<'_, u32>| { let (r, _, d) = y.give(1).await; y.give(2).await; Ok::<_, String>(d) }) }
fn main() {}
