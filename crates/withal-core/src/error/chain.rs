//! A persistent list of failures: newest first, shared tails, constant-time append.
//!
//! An exit is shown the failures as they stand and may keep them, while later exits append.
//! So every state of the list stays valid: a node is never changed once it is made.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::error::Failure;

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    newest: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    failure: Arc<Failure>,
    /// `None` in the first node.
    older: Option<Arc<Node>>,
    /// The first node of the list, `None` in that node itself: `Display` and `source` need it.
    first: Option<Arc<Node>>,
    /// How many failures the list has up to and including this one.
    len: usize,
}

impl Drop for Node {
    /// Lists may be ten thousands long; dropping them node by node must not recurse.
    fn drop(&mut self) {
        let mut next = self.older.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.older.take();
        }
    }
}

impl Chain {
    pub(crate) fn new(failure: Failure) -> Chain {
        Chain::of(Arc::new(failure))
    }

    fn of(failure: Arc<Failure>) -> Chain {
        Chain {
            newest: Arc::new(Node {
                failure,
                older: None,
                first: None,
                len: 1,
            }),
        }
    }

    pub(crate) fn push(&mut self, failure: Failure) {
        self.push_shared(Arc::new(failure));
    }

    fn push_shared(&mut self, failure: Arc<Failure>) {
        let older = Arc::clone(&self.newest);
        let first = Arc::clone(older.first.as_ref().unwrap_or(&older));
        self.newest = Arc::new(Node {
            failure,
            len: older.len + 1,
            older: Some(older),
            first: Some(first),
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.newest.len
    }

    pub(crate) fn first(&self) -> &Failure {
        match &self.newest.first {
            Some(first) => &first.failure,
            None => &self.newest.failure,
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::successors(Some(&self.newest), |node| node.older.as_ref())
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Failure> {
        self.nodes().map(|node| &*node.failure)
    }

    pub(crate) fn is_prefix_of(&self, other: &Chain) -> bool {
        other
            .nodes()
            .find(|node| node.len <= self.len())
            .is_some_and(|node| Arc::ptr_eq(node, &self.newest))
    }

    /// Appends the failures of `newer`; if it grew out of this list, only the new ones.
    pub(crate) fn extend(&mut self, newer: &Chain) {
        if self.is_prefix_of(newer) {
            self.newest = Arc::clone(&newer.newest);
            return;
        }
        for failure in newer.failures() {
            self.push_shared(failure);
        }
    }

    /// The failures after `prefix`; all of them if `prefix` is not one, `None` if there are none.
    pub(crate) fn since(&self, prefix: &Chain) -> Option<Chain> {
        if !prefix.is_prefix_of(self) {
            return Some(self.clone());
        }
        Chain::from_failures(self.failures().into_iter().skip(prefix.len()))
    }

    /// The failures for which `chooses` answers true, and the others; it is asked once for each.
    pub(crate) fn split(
        &self,
        chooses: impl Fn(&Failure) -> bool,
    ) -> (Option<Chain>, Option<Chain>) {
        let (chosen, others): (Vec<_>, Vec<_>) = self
            .failures()
            .into_iter()
            .partition(|failure| chooses(failure));
        (
            Chain::from_failures(chosen.into_iter()),
            Chain::from_failures(others.into_iter()),
        )
    }

    /// The only failure's error as an `E`, if it is one and nobody else holds it.
    pub(crate) fn take_only<E: StdError + 'static>(self) -> Result<E, Chain> {
        if self.len() > 1 || !self.newest.failure.error().is::<E>() {
            return Err(self);
        }
        if Arc::strong_count(&self.newest) > 1 {
            return Err(self);
        }
        let failure = Arc::clone(&self.newest.failure);
        drop(self);
        let failure = Arc::try_unwrap(failure).map_err(Chain::of)?;
        let (stage, entry, error) = failure.into_parts();
        match error.downcast() {
            Ok(error) => Ok(*error),
            Err(error) => Err(Chain::new(Failure::new(stage, entry, error))),
        }
    }

    fn from_failures(mut failures: impl Iterator<Item = Arc<Failure>>) -> Option<Chain> {
        let mut chain = Chain::of(failures.next()?);
        failures.for_each(|failure| chain.push_shared(failure));
        Some(chain)
    }

    /// In order, shared.
    fn failures(&self) -> Vec<Arc<Failure>> {
        let mut failures: Vec<_> = self.nodes().map(|node| Arc::clone(&node.failure)).collect();
        failures.reverse();
        failures
    }
}
