//! `#[withal::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = syn::parse2(item)?;
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "`#[withal::main]` takes no arguments: for other limits call `withal::Root` in a `main` of your own",
        ));
    }
    if sig.asyncness.is_none() || !sig.inputs.is_empty() || !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig,
            "`#[withal::main]` goes on `async fn main()`, without parameters",
        ));
    }
    let name = &sig.ident;
    // The inner function has the outer one's name, so that it hides no other.
    Ok(quote! {
        #(#attrs)*
        #vis fn #name() -> ::std::process::ExitCode {
            #sig #block
            ::withal::block_on(#name())
        }
    })
}
