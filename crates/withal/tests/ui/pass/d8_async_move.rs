//! Must compile.
#![allow(dead_code, unused)]
use std::time::Duration;

use withal::*;

pub struct Conn(u32);
pub struct Open(u32);
impl AsyncContextManager for Open {
    type Resource = Conn;
    type Error = String;
    async fn enter(self) -> Result<Conn, String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Conn(self.0))
    }
    async fn exit(_: Conn, _: ExitCase) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}
pub struct Tx<'c>(&'c mut Conn);
pub struct Begin<'c>(&'c mut Conn);
impl<'c> AsyncContextManager for Begin<'c> {
    type Resource = Tx<'c>;
    type Error = String;
    async fn enter(self) -> Result<Tx<'c>, String> {
        self.0.0 += 1;
        Ok(Tx(self.0))
    }
    async fn exit(_: Tx<'c>, _: ExitCase) -> Result<(), String> {
        Ok(())
    }
}
fn need_send<T: Send>(t: T) -> T {
    t
}

async fn f(v: String) -> Result<(), Error> {
    scope(async move |s| { let a = s.enter(Open(v.len() as u32)).await?; a.0 += 1; drop(v); Ok(()) }).await
}
async fn named(s: Scope<'_>) -> Result<u32, BoxError> { Ok(s.enter(Open(1)).await?.0) }
async fn g() -> u32 { scope(named).await.unwrap() }
async fn helper<'s>(s: Scope<'s>) -> Result<&'s mut Conn, String> { s.enter(Open(1)).await }
async fn h() -> u32 { scope(async |s| { let c = helper(s).await?; Ok(c.0) }).await.unwrap() }
fn main() { need_send(f(String::new())); need_send(g()); need_send(h()); }
