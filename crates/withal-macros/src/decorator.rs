//! `#[withal::with(manager)]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Block, Error, Expr, Ident, ItemFn, Result, ReturnType, Signature, Token, Type,
};

use crate::signature::{inferred, returns_opaque};

/// `manager()`, or `name = manager()` for a body that uses the resource.
struct Manager {
    name: Option<Ident>,
    expression: Expr,
}

impl Parse for Manager {
    fn parse(input: ParseStream<'_>) -> Result<Manager> {
        let is_named = input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]);
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

/// The managers of one block, outermost first.
type Managers = Vec<Manager>;

/// A tuple of managers has at most eight; the last of them may be a tuple itself.
const MOST: usize = 8;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = syn::parse2(item)?;
    let mut managers = parse(arguments, &sig)?;
    // The compiler expands the first attribute first, whose block would then be the inner one.
    let (others, attrs): (Vec<_>, Vec<_>) = attrs.into_iter().partition(is_with);
    for other in others {
        let arguments = other.meta.require_list()?.tokens.clone();
        managers.extend(parse(arguments, &sig)?);
    }
    if let Some(constness) = sig.constness {
        return Err(Error::new_spanned(
            constness,
            "managers are entered at run time: a function inside a block is not `const`",
        ));
    }
    let ReturnType::Type(_, output) = &sig.output else {
        return Err(Error::new_spanned(
            &sig,
            "a function inside a block returns a `Result`: enter and exit can fail",
        ));
    };
    let body = if returns_opaque(output, "Future") {
        return Err(Error::new_spanned(
            output,
            "the block would end before this future runs: write an `async fn`",
        ));
    } else if returns_opaque(output, "Stream") && sig.asyncness.is_none() {
        stream(&managers, &block)?
    } else {
        function(&managers, &sig, output, &block)
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            #body
        }
    })
}

fn parse(arguments: TokenStream, sig: &Signature) -> Result<Managers> {
    let managers = Punctuated::<Manager, Token![,]>::parse_terminated.parse2(arguments)?;
    if managers.is_empty() {
        return Err(Error::new_spanned(
            &sig.ident,
            "name the manager of the block: `#[withal::with(manager())]`",
        ));
    }
    Ok(managers.into_iter().collect())
}

/// Whether an attribute below this one is another `with`.
fn is_with(attribute: &Attribute) -> bool {
    let path = attribute.path();
    let mut segments = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string());
    path.is_ident("with") || segments.by_ref().eq(["withal", "with"])
}

fn function(managers: &[Manager], sig: &Signature, output: &Type, block: &Block) -> TokenStream {
    let manager = tuple(managers, &|manager| manager.expression.to_token_stream());
    let resource = tuple(managers, &|manager| match &manager.name {
        Some(name) => name.to_token_stream(),
        None => quote!(_),
    });
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

fn stream(managers: &[Manager], block: &Block) -> Result<TokenStream> {
    if let Some(name) = managers.iter().find_map(|manager| manager.name.as_ref()) {
        return Err(Error::new_spanned(
            name,
            "a stream is not lent its block's resource: name the manager only",
        ));
    }
    let expressions = managers.iter().rev().map(|manager| &manager.expression);
    let deferred = quote!(::withal::__private::deferred(move || #block));
    Ok(expressions.fold(
        deferred,
        |inner, manager| quote!(::withal::wrap_stream(#manager, #inner)),
    ))
}

/// One part as it is, several as a tuple.
fn tuple(managers: &[Manager], part: &dyn Fn(&Manager) -> TokenStream) -> TokenStream {
    if let [manager] = managers {
        return part(manager);
    }
    let whole = if managers.len() > MOST {
        MOST - 1
    } else {
        managers.len()
    };
    let (first, rest) = managers.split_at(whole);
    let first = first.iter().map(part);
    let rest = (!rest.is_empty()).then(|| tuple(rest, part));
    let rest = rest.iter();
    quote!((#(#first,)* #(#rest)*))
}
