//! Tuples and arrays of managers are managers: entered left to right, exited right to left.
//!
//! They mean exactly what the same managers mean in nested blocks, one inside the other.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use crate::manager::Site;
use crate::unwind::{Swallowed, Unwind, catch};
use crate::{AsyncContextManager, BoxError, ContextManager, Entry, ExitCase, Flow, Verdict};

/// A member of a tuple failed to enter: its error has been shown to the members before it.
fn not_entered(unwind: Unwind) -> BoxError {
    match unwind.finish::<Flow, ()>(None) {
        Ok(_) => Box::new(Swallowed),
        Err(error) => Box::new(error),
    }
}

fn boxed_exit<V: Verdict>(unwind: Unwind, case: &ExitCase) -> Result<V, BoxError> {
    unwind.into_exit(case).map_err(Into::into)
}

/// Enters one member; a failure goes into `unwind`.
fn enter_member<M, V>(manager: M, location: Site, unwind: &mut Unwind) -> Option<M::Resource>
where
    M: ContextManager<V>,
    V: Verdict,
{
    let mut entry = Entry::at(type_name::<M>(), location);
    let entered = catch_unwind(AssertUnwindSafe(|| {
        entry = Entry::at(manager.name(), location);
        manager.enter_at(location).map_err(Into::into)
    }));
    match entered {
        Ok(Ok(resource)) => return Some(resource),
        Ok(Err(error)) => unwind.enter_failed(entry, error),
        Err(payload) => unwind.enter_panicked(entry, payload),
    }
    None
}

fn exit_member<M, V>(resource: M::Resource, location: Site, unwind: &mut Unwind)
where
    M: ContextManager<V>,
    V: Verdict,
{
    crate::with::exit::<M, V>(resource, &Entry::at(type_name::<M>(), location), unwind);
}

async fn enter_member_async<M, V>(
    manager: M,
    location: Site,
    unwind: &mut Unwind,
) -> Option<M::Resource>
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let mut entry = Entry::at(type_name::<M>(), location);
    let entering = async {
        entry = Entry::at(manager.name(), location);
        manager.enter_at(location).await.map_err(Into::into)
    };
    match catch(entering).await {
        Ok(Ok(resource)) => return Some(resource),
        Ok(Err(error)) => unwind.enter_failed(entry, error),
        Err(payload) => unwind.enter_panicked(entry, payload),
    }
    None
}

async fn exit_member_async<M, V>(resource: M::Resource, location: Site, unwind: &mut Unwind)
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let entry = Entry::at(type_name::<M>(), location);
    let case = unwind.case();
    let exiting = async {
        M::exit_at(resource, case, location)
            .await
            .map_err(Into::into)
    };
    unwind.exited(&entry, catch(exiting).await);
}

macro_rules! tuple_manager {
    ($($manager:ident: $verdict:ident),+) => {
        impl<$($manager, $verdict),+> ContextManager<($($verdict,)+)> for ($($manager,)+)
        where
            $($manager: ContextManager<$verdict>, $verdict: Verdict),+
        {
            type Resource = ($($manager::Resource,)+);
            type Error = BoxError;

            #[track_caller]
            fn enter(self) -> Result<Self::Resource, BoxError> {
                self.enter_at(Location::caller())
            }

            #[track_caller]
            fn exit(resource: Self::Resource, case: ExitCase) -> Result<($($verdict,)+), BoxError> {
                Self::exit_at(resource, case, Location::caller())
            }

            #[allow(non_snake_case)]
            fn enter_at(self, location: Site) -> Result<Self::Resource, BoxError> {
                let ($($manager,)+) = self;
                let mut unwind = Unwind::default();
                tuple_manager!(@enter unwind location [] $($manager: $verdict),+)
            }

            #[allow(non_snake_case)]
            fn exit_at(
                resource: Self::Resource,
                case: ExitCase,
                location: Site,
            ) -> Result<($($verdict,)+), BoxError> {
                let ($($manager,)+) = resource;
                let mut unwind = Unwind::from_case(case.clone());
                tuple_manager!(@exit unwind location $($manager: $verdict),+);
                boxed_exit(unwind, &case)
            }
        }

        impl<$($manager, $verdict),+> AsyncContextManager<($($verdict,)+)> for ($($manager,)+)
        where
            $($manager: AsyncContextManager<$verdict> + Send, $verdict: Verdict),+
        {
            type Resource = ($($manager::Resource,)+);
            type Error = BoxError;

            #[track_caller]
            fn enter(self) -> impl Future<Output = Result<Self::Resource, BoxError>> + Send {
                self.enter_at(Location::caller())
            }

            #[track_caller]
            fn exit(
                resource: Self::Resource,
                case: ExitCase,
            ) -> impl Future<Output = Result<($($verdict,)+), BoxError>> + Send {
                Self::exit_at(resource, case, Location::caller())
            }

            #[allow(non_snake_case)]
            async fn enter_at(self, location: Site) -> Result<Self::Resource, BoxError> {
                let ($($manager,)+) = self;
                let mut unwind = Unwind::default();
                tuple_manager!(@enter_async unwind location [] $($manager: $verdict),+)
            }

            #[allow(non_snake_case)]
            async fn exit_at(
                resource: Self::Resource,
                case: ExitCase,
                location: Site,
            ) -> Result<($($verdict,)+), BoxError> {
                let ($($manager,)+) = resource;
                let mut unwind = Unwind::from_case(case.clone());
                tuple_manager!(@exit_async unwind location $($manager: $verdict),+);
                boxed_exit(unwind, &case)
            }
        }
    };

    (@enter $unwind:ident $location:ident [$($done:ident: $done_verdict:ident)*]) => {
        Ok(($($done,)*))
    };
    (@enter $unwind:ident $location:ident [$($done:ident: $done_verdict:ident)*]
        $next:ident: $verdict:ident $(, $rest:ident: $rest_verdict:ident)*) => {
        match enter_member::<$next, $verdict>($next, $location, &mut $unwind) {
            Some($next) => tuple_manager!(@enter $unwind $location
                [$($done: $done_verdict)* $next: $verdict] $($rest: $rest_verdict),*),
            None => {
                tuple_manager!(@exit $unwind $location $($done: $done_verdict),*);
                Err(not_entered($unwind))
            }
        }
    };
    (@exit $unwind:ident $location:ident) => {};
    (@exit $unwind:ident $location:ident
        $first:ident: $verdict:ident $(, $rest:ident: $rest_verdict:ident)*) => {
        tuple_manager!(@exit $unwind $location $($rest: $rest_verdict),*);
        exit_member::<$first, $verdict>($first, $location, &mut $unwind);
    };

    (@enter_async $unwind:ident $location:ident [$($done:ident: $done_verdict:ident)*]) => {
        Ok(($($done,)*))
    };
    (@enter_async $unwind:ident $location:ident [$($done:ident: $done_verdict:ident)*]
        $next:ident: $verdict:ident $(, $rest:ident: $rest_verdict:ident)*) => {
        match enter_member_async::<$next, $verdict>($next, $location, &mut $unwind).await {
            Some($next) => tuple_manager!(@enter_async $unwind $location
                [$($done: $done_verdict)* $next: $verdict] $($rest: $rest_verdict),*),
            None => {
                tuple_manager!(@exit_async $unwind $location $($done: $done_verdict),*);
                Err(not_entered($unwind))
            }
        }
    };
    (@exit_async $unwind:ident $location:ident) => {};
    (@exit_async $unwind:ident $location:ident
        $first:ident: $verdict:ident $(, $rest:ident: $rest_verdict:ident)*) => {
        tuple_manager!(@exit_async $unwind $location $($rest: $rest_verdict),*);
        exit_member_async::<$first, $verdict>($first, $location, &mut $unwind).await;
    };
}

tuple_manager!(A: VA);
tuple_manager!(A: VA, B: VB);
tuple_manager!(A: VA, B: VB, C: VC);
tuple_manager!(A: VA, B: VB, C: VC, D: VD);
tuple_manager!(A: VA, B: VB, C: VC, D: VD, E: VE);
tuple_manager!(A: VA, B: VB, C: VC, D: VD, E: VE, F: VF);
tuple_manager!(A: VA, B: VB, C: VC, D: VD, E: VE, F: VF, G: VG);
tuple_manager!(A: VA, B: VB, C: VC, D: VD, E: VE, F: VF, G: VG, H: VH);

impl<M, V, const N: usize> ContextManager<V> for [M; N]
where
    M: ContextManager<V>,
    V: Verdict,
{
    type Resource = [M::Resource; N];
    type Error = BoxError;

    #[track_caller]
    fn enter(self) -> Result<Self::Resource, BoxError> {
        self.enter_at(Location::caller())
    }

    #[track_caller]
    fn exit(resource: Self::Resource, case: ExitCase) -> Result<V, BoxError> {
        Self::exit_at(resource, case, Location::caller())
    }

    fn enter_at(self, location: Site) -> Result<Self::Resource, BoxError> {
        let mut unwind = Unwind::default();
        let mut entered = Vec::with_capacity(N);
        for manager in self {
            match enter_member::<M, V>(manager, location, &mut unwind) {
                Some(resource) => entered.push(resource),
                None => break,
            }
        }
        <[M::Resource; N]>::try_from(entered).map_err(|entered| {
            for resource in entered.into_iter().rev() {
                exit_member::<M, V>(resource, location, &mut unwind);
            }
            not_entered(unwind)
        })
    }

    fn exit_at(resource: Self::Resource, case: ExitCase, location: Site) -> Result<V, BoxError> {
        let mut unwind = Unwind::from_case(case.clone());
        for resource in resource.into_iter().rev() {
            exit_member::<M, V>(resource, location, &mut unwind);
        }
        boxed_exit(unwind, &case)
    }
}

impl<M, V, const N: usize> AsyncContextManager<V> for [M; N]
where
    M: AsyncContextManager<V> + Send,
    V: Verdict,
{
    type Resource = [M::Resource; N];
    type Error = BoxError;

    #[track_caller]
    fn enter(self) -> impl Future<Output = Result<Self::Resource, BoxError>> + Send {
        self.enter_at(Location::caller())
    }

    #[track_caller]
    fn exit(
        resource: Self::Resource,
        case: ExitCase,
    ) -> impl Future<Output = Result<V, BoxError>> + Send {
        Self::exit_at(resource, case, Location::caller())
    }

    async fn enter_at(self, location: Site) -> Result<Self::Resource, BoxError> {
        let mut unwind = Unwind::default();
        let mut entered = Vec::with_capacity(N);
        for manager in self {
            match enter_member_async::<M, V>(manager, location, &mut unwind).await {
                Some(resource) => entered.push(resource),
                None => break,
            }
        }
        match <[M::Resource; N]>::try_from(entered) {
            Ok(all) => Ok(all),
            Err(entered) => {
                for resource in entered.into_iter().rev() {
                    exit_member_async::<M, V>(resource, location, &mut unwind).await;
                }
                Err(not_entered(unwind))
            }
        }
    }

    async fn exit_at(
        resource: Self::Resource,
        case: ExitCase,
        location: Site,
    ) -> Result<V, BoxError> {
        let mut unwind = Unwind::from_case(case.clone());
        for resource in resource.into_iter().rev() {
            exit_member_async::<M, V>(resource, location, &mut unwind).await;
        }
        boxed_exit(unwind, &case)
    }
}
