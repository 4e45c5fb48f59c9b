//! `#[contextmanager]` and `#[asynccontextmanager]`, by the number of contextlib's behaviour.

use std::io;
use std::sync::Arc;

use withal::{AsyncYielder, Given, Yielder, async_with, nullcontext, scope, with};

/// Wraps what the body writes in a tag.
#[withal::contextmanager]
pub(crate) async fn tag(y: Yielder<'_, String>, name: &str) -> Result<Given<'_>, std::fmt::Error> {
    let (html, _case, done) = y.give(format!("<{name}>")).await;
    assert!(html.starts_with(&format!("<{name}>")));
    Ok(done)
}

#[withal::asynccontextmanager]
async fn number(
    y: AsyncYielder<'_, u32>,
    func: u32,
    args: u32,
    body: u32,
    manager: u32,
) -> Result<Given<'_>, std::io::Error> {
    tokio::task::yield_now().await;
    let (n, case, done) = y.give(func + args + body + manager).await;
    if case.is_succeeded() && n == 0 {
        return Err(std::io::Error::other("zero"));
    }
    Ok(done)
}

#[test]
fn c018_a_generator_function_is_called_without_its_yielder() {
    let text = with(tag("p"), |html| {
        html.push_str("text");
        Ok(html.clone())
    })
    .unwrap();
    assert_eq!(text, "<p>text");
}

#[tokio::test]
async fn c102_c105_async_generators_take_any_parameter_names() {
    let sum = async_with(number(1, 2, 3, 4), async |n| Ok(**n))
        .await
        .unwrap();
    assert_eq!(sum, 10);
    let failed = async_with(number(1, 2, 3, 4), async |n| {
        **n = 0;
        Ok(())
    });
    assert_eq!(
        failed.await.unwrap_err().first().error().to_string(),
        "zero"
    );
}

#[withal::contextmanager]
#[deprecated = "to be seen by its callers"]
pub(crate) async fn old(y: Yielder<'_, u32>) -> io::Result<Given<'_>> {
    let (_, _, done) = y.give(1).await;
    Ok(done)
}

#[test]
fn c018_attributes_are_those_of_the_function() {
    #[expect(deprecated, reason = "the attribute is forwarded")]
    let manager = old();
    assert_eq!(with(manager, |n| Ok(**n)).unwrap(), 1);
}

/// Lifetimes may be left out; names are the user's own.
#[withal::contextmanager]
async fn keywords(
    y: Yielder<usize>,
    func: u8,
    args: String,
    kwds: &mut usize,
    y2: usize,
    (body, manager): (usize, usize),
    generator: fn() -> usize,
) -> io::Result<Given> {
    let sum = usize::from(func) + args.len() + *kwds + y2 + body + manager + generator();
    let (sum, _, done) = y.give(sum).await;
    *kwds = sum;
    Ok(done)
}

#[test]
fn c021_keywords() {
    let mut kwds = 3;
    let manager = keywords(1, String::from("22"), &mut kwds, 4, (5, 6), || 7);
    with(manager, |sum| {
        **sum += 100;
        Ok(())
    })
    .unwrap();
    assert_eq!(kwds, 128);
}

struct Table<'a> {
    name: &'a str,
    open: std::cell::Cell<u32>,
}

impl Table<'_> {
    #[withal::contextmanager]
    async fn cursor(&self, y: Yielder<'_, String>, row: u32) -> io::Result<Given<'_>> {
        self.open.set(self.open.get() + 1);
        let (_, _, done) = y.give(format!("{}[{row}]", self.name)).await;
        self.open.set(self.open.get() - 1);
        Ok(done)
    }
}

#[test]
fn c040_a_generator_may_be_a_method() {
    let table = Table {
        name: "t",
        open: 0.into(),
    };
    let nested = with((table.cursor(1), table.cursor(2)), |(a, b)| {
        Ok((format!("{} {}", **a, **b), table.open.get()))
    });
    assert_eq!(nested.unwrap(), ("t[1] t[2]".into(), 2));
    assert_eq!(table.open.get(), 0);
}

#[derive(Clone)]
struct Pool(Arc<()>);

impl Pool {
    #[withal::asynccontextmanager]
    async fn connection<T>(self, y: AsyncYielder<T>, like: T) -> Result<Given, io::Error>
    where
        T: Send + 'static,
    {
        tokio::task::yield_now().await;
        let (_, _, done) = y.give(like).await;
        assert_eq!(Arc::strong_count(&self.0), 2, "held until here");
        Ok(done)
    }
}

#[withal::asynccontextmanager]
async fn holding(y: AsyncYielder<'_, ()>, _lock: Arc<()>, _: u8) -> io::Result<Given<'_>> {
    let ((), _, done) = y.give(()).await;
    Ok(done)
}

#[tokio::test]
async fn an_async_generator_may_be_a_generic_method_and_runs_in_a_task() {
    let pool = Pool(Arc::new(()));
    let manager = pool.clone().connection(String::from("like"));
    let task = tokio::spawn(async move {
        let length = async_with(manager, async |like| Ok(like.len())).await?;
        scope(async |s| Ok(s.enter(nullcontext(length)).await.map(|n| *n)?)).await
    });
    assert_eq!(task.await.unwrap().unwrap(), 4);
    assert_eq!(Arc::strong_count(&pool.0), 1);
}

#[tokio::test]
async fn an_underscored_parameter_is_held_until_the_exit() {
    let lock = Arc::new(());
    let manager = holding(Arc::clone(&lock), 0);
    let held = async_with(manager, async |_| Ok(Arc::strong_count(&lock))).await;
    assert_eq!(held.unwrap(), 2);
    assert_eq!(Arc::strong_count(&lock), 1);
}
