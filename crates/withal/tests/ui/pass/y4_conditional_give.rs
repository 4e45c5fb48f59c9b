//! Must compile.
#![allow(unused)]
use withal::*;

fn f(b: bool) -> impl AsyncContextManager { asynccontextmanager(async move |y: AsyncYielder<'_, u32>| { if b { let (_, _, d) = y.give(1).await; Ok::<_, String>(d) } else { Err("not opened".into()) } }) }
fn main() {}
