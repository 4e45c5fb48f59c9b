//! `#[withal::with(manager)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ItemFn, Result, ReturnType, Token, parse::Parser};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let managers = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(arguments)?;
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = syn::parse2(item)?;
    if managers.is_empty() {
        return Err(Error::new_spanned(
            &sig.ident,
            "name the manager of the block: `#[withal::with(manager())]`",
        ));
    }
    let ReturnType::Type(_, output) = &sig.output else {
        return Err(Error::new_spanned(
            &sig,
            "a function inside a block returns a `Result`: enter and exit can fail",
        ));
    };
    let manager = match managers.len() {
        1 => quote!(#managers),
        _ => quote!((#managers)),
    };
    let run = if sig.asyncness.is_some() {
        quote! {
            ::withal::async_with(__manager, async move |_| {
                let result: #output = async move #block.await;
                result.map_err(::core::convert::Into::into)
            }).await
        }
    } else {
        quote! {
            ::withal::with(__manager, move |_| {
                let result: #output = (move || #block)();
                result.map_err(::core::convert::Into::into)
            })
        }
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            let __manager = #manager;
            let __ended = #run;
            #[allow(unused_imports)]
            use ::withal::__private::FromError as _;
            type __Error<R> = <R as ::withal::__private::ErrorOf>::Error;
            let __restore = ::withal::__private::Restore::<__Error<#output>>::new();
            __ended.map_err(|error| (&__restore).restore(error))
        }
    })
}
