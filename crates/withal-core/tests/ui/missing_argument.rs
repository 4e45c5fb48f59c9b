//! Wrong arguments are found where the manager is made: `c023_param_errors`.

use withal_core::{ContextManager, contextmanager, with};

fn numbered(name: String, number: u32) -> impl ContextManager<Error = std::fmt::Error> {
    contextmanager(async move |y| {
        let (_, _, done) = y.give((name, number)).await;
        Ok(done)
    })
}

fn main() {
    let _ = with(numbered("a".to_owned()), |_| Ok(()));
    let _ = with(numbered(1, "a".to_owned()), |_| Ok(()));
    let _ = with(numbered("a".to_owned(), 1, 2), |_| Ok(()));
}
