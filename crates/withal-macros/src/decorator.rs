//! `#[withal::with(manager)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Block, Error, Expr, Ident, ItemFn, Result, ReturnType, Signature, Token, Type};

use crate::signature::{inferred, returns_opaque};

/// `manager()`, or `name = manager()` for a body that uses the resource.
struct Manager {
    name: Option<Ident>,
    expression: Expr,
}

impl Parse for Manager {
    fn parse(input: ParseStream<'_>) -> Result<Manager> {
        let is_named =
            input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]);
        let name = match is_named {
            true => Some(input.parse()?),
            false => None,
        };
        if name.is_some() {
            let _: Token![=] = input.parse()?;
        }
        Ok(Manager {
            name,
            expression: input.parse()?,
        })
    }
}

/// What managers of one block there can be: tuples of managers go up to eight.
const MOST: usize = 8;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let managers = Punctuated::<Manager, Token![,]>::parse_terminated.parse2(arguments)?;
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
    if managers.len() > MOST {
        return Err(Error::new_spanned(
            &sig.ident,
            "one block has at most eight managers: write a second `#[withal::with(..)]` above this one",
        ));
    }
    if let Some(constness) = sig.constness {
        return Err(Error::new_spanned(
            constness,
            "managers are entered at run time: a function inside a block is not `const`",
        ));
    }
    let body = match &sig.output {
        ReturnType::Type(_, output) => {
            if returns_opaque(&sig.output, "Stream") && sig.asyncness.is_none() {
                stream(&managers, &block)?
            } else if returns_opaque(&sig.output, "Future") {
                return Err(Error::new_spanned(
                    output,
                    "the block would end before this future runs: write an `async fn`",
                ));
            } else {
                function(&managers, &sig, output, &block)
            }
        }
        ReturnType::Default => {
            return Err(Error::new_spanned(
                &sig,
                "a function inside a block returns a `Result`: enter and exit can fail",
            ));
        }
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            #body
        }
    })
}

fn function(
    managers: &Punctuated<Manager, Token![,]>,
    sig: &Signature,
    output: &Type,
    block: &Block,
) -> TokenStream {
    let manager = expression(managers);
    let resource = pattern(managers);
    let returned = inferred(output);
    // What the body must not see has names of this macro's own.
    let local = |name: &str| Ident::new(name, Span::mixed_site());
    let (ended, restore, result) = (local("ended"), local("restore"), local("result"));
    let boxed = quote_spanned! {output.span()=>
        ::withal::__private::boxed(#restore, #result)
    };
    let run = if sig.asyncness.is_some() {
        quote! {
            ::withal::async_with(#manager, async move |#resource| {
                let #result = async move {
                    // Says what the body returns, which `async` blocks cannot.
                    if false {
                        return ::withal::__private::never::<#returned>();
                    }
                    #block
                }
                .await;
                #boxed
            })
            .await
        }
    } else {
        quote! {
            ::withal::with(#manager, |#resource| {
                let #result = ::withal::__private::call(|| -> #returned #block);
                #boxed
            })
        }
    };
    quote! {
        let #restore = ::withal::__private::Restore::new();
        let #ended = #run;
        {
            #[allow(unused_imports)]
            use ::withal::__private::FromError as _;
            #ended.map_err(|error| (&#restore).restore(error))
        }
    }
}

fn stream(managers: &Punctuated<Manager, Token![,]>, block: &Block) -> Result<TokenStream> {
    if let Some(name) = managers.iter().find_map(|manager| manager.name.as_ref()) {
        return Err(Error::new_spanned(
            name,
            "a stream is not lent its block's resource: name the manager only",
        ));
    }
    let manager = expression(managers);
    Ok(quote! {
        ::withal::wrap_stream(#manager, ::withal::__private::deferred(move || #block))
    })
}

fn expression(managers: &Punctuated<Manager, Token![,]>) -> TokenStream {
    let expressions = managers.iter().map(|manager| &manager.expression);
    match managers.len() {
        1 => quote!(#(#expressions)*),
        _ => quote!((#(#expressions),*)),
    }
}

fn pattern(managers: &Punctuated<Manager, Token![,]>) -> TokenStream {
    let names = managers.iter().map(|manager| match &manager.name {
        Some(name) => quote!(#name),
        None => quote!(_),
    });
    match managers.len() {
        1 => quote!(#(#names)*),
        _ => quote!((#(#names),*)),
    }
}
