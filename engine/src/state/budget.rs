//! Named memory budgets, in bytes. Every state container charges one from its first page on; the task manager's budget is
//! the root, with a child per operator subtask and a grandchild per container.
//!
//! Invariants
//! - U1 a byte charged to a budget is charged to all its ancestors, and given back to all of them.
//! - U2 a [`Charge`] gives back what it holds when it is dropped, so memory kept alive by a frozen snapshot stays charged.

use super::spill::SpillArea;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A named limit of bytes with its current use. Being over it is reported, not refused.
#[derive(Debug)]
pub struct Budget {
    name: String,
    limit_bytes: u64,
    used: AtomicU64,
    peak: AtomicU64,
    parent: Option<Arc<Budget>>,
    /// Where containers put what is too much.
    spill: Option<Arc<SpillArea>>,
}

impl Budget {
    /// A root budget of `limit_bytes`.
    pub fn new(name: impl Into<String>, limit_bytes: u64) -> Arc<Budget> {
        Arc::new(Budget {
            name: name.into(),
            limit_bytes,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            parent: None,
            spill: None,
        })
    }

    /// A root budget of `limit_bytes`; what is above it goes to disk.
    pub fn spilling(name: impl Into<String>, limit_bytes: u64, area: &Arc<SpillArea>) -> Arc<Budget> {
        let zero = || AtomicU64::new(0);
        let spill = Some(area.clone());
        Arc::new(Budget { name: name.into(), limit_bytes, used: zero(), peak: zero(), parent: None, spill })
    }

    /// Where what is above the limit goes, if anywhere.
    pub fn spill(&self) -> Option<&Arc<SpillArea>> {
        self.spill.as_ref()
    }

    /// A root budget without a limit.
    pub fn unlimited(name: impl Into<String>) -> Arc<Budget> {
        Budget::new(name, u64::MAX)
    }

    /// A part of this budget that is counted by itself too, named `parent/name` and with the parent's limit.
    pub fn child(self: &Arc<Budget>, name: &str) -> Arc<Budget> {
        Arc::new(Budget {
            name: format!("{}/{name}", self.name),
            limit_bytes: self.limit_bytes,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            parent: Some(self.clone()),
            spill: self.spill.clone(),
        })
    }

    /// The name, with those of its ancestors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes charged now.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever charged at once.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes above the limit of this budget or of an ancestor, whichever is more; 0 within the limits.
    pub fn over_bytes(&self) -> u64 {
        let own = self.used_bytes().saturating_sub(self.limit_bytes);
        self.parent.as_ref().map_or(own, |p| own.max(p.over_bytes()))
    }

    fn add(&self, bytes: u64) {
        let now = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        match &self.parent {
            Some(parent) => parent.add(bytes),
            // State is about to go to disk: from now on memory matters more than time.
            None if self.spill.is_some() && now > self.limit_bytes / 2 => crate::memory::is_scarce(),
            None => {}
        }
    }

    fn sub(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.sub(bytes);
        }
    }
}

/// Bytes charged to a budget, given back on drop. A clone charges as much again.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Charge {
    /// Charges `bytes`.
    pub fn new(budget: &Arc<Budget>, bytes: u64) -> Charge {
        budget.add(bytes);
        Charge { budget: budget.clone(), bytes }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The budget that is charged.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Holds `bytes` from now on.
    pub fn resize(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) if more > 0 => self.budget.add(more),
            Some(_) => {}
            None => self.budget.sub(self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    /// Holds `bytes` more.
    pub fn grow(&mut self, bytes: u64) {
        self.resize(self.bytes + bytes);
    }

    /// Holds `bytes` less.
    pub fn shrink(&mut self, bytes: u64) {
        self.resize(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_charged_to_their_parents_and_give_back() {
        let root = Budget::new("tm", 100);
        let (a, b) = (root.child("a"), root.child("b"));
        let mut x = Charge::new(&a, 70);
        let y = Charge::new(&b, 50);
        assert_eq!((root.used_bytes(), a.used_bytes(), b.used_bytes()), (120, 70, 50));
        assert_eq!((root.over_bytes(), a.over_bytes()), (20, 20));
        x.resize(10);
        x.grow(5);
        drop(y);
        assert_eq!((root.used_bytes(), root.peak_bytes(), root.over_bytes()), (15, 120, 0));
        drop(x);
        assert_eq!(root.used_bytes(), 0);
        assert_eq!(a.name(), "tm/a");
    }
}
