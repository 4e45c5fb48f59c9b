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

trait Store: Send + Sync { fn get(&self) -> impl Future<Output = u32> + Send; }
trait Handler { fn handle(&self) -> impl Future<Output = u32> + Send; }
struct H<S>(S);
impl<S: Store> Handler for H<S> {
    async fn handle(&self) -> u32 {
        scope(async |s| {
            let a = s.enter(Open(1)).await?;
            a.0 += self.0.get().await;
            Ok(a.0)
        }).await.unwrap()
    }
}
fn spawn_it<S: Store + 'static>(s: S) {
    tokio::spawn(async move { H(s).handle().await });
}
fn borrowing<'a, S: Store>(s: &'a S, x: &'a mut u32) -> impl Future<Output = ()> + Send + 'a {
    async move {
        scope(async |sc| {
            let a = sc.enter(Open(1)).await?;
            *x += a.0 + s.get().await;
            Ok(())
        }).await.unwrap()
    }
}
fn main() {}
