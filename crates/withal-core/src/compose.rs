//! Tuples and arrays of managers are managers: entered left to right, exited right to left.
//!
//! They mean exactly what the same managers mean in nested blocks, one inside the other.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use crate::manager::Site;
use crate::place::Member;
use crate::unwind::{Swallowed, Unwind, catch};
use crate::{AsyncContextManager, BoxError, ContextManager, ExitCase, Flow, Place, Verdict};

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

/// What is noted of `manager`, a member, before it is entered; `None` if that is nothing special.
fn member<M, V>(manager: &M, location: Site) -> Option<Member>
where
    M: ContextManager<V>,
    V: Verdict,
{
    Member::new::<M>(manager.name(), manager.place(location))
}

fn member_async<M, V>(manager: &M, location: Site) -> Option<Member>
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    Member::new::<M>(manager.name(), manager.place(location))
}

/// Enters the member at `position`; a failure goes into `unwind`.
fn enter_member<M, V>(
    manager: M,
    place: &Place,
    position: usize,
    unwind: &mut Unwind,
) -> Option<M::Resource>
where
    M: ContextManager<V>,
    V: Verdict,
{
    let (entry, place) = place.member::<M>(position);
    let entered = catch_unwind(AssertUnwindSafe(|| {
        manager.enter_in(&place).map_err(Into::into)
    }));
    match entered {
        Ok(Ok(resource)) => return Some(resource),
        Ok(Err(error)) => unwind.enter_failed(entry.into_owned(), error),
        Err(payload) => unwind.enter_panicked(entry.into_owned(), payload),
    }
    None
}

fn exit_member<M, V>(resource: M::Resource, place: &Place, position: usize, unwind: &mut Unwind)
where
    M: ContextManager<V>,
    V: Verdict,
{
    let (entry, place) = place.member::<M>(position);
    crate::with::exit::<M, V>(resource, &entry, &place, unwind);
}

async fn enter_member_async<M, V>(
    manager: M,
    place: &Place,
    position: usize,
    unwind: &mut Unwind,
) -> Option<M::Resource>
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let (entry, place) = place.member::<M>(position);
    let entering = async { manager.enter_in(place).await.map_err(Into::into) };
    match catch(entering).await {
        Ok(Ok(resource)) => return Some(resource),
        Ok(Err(error)) => unwind.enter_failed(entry.into_owned(), error),
        Err(payload) => unwind.enter_panicked(entry.into_owned(), payload),
    }
    None
}

async fn exit_member_async<M, V>(
    resource: M::Resource,
    place: &Place,
    position: usize,
    unwind: &mut Unwind,
) where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let (entry, place) = place.member::<M>(position);
    let case = unwind.case();
    let exiting = async { M::exit_in(resource, case, place).await.map_err(Into::into) };
    unwind.exited(&entry, catch(exiting).await);
}

macro_rules! tuple_manager {
    ($(($manager:ident $verdict:ident $position:literal))+) => {
        impl<$($manager, $verdict),+> ContextManager<($($verdict,)+)> for ($($manager,)+)
        where
            $($manager: ContextManager<$verdict>, $verdict: Verdict),+
        {
            type Resource = ($($manager::Resource,)+);
            type Error = BoxError;

            #[track_caller]
            fn enter(self) -> Result<Self::Resource, BoxError> {
                let place = ContextManager::place(&self, Location::caller());
                ContextManager::enter_in(self, &place)
            }

            #[track_caller]
            fn exit(resource: Self::Resource, case: ExitCase) -> Result<($($verdict,)+), BoxError> {
                <Self as ContextManager<_>>::exit_in(resource, case, &Location::caller().into())
            }

            #[allow(non_snake_case)]
            fn place(&self, location: Site) -> Place {
                let ($($manager,)+) = self;
                let members = [$(member::<$manager, $verdict>($manager, location)),+];
                Place::of_members(location, members)
            }

            #[allow(non_snake_case)]
            fn enter_in(self, place: &Place) -> Result<Self::Resource, BoxError> {
                let ($($manager,)+) = self;
                let mut unwind = Unwind::default();
                tuple_manager!(@enter unwind place [] $(($manager $verdict $position))+)
            }

            #[allow(non_snake_case)]
            fn exit_in(
                resource: Self::Resource,
                case: ExitCase,
                place: &Place,
            ) -> Result<($($verdict,)+), BoxError> {
                let ($($manager,)+) = resource;
                let mut unwind = Unwind::from_case(case.clone());
                tuple_manager!(@exit unwind place $(($manager $verdict $position))+);
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
                AsyncContextManager::enter_at(self, Location::caller())
            }

            #[track_caller]
            fn exit(
                resource: Self::Resource,
                case: ExitCase,
            ) -> impl Future<Output = Result<($($verdict,)+), BoxError>> + Send {
                Self::exit_at(resource, case, Location::caller())
            }

            #[allow(non_snake_case)]
            fn place(&self, location: Site) -> Place {
                let ($($manager,)+) = self;
                let members = [$(member_async::<$manager, $verdict>($manager, location)),+];
                Place::of_members(location, members)
            }

            #[allow(non_snake_case)]
            async fn enter_in(self, place: Place) -> Result<Self::Resource, BoxError> {
                let ($($manager,)+) = self;
                let place = &place;
                let mut unwind = Unwind::default();
                tuple_manager!(@enter_async unwind place [] $(($manager $verdict $position))+)
            }

            #[allow(non_snake_case)]
            async fn exit_in(
                resource: Self::Resource,
                case: ExitCase,
                place: Place,
            ) -> Result<($($verdict,)+), BoxError> {
                let ($($manager,)+) = resource;
                let place = &place;
                let mut unwind = Unwind::from_case(case.clone());
                tuple_manager!(@exit_async unwind place $(($manager $verdict $position))+);
                boxed_exit(unwind, &case)
            }
        }
    };

    (@enter $unwind:ident $place:ident
        [$(($done:ident $verdict:ident $position:literal))*]) => {
        Ok(($($done,)*))
    };
    (@enter $unwind:ident $place:ident
        [$($done:tt)*] ($next:ident $verdict:ident $position:literal) $($rest:tt)*) => {
        match enter_member::<$next, $verdict>($next, $place, $position, &mut $unwind) {
            Some($next) => tuple_manager!(@enter $unwind $place
                [$($done)* ($next $verdict $position)] $($rest)*),
            None => {
                tuple_manager!(@exit $unwind $place $($done)*);
                Err(not_entered($unwind))
            }
        }
    };
    (@exit $unwind:ident $place:ident) => {};
    (@exit $unwind:ident $place:ident
        ($first:ident $verdict:ident $position:literal) $($rest:tt)*) => {
        tuple_manager!(@exit $unwind $place $($rest)*);
        exit_member::<$first, $verdict>($first, $place, $position, &mut $unwind);
    };

    (@enter_async $unwind:ident $place:ident
        [$(($done:ident $verdict:ident $position:literal))*]) => {
        Ok(($($done,)*))
    };
    (@enter_async $unwind:ident $place:ident
        [$($done:tt)*] ($next:ident $verdict:ident $position:literal) $($rest:tt)*) => {
        match enter_member_async::<$next, $verdict>($next, $place, $position, &mut $unwind).await {
            Some($next) => tuple_manager!(@enter_async $unwind $place
                [$($done)* ($next $verdict $position)] $($rest)*),
            None => {
                tuple_manager!(@exit_async $unwind $place $($done)*);
                Err(not_entered($unwind))
            }
        }
    };
    (@exit_async $unwind:ident $place:ident) => {};
    (@exit_async $unwind:ident $place:ident
        ($first:ident $verdict:ident $position:literal) $($rest:tt)*) => {
        tuple_manager!(@exit_async $unwind $place $($rest)*);
        exit_member_async::<$first, $verdict>($first, $place, $position, &mut $unwind).await;
    };
}

tuple_manager!((A VA 0));
tuple_manager!((A VA 0) (B VB 1));
tuple_manager!((A VA 0) (B VB 1) (C VC 2));
tuple_manager!((A VA 0) (B VB 1) (C VC 2) (D VD 3));
tuple_manager!((A VA 0) (B VB 1) (C VC 2) (D VD 3) (E VE 4));
tuple_manager!((A VA 0) (B VB 1) (C VC 2) (D VD 3) (E VE 4) (F VF 5));
tuple_manager!((A VA 0) (B VB 1) (C VC 2) (D VD 3) (E VE 4) (F VF 5) (G VG 6));
tuple_manager!((A VA 0) (B VB 1) (C VC 2) (D VD 3) (E VE 4) (F VF 5) (G VG 6) (H VH 7));

impl<M, V, const N: usize> ContextManager<V> for [M; N]
where
    M: ContextManager<V>,
    V: Verdict,
{
    type Resource = [M::Resource; N];
    type Error = BoxError;

    #[track_caller]
    fn enter(self) -> Result<Self::Resource, BoxError> {
        let place = ContextManager::place(&self, Location::caller());
        ContextManager::enter_in(self, &place)
    }

    #[track_caller]
    fn exit(resource: Self::Resource, case: ExitCase) -> Result<V, BoxError> {
        <Self as ContextManager<V>>::exit_in(resource, case, &Location::caller().into())
    }

    fn place(&self, location: Site) -> Place {
        let members = self.iter().map(|manager| member::<M, V>(manager, location));
        Place::of_members(location, members)
    }

    fn enter_in(self, place: &Place) -> Result<Self::Resource, BoxError> {
        let mut unwind = Unwind::default();
        let mut entered = Vec::with_capacity(N);
        for (position, manager) in self.into_iter().enumerate() {
            match enter_member::<M, V>(manager, place, position, &mut unwind) {
                Some(resource) => entered.push(resource),
                None => break,
            }
        }
        <[M::Resource; N]>::try_from(entered).map_err(|entered| {
            for (position, resource) in entered.into_iter().enumerate().rev() {
                exit_member::<M, V>(resource, place, position, &mut unwind);
            }
            not_entered(unwind)
        })
    }

    fn exit_in(resource: Self::Resource, case: ExitCase, place: &Place) -> Result<V, BoxError> {
        let mut unwind = Unwind::from_case(case.clone());
        for (position, resource) in resource.into_iter().enumerate().rev() {
            exit_member::<M, V>(resource, place, position, &mut unwind);
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
        AsyncContextManager::enter_at(self, Location::caller())
    }

    #[track_caller]
    fn exit(
        resource: Self::Resource,
        case: ExitCase,
    ) -> impl Future<Output = Result<V, BoxError>> + Send {
        Self::exit_at(resource, case, Location::caller())
    }

    fn place(&self, location: Site) -> Place {
        let members = self
            .iter()
            .map(|manager| member_async::<M, V>(manager, location));
        Place::of_members(location, members)
    }

    async fn enter_in(self, place: Place) -> Result<Self::Resource, BoxError> {
        let mut unwind = Unwind::default();
        let mut entered = Vec::with_capacity(N);
        for (position, manager) in self.into_iter().enumerate() {
            match enter_member_async::<M, V>(manager, &place, position, &mut unwind).await {
                Some(resource) => entered.push(resource),
                None => break,
            }
        }
        match <[M::Resource; N]>::try_from(entered) {
            Ok(all) => Ok(all),
            Err(entered) => {
                for (position, resource) in entered.into_iter().enumerate().rev() {
                    exit_member_async::<M, V>(resource, &place, position, &mut unwind).await;
                }
                Err(not_entered(unwind))
            }
        }
    }

    async fn exit_in(
        resource: Self::Resource,
        case: ExitCase,
        place: Place,
    ) -> Result<V, BoxError> {
        let mut unwind = Unwind::from_case(case.clone());
        for (position, resource) in resource.into_iter().enumerate().rev() {
            exit_member_async::<M, V>(resource, &place, position, &mut unwind).await;
        }
        boxed_exit(unwind, &case)
    }
}
