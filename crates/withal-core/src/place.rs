//! What a manager's exit is told of its block: where it is, and what its members are called.

use std::any::type_name;
use std::borrow::Cow;
use std::sync::Arc;

use crate::Entry;
use crate::manager::Site;

/// Where a manager was entered and, if it is made of managers, what those are called.
///
/// A name is known as long as its manager is, and enter consumes that; so the names are taken down
/// before, for the exits to have.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Place {
    location: Site,
    /// The members that are not called by the names of their types, with their positions in
    /// ascending order. `None` where there are none, which is usual, and costs no allocation.
    members: Option<Arc<Vec<(usize, Member)>>>,
}

/// One manager of those that a manager is made of.
#[derive(Debug)]
pub(crate) struct Member {
    entry: Entry,
    place: Place,
}

impl Place {
    /// The place of a manager called `M`, whose members are as `members` says, each at its
    /// position.
    pub(crate) fn of_members(
        location: Site,
        members: impl IntoIterator<Item = Option<Member>>,
    ) -> Place {
        let members: Vec<(usize, Member)> = members
            .into_iter()
            .enumerate()
            .filter_map(|(position, member)| Some((position, member?)))
            .collect();
        Place {
            location,
            members: (!members.is_empty()).then(|| Arc::new(members)),
        }
    }

    /// How errors name the member `M` at `position`, and the place of its own members.
    pub(crate) fn member<M>(&self, position: usize) -> (Cow<'_, Entry>, Place) {
        let member = self.members.as_ref().and_then(|members| {
            let found = members.binary_search_by_key(&position, |(position, _)| *position);
            members.get(found.ok()?)
        });
        match member {
            Some((_, member)) => (Cow::Borrowed(&member.entry), member.place.clone()),
            None => (
                Cow::Owned(Entry::at(type_name::<M>(), self.location)),
                Place::from(self.location),
            ),
        }
    }
}

impl From<Site> for Place {
    /// A place of which only the location is known: the members are called by their types.
    #[inline]
    fn from(location: Site) -> Place {
        Place {
            location,
            members: None,
        }
    }
}

impl Member {
    /// The member `M`, called `name`; `None` if it goes by the name of its type.
    pub(crate) fn new<M>(name: Cow<'static, str>, place: Place) -> Option<Member> {
        let is_plain = name == type_name::<M>() && place.members.is_none();
        (!is_plain).then(|| Member {
            entry: Entry::at(name, place.location),
            place,
        })
    }
}
