//! The one place with `unsafe`: resources that outlive the future that uses them.
//!
//! # Why it is sound
//!
//! Each entered manager is a *cell*: its enter future, then its resource, then its exit future. A
//! cell lies in heap memory, in a box of its own or at the end of its block's [`Frame`], and never
//! moves, so pinning it and lending `&'s mut R` out of it is meaningful.
//!
//! A frame has two phases. While the *body* lives, a cell is touched only through the pointer of
//! the future that entered it, and once that has lent the resource out, by nobody else: pushing
//! onto the frame's list copies pointers and reads no cell. Once the body is *gone*, only
//! [`Exits`] touches cells; [`Exits::new`] is unsafe for exactly this promise, and [`Guard`], its
//! one user, keeps it: it is declared before the body, so it is dropped after it, and it polls its
//! exits only after it has dropped the body.
//!
//! What a cell may refer to:
//!
//! 1. `enter` takes only `'static` managers and resources, so no cell of a frame refers to another
//!    cell of the same frame. (A flat `enter` for borrowing resources would let an older cell
//!    refer to a younger one, which is freed first.)
//! 2. A dependant (`Scope::with`) has a frame of its own. Its manager and resource may borrow what
//!    lives for the outer brand `'s`: cells of ancestors and nothing else, since `'s` is
//!    higher-ranked. The frame holds its lexical parent's `Arc`, and [`Frame`]'s destructor drops
//!    its cells before it lets go of the parent. The parent's exits wait for a dropped dependant,
//!    so none of them runs while a dependant's exit still borrows from it.
//! 3. Nothing with `'s` in it leaves the body: `'s` is chosen by us and invariant.
//!
//! [`Scope`] is a pointer to the frame, not a reference, because it is turned back into an `Arc`,
//! and an exit of a dependant may hold one after its body is gone; that exit's frame keeps the
//! parent's frame alive (2).
//!
//! All cells are made from `Send` parts, and frames hand out nothing by shared reference but what
//! is `Sync` by itself.

mod block;
mod frame;
mod header;
#[cfg(feature = "registry")]
mod listed;
mod slot;

pub(crate) use block::{
    Exits, Rejected, StackFrame, Step, poll_with_parent, push_live, run_scope, run_with,
    run_with_dependant, run_with_local_dependant,
};
pub use block::{Lease, Scope};
pub(crate) use frame::{AnyFrame, Orphan};
#[cfg(feature = "registry")]
pub(crate) use listed::each_open;
