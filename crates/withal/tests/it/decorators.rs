//! `#[withal::with(..)]`, by the number of contextlib's behaviour.

use crate::support::{AppError, Trace};

/// The documentation of `double`.
#[withal::with(t.span(name))]
#[must_use]
fn double(t: &Trace, name: &str, n: u32) -> Result<u32, AppError> {
    t.note("body");
    if n == 0 {
        return Err(AppError::Own);
    }
    Ok(n * 2)
}

#[test]
fn c038_a_decorated_function_runs_inside_its_block() {
    let t = Trace::default();
    assert_eq!(double(&t, "a", 2).unwrap(), 4);
    assert_eq!(t.take(), "+a body -a ok");
    assert_eq!(double(&t, "b", 3).unwrap(), 6);
    assert_eq!(t.take(), "+b body -b ok");
}

#[test]
fn c039_its_own_error_comes_out_as_it_went_in() {
    let t = Trace::default();
    assert!(matches!(double(&t, "a", 0), Err(AppError::Own)));
    assert_eq!(t.take(), "+a body -a failed");
    let Err(AppError::Block(error)) = double(&t, "bad", 0) else {
        panic!("the failed exit is not lost");
    };
    assert_eq!(error.len(), 2);
    assert!(matches!(
        error.downcast_ref::<AppError>(),
        Some(AppError::Own)
    ));
}

struct Counter<'a> {
    count: u32,
    trace: &'a Trace,
}

impl<'a> Counter<'a> {
    #[withal::with(self.trace.span("method"))]
    fn add<T: Into<u32>>(&mut self, n: T) -> Result<&mut Self, AppError> {
        self.count += n.into();
        Ok(self)
    }

    #[withal::with(self.trace.span("outer"), self.trace.span("inner"))]
    async fn add_later(&mut self, n: u32) -> Result<u32, AppError> {
        tokio::task::yield_now().await;
        self.trace.note("body");
        self.count += n;
        Ok(self.count)
    }
}

#[tokio::test]
async fn c040_c109_methods_keep_self_generics_and_lifetimes() {
    let t = Trace::default();
    let mut counter = Counter {
        count: 0,
        trace: &t,
    };
    assert_eq!(counter.add(2_u8).unwrap().add(3_u16).unwrap().count, 5);
    assert_eq!(t.take(), "+method -method ok +method -method ok");
    assert_eq!(counter.add_later(4).await.unwrap(), 9);
    assert_eq!(t.take(), "+outer +inner body -inner ok -outer ok");
}

#[withal::with(t.span("depth"))]
fn recurse(t: &Trace, n: u32) -> anyhow::Result<u32> {
    anyhow::ensure!(n < 100, "too deep");
    if n == 0 {
        Ok(0)
    } else {
        Ok(recurse(t, n - 1)? + 1)
    }
}

#[test]
fn c024_a_decorated_function_may_recurse_and_fail_with_anyhow() {
    let t = Trace::default();
    assert_eq!(recurse(&t, 9).unwrap(), 9);
    assert_eq!(t.take().matches("+depth").count(), 10);
    assert_eq!(recurse(&t, 100).unwrap_err().to_string(), "too deep");
}

#[withal::with(t.span("lazy"))]
async fn later(t: Trace) -> Result<(), withal::Error> {
    tokio::task::yield_now().await;
    t.note("body");
    Ok(())
}

#[tokio::test]
async fn c126_a_decorated_async_function_is_lazy_and_inside_for_its_whole_run() {
    let t = Trace::default();
    let call = later(t.clone());
    assert_eq!(t.take(), "");
    tokio::spawn(call).await.unwrap().unwrap();
    assert_eq!(t.take(), "+lazy body -lazy ok");
}

#[test]
fn c044_each_call_has_a_fresh_manager() {
    let t = Trace::default();
    let mut made = 0;
    let mut make = || {
        made += 1;
        t.span(&made.to_string())
    };
    #[withal::with(make())]
    fn call(make: &mut impl FnMut() -> crate::support::Span) -> Result<(), withal::Error> {
        Ok(())
    }
    call(&mut make).unwrap();
    call(&mut make).unwrap();
    assert_eq!(t.take(), "+1 -1 ok +2 -2 ok");
}

#[withal::with(t.span("a"))]
async fn fails_later(t: &Trace, exit: &str) -> Result<(), AppError> {
    tokio::task::yield_now().await;
    inner(t, exit)?;
    Ok(())
}

#[withal::with(t.span(exit))]
fn inner(t: &Trace, exit: &str) -> Result<(), AppError> {
    t.note("body");
    Err(AppError::Own)
}

#[tokio::test]
async fn c108_an_async_functions_own_error_leaves_after_the_clean_up() {
    let t = Trace::default();
    let error = fails_later(&t, "b").await.unwrap_err();
    assert!(matches!(error, AppError::Own));
    assert_eq!(t.take(), "+a +b body -b failed -a failed");

    let AppError::Block(error) = fails_later(&t, "bad").await.unwrap_err() else {
        panic!("the failed exit is not lost");
    };
    assert_eq!(t.take(), "+a +bad body -bad failed -a failed");
    assert_eq!(error.len(), 2);
    assert!(matches!(error.downcast_ref(), Some(AppError::Own)));
}

struct Service {
    t: Trace,
}

impl Service {
    #[withal::with(self.t.span("ref"))]
    async fn by_ref<'a>(&'a self, text: &'a str) -> anyhow::Result<&'a str> {
        tokio::task::yield_now().await;
        Ok(text)
    }

    #[withal::with(self.t.span("value"))]
    async fn by_value<T>(self, items: Vec<T>) -> anyhow::Result<(T, Service)>
    where
        T: Clone + Send + Sync,
    {
        tokio::task::yield_now().await;
        let first = items.first().cloned();
        Ok((first.ok_or_else(|| anyhow::anyhow!("empty"))?, self))
    }

    #[withal::with(self.t.span("iter"))]
    fn squares(&self, up_to: u32) -> anyhow::Result<impl Iterator<Item = u32>> {
        anyhow::ensure!(up_to < 10);
        Ok((0..up_to).map(|n| n * n))
    }

    #[withal::with(self.t.span("boxed"))]
    async fn boxed(&self) -> anyhow::Result<Box<dyn Fn() -> u32 + Send>> {
        Ok(Box::new(|| 42))
    }
}

#[tokio::test]
async fn c109_async_methods_take_self_in_every_form_and_can_be_spawned() {
    let service = Service {
        t: Trace::default(),
    };
    let text = String::from("text");
    assert_eq!(service.by_ref(&text).await.unwrap(), "text");
    assert_eq!(service.boxed().await.unwrap()(), 42);
    assert_eq!(service.squares(3).unwrap().sum::<u32>(), 5);
    let call = tokio::spawn(service.by_value(vec![7]));
    let (first, service) = call.await.unwrap().unwrap();
    assert_eq!(first, 7);
    assert_eq!(
        service.t.take(),
        "+ref -ref ok +boxed -boxed ok +iter -iter ok +value -value ok"
    );
}

/// Names the expansion might use as well.
#[withal::with(result.span("a"), restore = result.span("b"))]
fn hygienic(result: &Trace, ended: u32, error: u32) -> Result<u32, AppError> {
    let manager = ended + error;
    restore.note("body");
    Ok(manager)
}

#[withal::with(restore.span("a"))]
async fn hygienic_later(restore: &Trace, result: u32, error: u32) -> Result<u32, AppError> {
    restore.note("body");
    Ok(result + error)
}

#[tokio::test]
async fn c021_the_expansion_keeps_to_names_of_its_own() {
    let t = Trace::default();
    assert_eq!(hygienic(&t, 1, 2).unwrap(), 3);
    assert_eq!(t.take(), "+a +b b:body -b ok -a ok");
    assert_eq!(hygienic_later(&t, 1, 2).await.unwrap(), 3);
    assert_eq!(t.take(), "+a body -a ok");
}

#[withal::with(outer = t.span("outer"), t.span("middle"), inner = t.span("inner"))]
async fn lent(t: &Trace) -> Result<(), withal::Error> {
    outer.note("first");
    tokio::task::yield_now().await;
    inner.note("second");
    Ok(())
}

#[withal::with(span = t.span("one"))]
fn lent_one(t: &Trace) -> Result<(), withal::Error> {
    span.note("only");
    Ok(())
}

#[tokio::test]
async fn a_named_managers_resource_is_lent_to_the_body() {
    let t = Trace::default();
    lent(&t).await.unwrap();
    assert_eq!(
        t.take(),
        "+outer +middle +inner outer:first inner:second -inner ok -middle ok -outer ok"
    );
    lent_one(&t).unwrap();
    assert_eq!(t.take(), "+one one:only -one ok");
}

#[withal::with(t.span("outer"))]
#[must_use]
#[withal::with(t.span("inner"))]
async fn twice(t: &Trace) -> Result<(), AppError> {
    t.note("body");
    Err(AppError::Own)
}

#[tokio::test]
async fn decorators_stack_and_still_give_the_own_error_back() {
    let t = Trace::default();
    assert!(matches!(twice(&t).await, Err(AppError::Own)));
    assert_eq!(t.take(), "+outer +inner body -inner failed -outer failed");
}

#[withal::with(a = t.span("0"), t.span("1"), t.span("2"), t.span("3"), t.span("4"))]
#[withal::with(t.span("5"), t.span("6"), t.span("7"), t.span("8"), b = t.span("9"))]
fn ten(t: &Trace) -> Result<(), AppError> {
    a.note("a");
    b.note("b");
    Ok(())
}

#[test]
fn a_block_has_any_number_of_managers() {
    let t = Trace::default();
    ten(&t).unwrap();
    let trace = t.take();
    assert!(trace.starts_with("+0 +1 +2 +3 +4 +5 +6 +7 +8 +9 0:a 9:b -9 ok -8 ok"));
    assert!(trace.ends_with("-1 ok -0 ok"));
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[withal::with(t.span(exit))]
fn into_a_box(t: &Trace, exit: &str) -> Result<(), AnyError> {
    Err(AppError::Own)?
}

#[withal::with(t.span(exit))]
async fn into_any_error<E>(t: &Trace, exit: &str) -> Result<(), E>
where
    E: From<withal::Error> + Into<AnyError>,
{
    t.note("body");
    Ok(())
}

#[tokio::test]
async fn boxes_and_generic_errors_carry_the_blocks_list() {
    let t = Trace::default();
    for (exit, failures) in [("good", 1), ("bad", 2)] {
        let error = into_a_box(&t, exit).unwrap_err();
        let list = error.downcast_ref::<withal::Error>().unwrap();
        assert_eq!(list.len(), failures);
        assert!(matches!(list.downcast_ref(), Some(AppError::Own)));
    }
    let error = into_any_error::<AnyError>(&t, "bad").await.unwrap_err();
    assert!(error.is::<withal::Error>());
}

#[withal::with(t.span("bad"))]
fn fails_at_exit(t: &Trace) -> Result<(), withal::Error> {
    Ok(())
}

#[test]
fn a_failed_exit_names_the_decorated_function() {
    let error = fails_at_exit(&Trace::default()).unwrap_err();
    let entry = error.first().entry().unwrap();
    assert!(entry.location().file().ends_with("decorators.rs"));
}
