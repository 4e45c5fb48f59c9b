//! What the attributes ask of a function's signature.

use proc_macro2::TokenStream;
use quote::quote;
use syn::visit_mut::{self, VisitMut};
use syn::{
    FnArg, GenericArgument, Ident, PatIdent, PathArguments, PathSegment, Signature, Type,
    TypeParamBound,
};

/// The last word of a type's path: `Result<T, E>` of `std::result::Result<T, E>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// `T` and `E` of `Result<'_, T, E>`.
pub(crate) fn type_arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// Whether a function's output is an `impl Name<…>`.
pub(crate) fn returns_opaque(output: &Type, name: &str) -> bool {
    let Type::ImplTrait(opaque) = output else {
        return false;
    };
    opaque.bounds.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => {
            let last = bound.path.segments.last();
            last.is_some_and(|last| last.ident == name)
        }
        _ => false,
    })
}

/// `ty`, each `impl Trait` left to inference: only a signature can name it.
pub(crate) fn inferred(ty: &Type) -> Type {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            match ty {
                Type::ImplTrait(_) => *ty = syn::parse_quote!(_),
                _ => visit_mut::visit_type_mut(self, ty),
            }
        }
    }
    let mut ty = ty.clone();
    Infer.visit_type_mut(&mut ty);
    ty
}

/// `ty`, its proofs `Given<'static>`: for where their lifetimes make no difference.
pub(crate) fn with_static_proofs(ty: &Type) -> Type {
    struct Proofs;
    impl VisitMut for Proofs {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if last_segment(ty).is_some_and(|last| last.ident == "Given") {
                *ty = syn::parse_quote!(::withal::Given<'static>);
            }
            visit_mut::visit_type_mut(self, ty);
        }
    }
    let mut ty = ty.clone();
    Proofs.visit_type_mut(&mut ty);
    ty
}

/// Uses each parameter whose name begins with `_`, for a closure that moves to take it along:
/// `_lock: Guard` is held for as long as the function runs.
pub(crate) fn hold_unused_parameters(sig: &Signature) -> TokenStream {
    struct Names(Vec<Ident>);
    impl VisitMut for Names {
        fn visit_pat_ident_mut(&mut self, pattern: &mut PatIdent) {
            if pattern.ident.to_string().starts_with('_') {
                self.0.push(pattern.ident.clone());
            }
            visit_mut::visit_pat_ident_mut(self, pattern);
        }
    }
    let mut names = Names(Vec::new());
    for parameter in &mut sig.inputs.clone() {
        if let FnArg::Typed(parameter) = parameter {
            names.visit_pat_mut(&mut parameter.pat);
        }
    }
    let Names(names) = names;
    quote!(#(let _ = &#names;)*)
}

/// Whether a parameter is seen to borrow from the caller.
pub(crate) fn borrows(parameter: &FnArg) -> bool {
    let lifetime = match parameter {
        FnArg::Receiver(receiver) => match &receiver.reference {
            Some((_, lifetime)) => lifetime,
            None => return false,
        },
        FnArg::Typed(parameter) => match &*parameter.ty {
            Type::Reference(reference) => &reference.lifetime,
            _ => return false,
        },
    };
    lifetime
        .as_ref()
        .is_none_or(|lifetime| lifetime.ident != "static")
}
