//! S13 and the two forms of async generators.

use withal_core::AsyncContextManager;
use withal_scope::{
    Family, Reaper, RefContextManager, async_with, asynccontextmanager, lending, scope, with_ref,
};

use crate::support::*;

fn connection(
    t: &Trace,
) -> impl AsyncContextManager<Resource: std::ops::DerefMut<Target = u32> + 'static, Error = Oops>
+ Send
+ use<> {
    let t = t.clone();
    asynccontextmanager(async move |y| {
        t.note("open");
        tokio::time::sleep(ms(5)).await;
        let (n, case, done) = y.give(1).await;
        tokio::time::sleep(ms(5)).await;
        t.note(format!("close {n} {}", word(&case)));
        if n == 13 {
            return Err(oops("unlucky"));
        }
        Ok(done)
    })
}

#[tokio::test(start_paused = true)]
async fn a_generator_is_a_manager_in_every_form() {
    let t = Trace::default();
    scope(async |s| {
        **s.enter(connection(&t)).await? += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "open close 2 ok");

    let error = async_with(connection(&t), async |n| {
        **n = 13;
        Err::<(), _>(oops("body"))?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(newest_first(&error), "unlucky<body");
    assert_eq!(t.take(), "open close 13 err(body)");

    let r = Reaper::new();
    dropped_after(
        15,
        options(&r).scope(async |s| {
            **s.enter(connection(&t)).await? += 4;
            Ok(hang().await)
        }),
    )
    .await;
    drain(&r).await;
    assert_eq!(t.take(), "open close 5 cancelled");
}

struct Lent<'x>(&'x mut u32);
struct Numbers;
impl Family for Numbers {
    type Of<'x> = Lent<'x>;
}

async fn lend(t: Trace, body: Does, close: Does) -> Result<u32, withal_core::Error> {
    lending::<Numbers>()
        .with(
            async move |g| {
                let mut connection = 1;
                let mut transaction = Lent(&mut connection);
                let (case, done) = g.give(&mut transaction).await;
                tokio::time::sleep(ms(5)).await;
                t.note(format!("{connection} {}", word(&case)));
                close.run("close").await?;
                Ok::<_, Oops>(done)
            },
            async move |lent| {
                *lent.0 += 1;
                body.run("body").await?;
                Ok(*lent.0)
            },
        )
        .await
}

#[tokio::test(start_paused = true)]
async fn a_lending_generator_lends_what_borrows_its_own_variables() {
    let t = Trace::default();
    assert_eq!(lend(t.clone(), Does::Ok, Does::Ok).await.unwrap(), 2);
    assert_eq!(t.take(), "2 ok");
    let error = lend(t.clone(), Does::Fail, Does::Fail).await.unwrap_err();
    assert_eq!(newest_first(&error), "close<body");
    assert_eq!(t.take(), "2 err(body)");
    let trace = t.clone();
    async_with(step("outer", &t), async |_| {
        dropped_after(10, lend(trace, Does::Hang, Does::Ok)).await;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+outer =outer 2 cancelled -outer ok");
}

impl RefContextManager for Begin<'_> {
    fn abandon(tx: Tx<'_>) {
        tx.0.step.trace.note("abandoned");
    }
}

#[tokio::test(start_paused = true)]
async fn a_borrowing_manager_is_awaited_or_abandoned() {
    let t = Trace::default();
    scope(async |s| {
        let a = s.enter(step("a", &t)).await?;
        for _ in 0..2 {
            with_ref(Begin(&mut *a), async |tx| Ok(tx.0.uses)).await?;
        }
        dropped_after(20, with_ref(Begin(&mut *a), async |_| Ok(hang().await))).await;
        a.uses += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(t.take(), "+a =a -tx ok -tx ok abandoned -a ok");
}

#[tokio::test(start_paused = true)]
async fn a_generator_may_fail_before_it_gives() {
    let failing = asynccontextmanager(async |y| {
        if true {
            return Err(oops("not opened"));
        }
        let ((), _, done) = y.give(()).await;
        Ok(done)
    });
    let error = async_with(failing, async |_| Ok(())).await;
    assert_eq!(newest_first(&error.unwrap_err()), "not opened");
}
