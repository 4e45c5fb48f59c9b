//! `#[contextmanager]` and `#[asynccontextmanager]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, FnArg, GenericArgument, ItemFn, Pat, PathArguments, Result, ReturnType, Type};

/// What the two forms differ in.
pub(crate) struct Form {
    attribute: &'static str,
    yielder: &'static str,
    manager: &'static str,
    is_send: bool,
}

pub(crate) const SYNC: Form = Form {
    attribute: "contextmanager",
    yielder: "Yielder",
    manager: "ContextManager",
    is_send: false,
};

pub(crate) const ASYNC: Form = Form {
    attribute: "asynccontextmanager",
    yielder: "AsyncYielder",
    manager: "AsyncContextManager",
    is_send: true,
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
    let complain = |at: &dyn quote::ToTokens, what: &str| {
        let Form {
            attribute, yielder, ..
        } = form;
        Error::new_spanned(
            at,
            format!(
                "{what}: `#[{attribute}]` goes on \
                 `async fn name(y: {yielder}<'_, R>, …) -> Result<Given<'_>, E>`"
            ),
        )
    };
    if !arguments.is_empty() {
        return Err(complain(&arguments, "it takes no arguments"));
    }
    if sig.asyncness.take().is_none() {
        return Err(complain(
            &sig.fn_token,
            "a generator is an `async fn`, so that it can pause",
        ));
    }
    let mut parameters = std::mem::take(&mut sig.inputs).into_iter();
    let Some(FnArg::Typed(first)) = parameters.next() else {
        return Err(complain(&sig.ident, "the first parameter is the yielder"));
    };
    let Pat::Ident(yielder) = &*first.pat else {
        return Err(complain(&first.pat, "the yielder is a plain name"));
    };
    let Some(resource) = last_type_argument(&first.ty) else {
        return Err(complain(&first.ty, "the first parameter is the yielder"));
    };
    let proof = match &sig.output {
        ReturnType::Type(_, output) => Some((**output).clone()),
        ReturnType::Default => None,
    };
    let Some((proof, error)) = proof.and_then(|proof| {
        let error = last_type_argument(&proof)?.clone();
        Some((proof, error))
    }) else {
        return Err(complain(
            &sig.output,
            "it returns the proof that it has given",
        ));
    };
    let resource = resource.clone();
    sig.inputs = parameters.collect();
    let (maker, manager) = (
        format_ident!("{}", form.attribute),
        format_ident!("{}", form.manager),
    );
    let yielder_type = &*first.ty;
    let send = form.is_send.then(|| quote!(+ ::core::marker::Send));
    sig.output = syn::parse2(quote! {
        -> impl ::withal::#manager<
            Resource: ::core::ops::DerefMut<Target = #resource>,
            Error = #error
        > #send
    })?;
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            ::withal::#maker::<_, #resource, #error>(
                async move |#yielder: #yielder_type| -> #proof #block
            )
        }
    })
}

/// `E` of `Result<T, E>`, `R` of `Yielder<'_, R>`.
fn last_type_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    arguments
        .args
        .iter()
        .rev()
        .find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
}
