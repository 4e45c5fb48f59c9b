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

fn spawns() { tokio::spawn(async { let v = vec![String::new()]; let futs: Vec<_> = v.iter().map(|x| scope(async move |s| { let c = s.enter(Open(1)).await?; tokio::task::yield_now().await; Ok(c.0 + x.len() as u32) })).collect(); for f in futs { f.await.unwrap(); } }); }
fn main() {}
