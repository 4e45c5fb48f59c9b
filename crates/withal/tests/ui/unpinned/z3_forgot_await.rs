//! Must not compile: entering is awaited.
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

async fn f() { scope(async |s| { let c = s.enter(Open(1))?; Ok(()) }).await; }
fn main() {}
