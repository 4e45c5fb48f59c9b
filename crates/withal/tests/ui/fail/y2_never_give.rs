//! Must not compile: a generator gives.
#![allow(unused)]
use withal::*;

fn f() -> impl AsyncContextManager { asynccontextmanager(async |y: AsyncYielder<'_, u32>| { Ok::<_, String>(()) }) }
fn main() {}
