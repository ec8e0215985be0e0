//! The state of one operator subtask: its containers by name, freezing and restoring them together. Made by the task, used by
//! the operator in `open` to declare containers, and by the task at each barrier.
//!
//! Invariants
//! - O1 a container is restored before its handle is given out; an operator never sees half of its state.
//! - O2 the first freeze of a store is full, and so is the one after [`StateStore::restart_chain`]; all others hold what
//!   changed since the freeze before.
//! - O3 the chains given to a restore cover the restored key groups exactly once.

use super::budget::Budget;
use super::cells::Cells;
use super::multimap::{Multimap, MultimapSpec};
use super::slices::Slices;
use super::snapshot::{Chain, ContainerKind, ContainerSnapshot, FORMAT, Link, OperatorSnapshot, Parts, Piece};
use super::spill::encode::PART_BYTES;
use super::table::KeyedTable;
use super::values::TableSpec;
use crate::error::{Error, Result};
use crate::key::KeyGroupRange;
use arrow::datatypes::SchemaRef;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A handle to a container. Cheap to clone; only its task locks it, so the lock is never contended.
pub struct State<T>(Arc<Mutex<T>>);

impl<T> State<T> {
    /// The container. A poisoned lock is taken all the same: the task that panicked has failed and restores.
    ///
    /// # Panics
    /// If it is locked already, by an earlier guard in the same task: waiting would be for ever.
    #[expect(clippy::panic, reason = "the alternative is a task that hangs")]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("a state container is locked twice"),
        }
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> State<T> {
        State(self.0.clone())
    }
}

/// What operators keep state in.
pub(crate) trait Container: Send {
    /// What changed since the last freeze, or everything if `full`. Shares pages, encodes nothing.
    fn freeze(&mut self, full: bool) -> Box<dyn Frozen>;
    /// Takes in the entries of the key groups in `range`, from any number of old subtasks. Called once, on an empty container.
    fn restore(&mut self, chains: &[Parts<'_>], range: KeyGroupRange) -> Result<()>;
}

/// The frozen changes of one container.
pub(crate) trait Frozen: Send {
    /// Hands everything on as Arrow batches, one part or more, each small enough to be in memory; later ones count over earlier ones.
    fn encode(&self, each: &mut dyn FnMut(Encoded) -> Result<()>) -> Result<()>;
}

/// A container's snapshot, or a part of it, without its name.
pub(crate) struct Encoded {
    pub(crate) kind: ContainerKind,
    pub(crate) schema: SchemaRef,
    pub(crate) pieces: Vec<Piece>,
}

impl Encoded {
    fn bytes(&self) -> usize {
        self.pieces.iter().map(|p| p.rows.get_array_memory_size()).sum()
    }
}

struct Declared {
    name: String,
    container: Arc<Mutex<dyn Container>>,
}

/// The containers of one operator subtask.
pub struct StateStore {
    range: KeyGroupRange,
    budget: Arc<Budget>,
    containers: Vec<Declared>,
    chains: Vec<Chain>,
    /// Containers that the chains have.
    met: RefCell<BTreeSet<String>>,
    full: bool,
}

impl StateStore {
    /// Empty state for the key groups in `range`, charged to a child of `budget` called `name`.
    pub fn new(name: &str, range: KeyGroupRange, budget: &Arc<Budget>) -> StateStore {
        let (containers, chains, met) = (Vec::new(), Vec::new(), RefCell::default());
        StateStore { range, budget: budget.child(name), containers, chains, met, full: true }
    }

    /// State from the snapshots of all old subtasks, one chain each: containers are filled when they are declared.
    /// Errors: `external` if a snapshot's format is unknown or the chains do not cover `range` exactly once.
    pub fn restore(name: &str, range: KeyGroupRange, budget: &Arc<Budget>, chains: &[Chain]) -> Result<StateStore> {
        let chains = chains.iter().map(checked).collect::<Result<Vec<_>>>()?;
        for group in range.start..range.end {
            let ranges = chains.iter().filter_map(|c| c.first()).map(Link::range);
            let owners = ranges.filter(|r| (r.start..r.end).contains(&group));
            let owners = owners.count();
            if owners != 1 {
                let text = format!("restore `{name}`: key group {group} is in {owners} snapshots, must be in one");
                return Err(Error::external(text).with_retry(false));
            }
        }
        Ok(StateStore { chains, ..StateStore::new(name, range, budget) })
    }

    /// The key groups of this subtask.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// Bytes of all containers, with what frozen snapshots still hold.
    pub fn bytes(&self) -> u64 {
        self.budget.used_bytes()
    }

    /// The budget that the containers charge.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Declares a keyed table; it is restored on return.
    /// Errors: `internal` if the name is taken; `user` if a field can be no key or the snapshot has other columns.
    pub fn keyed_table(&mut self, name: &str, spec: TableSpec) -> Result<State<KeyedTable>> {
        let table = KeyedTable::new(Arc::new(spec), &self.budget.child(name))?;
        self.declare(name, ContainerKind::KeyedTable, table)
    }

    /// Declares slices, each a table of these columns; they are restored on return. Errors: as [`StateStore::keyed_table`].
    pub fn slices(&mut self, name: &str, spec: TableSpec) -> Result<State<Slices>> {
        let slices = Slices::new(Arc::new(spec), &self.budget.child(name))?;
        self.declare(name, ContainerKind::Slices, slices)
    }

    /// Declares a multimap; it is restored on return. Errors: as [`StateStore::keyed_table`].
    pub fn multimap(&mut self, name: &str, spec: MultimapSpec) -> Result<State<Multimap>> {
        let multimap = Multimap::new(spec, &self.budget.child(name))?;
        self.declare(name, ContainerKind::Multimap, multimap)
    }

    /// Declares cells; they are restored on return. Errors: as [`StateStore::keyed_table`].
    pub fn cells(&mut self, name: &str) -> Result<State<Cells>> {
        let cells = Cells::new(&self.budget.child(name));
        self.declare(name, ContainerKind::Cells, cells)
    }

    fn declare<T: Container + 'static>(
        &mut self,
        name: &str,
        kind: ContainerKind,
        mut container: T,
    ) -> Result<State<T>> {
        if self.containers.iter().any(|c| c.name == name) {
            return Err(Error::internal(format!("state `{name}` is declared twice")));
        }
        let met = &self.met;
        // Of other key groups a subtask gets what belongs to all of them.
        let is_mine = |c: &&Chain| c.first().is_some_and(|l| l.range().intersects(&self.range));
        let mine = self.chains.iter().filter(|c| kind == ContainerKind::Cells || is_mine(c));
        let parts: Vec<Parts<'_>> = mine.map(|chain| Parts { name, kind, chain, met }).collect();
        container.restore(&parts, self.range)?;
        let container = Arc::new(Mutex::new(container));
        self.containers.push(Declared { name: name.to_owned(), container: container.clone() });
        Ok(State(container))
    }

    /// Ends the declarations and lets go of the snapshots. Errors: `user`, if a snapshot holds state that was not declared:
    /// it would be lost.
    pub fn finish_restore(&mut self) -> Result<()> {
        let chains = std::mem::take(&mut self.chains);
        if self.containers.is_empty() {
            // Nobody has looked into them.
            let any = Parts { name: "", kind: ContainerKind::Cells, chain: &chains.concat(), met: &self.met };
            any.each(self.range, |_, _| Ok(()))?;
        }
        let is_unknown = |name: &&String| self.containers.iter().all(|c| c.name != **name);
        match self.met.borrow().iter().find(is_unknown) {
            Some(name) => Err(Error::user(format!("the snapshot has state `{name}`, which the program does not use"))),
            None => Ok(()),
        }
    }

    /// Freezes all containers at a barrier: cheap, in proportion to what changed.
    pub fn freeze(&mut self) -> FrozenState {
        let full = std::mem::take(&mut self.full);
        let freeze = |c: &Declared| {
            let mut container = c.container.lock().unwrap_or_else(PoisonError::into_inner);
            (c.name.clone(), container.freeze(full))
        };
        FrozenState { full, range: self.range, containers: self.containers.iter().map(freeze).collect() }
    }

    /// Makes the next freeze a full one: after a snapshot was lost, or to keep the chain short.
    pub fn restart_chain(&mut self) {
        self.full = true;
    }
}

/// The part of a chain from its last full snapshot on.
fn checked(chain: &Chain) -> Result<Chain> {
    let fail = |text: String| Err(Error::external(text).with_retry(false));
    let Some(start) = chain.iter().rposition(Link::is_full) else {
        return fail("a chain of snapshots without a full one".to_owned());
    };
    let chain = chain.get(start..).unwrap_or_default().to_vec();
    if chain.iter().any(|s| s.range() != chain[0].range()) {
        return fail("a chain of snapshots of different key groups".to_owned());
    }
    Ok(chain)
}

/// The frozen state of an operator subtask: pages shared with the live containers until it is dropped.
pub struct FrozenState {
    full: bool,
    range: KeyGroupRange,
    containers: Vec<(String, Box<dyn Frozen>)>,
}

impl FrozenState {
    /// Whether it holds everything, or only what changed since the freeze before.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Encodes it, as one snapshot or, if there is much, as several that belong behind one another in a chain: so many are in memory
    /// at a time as `each` keeps. The last one names all containers. On any thread, while the operator goes on.
    pub fn encode_parts(&self, each: &mut dyn FnMut(OperatorSnapshot) -> Result<()>) -> Result<()> {
        let mut full = self.full;
        let mut close = |containers| {
            let full = std::mem::take(&mut full);
            each(OperatorSnapshot { format: FORMAT, full, range: self.range, containers })
        };
        let (mut open, mut bytes) = (Vec::<ContainerSnapshot>::new(), 0);
        let mut closed = Vec::new();
        for (name, frozen) in &self.containers {
            frozen.encode(&mut |part| {
                // Within one snapshot deletions come first, so two parts of one container do not fit into it.
                if bytes + part.bytes() > PART_BYTES || open.iter().any(|c| c.name == *name) {
                    let emptied = |c: &ContainerSnapshot| {
                        let (name, schema) = (c.name.clone(), c.schema.clone());
                        ContainerSnapshot { name, kind: c.kind, schema, pieces: vec![] }
                    };
                    closed.extend(open.iter().map(emptied));
                    close(std::mem::take(&mut open))?;
                    bytes = 0;
                }
                bytes += part.bytes();
                let Encoded { kind, schema, pieces } = part;
                open.push(ContainerSnapshot { name: name.clone(), kind, schema, pieces });
                Ok(())
            })?;
        }
        for known in closed {
            if open.iter().all(|c| c.name != known.name) {
                open.push(known);
            }
        }
        close(open)
    }

    /// All parts at once, as they belong behind one another in a chain.
    pub fn encode_all(&self) -> Result<Vec<OperatorSnapshot>> {
        let mut all = Vec::new();
        self.encode_parts(&mut |snapshot| {
            all.push(snapshot);
            Ok(())
        })?;
        Ok(all)
    }

    /// Encodes it into Arrow batches; on any thread, while the operator goes on. Errors: `internal` if it is too much for one snapshot.
    pub fn encode(&self) -> Result<OperatorSnapshot> {
        let mut all = self.encode_all()?;
        match (all.pop(), all.is_empty()) {
            (Some(snapshot), true) => Ok(snapshot),
            _ => Err(Error::internal("the state makes more than one snapshot")),
        }
    }
}
