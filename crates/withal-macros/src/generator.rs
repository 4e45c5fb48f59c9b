//! `#[contextmanager]` and `#[asynccontextmanager]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Error, FnArg, ItemFn, Pat, PatType, Result, ReturnType, Type};

use crate::signature::{
    borrows, hold_unused_parameters, last_segment, type_arguments, with_static_proofs,
};

/// What the two forms differ in.
pub(crate) struct Form {
    attribute: &'static str,
    yielder: &'static str,
    manager: &'static str,
    is_async: bool,
}

pub(crate) const SYNC: Form = Form {
    attribute: "contextmanager",
    yielder: "Yielder",
    manager: "ContextManager",
    is_async: false,
};

pub(crate) const ASYNC: Form = Form {
    attribute: "asynccontextmanager",
    yielder: "AsyncYielder",
    manager: "AsyncContextManager",
    is_async: true,
};

pub(crate) fn expand(
    form: &Form,
    arguments: TokenStream,
    item: TokenStream,
) -> Result<TokenStream> {
    let ItemFn {
        attrs,
        vis,
        mut sig,
        block,
    } = syn::parse2(item)?;
    if !arguments.is_empty() {
        return Err(form.complain(&arguments, "it takes no arguments"));
    }
    if sig.asyncness.take().is_none() {
        return Err(form.complain(
            &sig.fn_token,
            "a generator is an `async fn`, so that it can pause",
        ));
    }
    let Some(position) = sig
        .inputs
        .iter()
        .position(|parameter| matches!(parameter, FnArg::Typed(_)))
    else {
        return Err(form.complain(&sig.ident, "the first parameter is the yielder"));
    };
    let mut parameters = std::mem::take(&mut sig.inputs)
        .into_iter()
        .collect::<Vec<_>>();
    let FnArg::Typed(yielder) = parameters.remove(position) else {
        unreachable!("`position` is that of a typed parameter");
    };
    let resource = form.resource(&yielder)?;
    let (proof, error) = form.proof_and_error(&sig.output)?;
    if let Some(borrowing) = parameters.iter().find(|&parameter| borrows(parameter))
        && form.is_async
    {
        return Err(Error::new_spanned(
            borrowing,
            "an async manager is finished even if its block's future is dropped, so it cannot \
             borrow from the caller: take it by value (`String`, `Arc<T>`, a clone)",
        ));
    }
    sig.inputs = parameters.into_iter().collect();

    let maker = format_ident!("{}", form.attribute);
    let manager = format_ident!("{}", form.manager);
    let send = form.is_async.then(|| quote!(+ ::core::marker::Send));
    sig.output = syn::parse2(quote! {
        -> impl ::withal::#manager<
            Resource: ::core::ops::DerefMut<Target = #resource>,
            Error = #error
        > #send
    })?;
    let held = hold_unused_parameters(&sig);
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            ::withal::#maker::<_, #resource, #error>(
                async move |#yielder| -> #proof {
                    #held
                    #block
                }
            )
        }
    })
}

impl Form {
    fn complain(&self, at: &dyn ToTokens, what: &str) -> Error {
        let Form {
            attribute, yielder, ..
        } = self;
        Error::new_spanned(
            at,
            format!(
                "{what}: `#[{attribute}]` goes on \
                 `async fn name(y: {yielder}<'_, R>, …) -> Result<Given<'_>, E>`"
            ),
        )
    }

    /// `R` of `y: Yielder<'_, R>`.
    fn resource(&self, parameter: &PatType) -> Result<Type> {
        if !matches!(&*parameter.pat, Pat::Ident(_)) {
            return Err(self.complain(&parameter.pat, "the yielder is a plain name"));
        }
        let segment = last_segment(&parameter.ty);
        let other = if self.is_async { SYNC } else { ASYNC };
        if segment.is_some_and(|segment| segment.ident == other.yielder) {
            let Form {
                attribute, yielder, ..
            } = other;
            let what = format!("`{yielder}` belongs to `#[{attribute}]`");
            return Err(self.complain(&parameter.ty, &what));
        }
        match segment.map(type_arguments).as_deref() {
            Some([resource]) => Ok((*resource).clone()),
            _ => Err(self.complain(&parameter.ty, "the first parameter is the yielder")),
        }
    }

    /// `Result<Given<'_>, E>` and `E`.
    fn proof_and_error(&self, output: &ReturnType) -> Result<(Type, Type)> {
        const WHAT: &str = "it returns the proof that it has given";
        let ReturnType::Type(_, output) = output else {
            return Err(self.complain(output, WHAT));
        };
        let arguments = last_segment(output).map(type_arguments).unwrap_or_default();
        let error = match &*arguments {
            [Type::Tuple(nothing), ..] if nothing.elems.is_empty() => None,
            [_, error] => Some((*error).clone()),
            // `io::Result<Given<'_>>`: the error stands in an alias.
            [_] => {
                let proof = with_static_proofs(output);
                Some(syn::parse_quote!(<#proof as ::withal::__private::Fallible>::Error))
            }
            _ => None,
        };
        match error {
            Some(error) => Ok(((**output).clone(), error)),
            None => Err(self.complain(output, WHAT)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The documentation of the function that a generator becomes.
    fn documented(form: &Form, generator: TokenStream) -> Vec<String> {
        let expanded = expand(form, TokenStream::new(), generator).unwrap();
        let function: ItemFn = syn::parse2(expanded).unwrap();
        let docs = function.attrs.iter().filter(|a| a.path().is_ident("doc"));
        docs.map(|doc| doc.to_token_stream().to_string()).collect()
    }

    #[test]
    fn c019_doc_attrib() {
        let docs = documented(
            &SYNC,
            quote! {
                /// Whoever.
                async fn tag(y: Yielder<'_, u32>) -> Result<Given<'_>, E> {
                    Ok(y.give(1).await.2)
                }
            },
        );
        assert!(docs.concat().contains("Whoever."), "{docs:?}");
    }

    #[test]
    fn c103_doc_attrib() {
        let docs = documented(
            &ASYNC,
            quote! {
                /// Whoever.
                async fn tag(y: AsyncYielder<'_, u32>) -> Result<Given<'_>, E> {
                    Ok(y.give(1).await.2)
                }
            },
        );
        assert!(docs.concat().contains("Whoever."), "{docs:?}");
    }
}
