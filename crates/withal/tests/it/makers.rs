//! `#[contextmanager]` and `#[asynccontextmanager]`, by the number of contextlib's behaviour.

use withal::{AsyncYielder, Given, Yielder, async_with, with};

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
