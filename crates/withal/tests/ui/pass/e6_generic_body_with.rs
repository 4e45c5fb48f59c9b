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

async fn in_tx<'s, B>(s: Scope<'s>, c: &'s mut Conn, b: B) -> Result<u32, Error>
where B: for<'t> AsyncFnOnce(Scope<'t>, &'t mut Tx<'s>) -> Result<u32, BoxError> + for<'t> SendFn2<Scope<'t>, &'t mut Tx<'s>, Result<u32, BoxError>> + Send {
    s.with(Begin(c), b).await
}
fn spawns() { tokio::spawn(async { let t = String::new(); scope(async |s| { let c = s.enter(Open(2)).await?; in_tx(s, c, async |_, tx| { tokio::task::yield_now().await; Ok(tx.0.0 + t.len() as u32) }).await.map_err(Into::into) }).await }); }
fn main() {}
