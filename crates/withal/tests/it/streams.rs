//! `#[withal::with(..)]` on functions that return streams, by the number of contextlib's
//! behaviour.

use futures_core::Stream;

use crate::support::{AppError, FromFn, Trace, next};

#[withal::with(t.span("a"))]
fn count(t: Trace, to: u32) -> impl Stream<Item = Result<u32, AppError>> + Send {
    t.note("made");
    let mut n = 0;
    FromFn(move || {
        n += 1;
        t.note(format!("item{n}"));
        match n {
            7 => Some(Err(AppError::Own)),
            n => (n <= to).then_some(Ok(n)),
        }
    })
}

#[tokio::test]
async fn c122_c127_a_decorated_stream_is_made_and_run_inside_its_block() {
    let t = Trace::default();
    let mut stream = count(t.clone(), 2);
    assert_eq!(t.take(), "", "streams are lazy");
    let task = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(item) = next(&mut stream).await {
            sum += item.unwrap();
        }
        sum
    });
    assert_eq!(task.await.unwrap(), 3);
    assert_eq!(t.take(), "+a made item1 item2 item3 -a ok");
}

/// Waits for what was dropped.
async fn drained() -> withal::Report {
    let limit = std::time::Duration::from_secs(9);
    withal::Reaper::global().drain(limit).await
}

#[tokio::test]
async fn c123_stopped_early_it_is_dropped_before_its_block_is_left() {
    let t = Trace::default();
    let mut stream = count(t.clone(), 2);
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), 1);
    drop(stream);
    assert!(drained().await.is_clean());
    assert_eq!(t.take(), "+a made item1 -a failed");
}

#[tokio::test]
async fn c124_its_items_and_errors_come_out_unchanged() {
    let t = Trace::default();
    let mut stream = count(t.clone(), 9);
    let mut last = None;
    for _ in 0..7 {
        last = next(&mut stream).await;
    }
    assert!(matches!(last, Some(Err(AppError::Own))));
    // All tests share the reaper: none may leave it what ends with its own runtime.
    drop(stream);
    assert!(drained().await.is_clean());
}

struct Rows {
    t: Trace,
    rows: Vec<u32>,
}

impl Rows {
    #[withal::with(self.t.span("a"), self.t.span(exit))]
    fn iter(&self, exit: &str) -> impl Stream<Item = withal_result::Result<&u32>> {
        let mut rows = self.rows.iter();
        FromFn(move || rows.next().map(Ok))
    }
}

mod withal_result {
    pub(crate) type Result<T> = std::result::Result<T, withal::Error>;
}

#[tokio::test]
async fn a_streaming_method_borrows_and_a_failed_exit_is_the_last_item() {
    let rows = Rows {
        t: Trace::default(),
        rows: vec![1],
    };
    let mut stream = rows.iter("bad");
    assert_eq!(*next(&mut stream).await.unwrap().unwrap(), 1);
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert_eq!(error.exits().count(), 1);
    assert!(next(&mut stream).await.is_none());
    assert_eq!(rows.t.take(), "+a +bad -bad ok -a ok");
}
