#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod decorator;
mod generator;
mod root;
mod signature;

use proc_macro::TokenStream;

/// Makes an `async fn main` the root of the program: see `withal::block_on`.
///
/// Signals cancel it, its exits are awaited, and what was lost is printed.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(root::expand(arguments.into(), item.into()))
}

/// Makes a generator function a function that returns a sync context manager.
///
/// The function is an `async fn` whose first parameter is the `Yielder<'_, R>` that it gives its
/// resource to, and which returns `Result<Given<'_>, E>`; see `withal::contextmanager`. What is
/// left takes the other parameters and returns a manager of `R`.
#[proc_macro_attribute]
pub fn contextmanager(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(generator::expand(
        &generator::SYNC,
        arguments.into(),
        item.into(),
    ))
}

/// Makes a generator function a function that returns an async context manager.
///
/// As `contextmanager`, with an `AsyncYielder<'_, R>`; see `withal::asynccontextmanager`.
#[proc_macro_attribute]
pub fn asynccontextmanager(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(generator::expand(
        &generator::ASYNC,
        arguments.into(),
        item.into(),
    ))
}

/// Runs every call of a function inside a block, with a fresh manager.
///
/// It decorates functions and methods, sync (`with`) and async (`async_with`), that return a
/// `Result` whose error is `From<withal::Error>`. The manager's expression may use the parameters.
/// The function's own errors come out as they went in.
#[proc_macro_attribute]
pub fn with(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(decorator::expand(arguments.into(), item.into()))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
