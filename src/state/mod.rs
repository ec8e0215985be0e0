//! The state of a checkpoint as tables: what `thalweg state query` and `thalweg checkpoint export` read. Looks only: nothing is
//! written to the folder of checkpoints, and a job that runs there does not notice.
//!
//! | table | a row for each |
//! |---|---|
//! | `<operator>_<container>` | entry of an operator's state; also called `<container>` if no other operator has such |
//! | `sources` | split: how far it was read, and its event time |
//! | `frontiers` | chain of operators: how far event time had come |
//! | `operators` | operator with state: its size |
//! | `pending` | part of a sink's output that was prepared, and not known to be committed |
//! | `checkpoint` | one row: the checkpoint |
//! | `tables` | table of state, with its columns |
//!
//! Invariants
//! - S1 every file is checked against the length and the checksum in the manifest before a row of it is shown.
//! - S2 files are read when a query needs them, one subtask after the other; entries beyond the memory budget wait on local disk.

mod columns;
mod container;
mod facts;

use crate::recovery::Start;
use crate::session::Error;
use crate::settings::Settings;
use container::Container;
use std::sync::{Arc, OnceLock};
use thalweg_engine::checkpoint::{Archive, CheckpointId, Complete, Manifest};
use thalweg_engine::key::KeyGroupRange;
use thalweg_engine::state::reader::{Layout, Names};
use thalweg_engine::state::{Budget, Link, SpillArea};
use thalweg_sql::batch::{Asked, BatchError, BatchTable, BatchTables, compile};

/// A checkpoint that is looked into.
///
/// ```no_run
/// use thalweg::state::Snapshot;
/// use thalweg::sql::batch::Asked;
///
/// let mut settings = thalweg::settings::Resolver::new()?.settings();
/// settings.checkpoint_dir = Some("checkpoints".into());
/// let snapshot = Snapshot::open(&settings, &thalweg::Start::Latest)?;
/// if let Asked::Query(query) = snapshot.query("SELECT * FROM sources")? {
///     query.run(|rows| Ok(println!("{} splits", rows.num_rows())))?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<View>);

#[derive(Debug)]
struct View {
    archive: Archive,
    manifest: Manifest,
    budget: Arc<Budget>,
    memory_bytes: u64,
    containers: OnceLock<Result<Vec<Arc<Container>>, thalweg_engine::Error>>,
}

impl Snapshot {
    /// Opens a checkpoint: its manifest is read, nothing else. Errors: `Refused` with a remedy if there is no such checkpoint; `Job` if
    /// it cannot be read.
    pub fn open(settings: &Settings, which: &Start) -> Result<Snapshot, Error> {
        let refused = |text: String| Err(Error::Refused(text));
        let url = match (which, &settings.checkpoint_dir) {
            (Start::Elsewhere(url), _) => url,
            (_, Some(url)) => url,
            (_, None) => return refused("which folder of checkpoints? add --set checkpoint.dir=PATH".into()),
        };
        let archive = Archive::with(url, &settings.s3).map_err(|e| Error::Refused(e.message().to_owned()))?;
        let (complete, gap) = archive.listed()?;
        if let (false, Some(gap)) = (matches!(which, Start::Id(_)), gap) {
            return refused(match complete.last() {
                Some(Complete { id, .. }) => {
                    format!("`{url}` may have held a later checkpoint than {id}: {gap}; write {id} to ask that one")
                }
                None => format!("no checkpoint in `{url}` can be read: {gap}"),
            });
        }
        let Some(found) = find(&complete, which) else {
            return refused(match which {
                Start::Id(id) if !complete.is_empty() => {
                    format!("`{url}` holds no checkpoint {id}; it has {}", known(&complete))
                }
                _ => format!("`{url}` holds no checkpoint"),
            });
        };
        let manifest = archive.manifest(found)?;
        // One half for entries, the other for what the query makes of them.
        let memory_bytes = settings.state_memory.map_or(u64::MAX, |bytes| bytes / 2);
        let budget = Budget::spilling("query", memory_bytes, &SpillArea::new(&settings.state_spill_dir));
        Ok(Snapshot(Arc::new(View { archive, manifest, budget, memory_bytes, containers: OnceLock::new() })))
    }

    /// What the checkpoint is made of.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Compiles a query. Errors: its first mistake; what the query needs of the checkpoint is missing or damaged.
    pub fn query(&self, text: &str) -> Result<Asked, BatchError> {
        let tables: Arc<dyn BatchTables> = self.0.clone();
        compile(text, &tables, self.0.memory_bytes)
    }

    /// All tables. Errors: a file is missing or damaged.
    pub fn tables(&self) -> Result<Vec<Named>, Error> {
        let containers = self.0.containers()?;
        let short = |c: &Arc<Container>| c.layout().name().to_owned();
        let of_state = |c: &Arc<Container>| Named {
            name: c.name().to_owned(),
            short_name: self.0.short(c.layout().name()).map(short),
            table: c.clone(),
        };
        let mut out: Vec<Named> = containers.iter().map(of_state).collect();
        for name in facts::NAMES {
            if let Some(table) = facts::table(&self.0, name)? {
                out.push(Named { name: name.to_owned(), short_name: None, table });
            }
        }
        Ok(out)
    }
}

/// A table and its names.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: String,
    /// A shorter one, as long as no other table of the checkpoint could be meant.
    pub short_name: Option<String>,
    /// The table.
    pub table: Arc<dyn BatchTable>,
}

fn find<'a>(complete: &'a [Complete], which: &Start) -> Option<&'a Complete> {
    match which {
        Start::Id(id) => complete.iter().find(|c| c.id == *id),
        _ => complete.last(),
    }
}

fn known(complete: &[Complete]) -> String {
    let ids: Vec<String> = complete.iter().rev().take(5).map(|c: &Complete| CheckpointId::to_string(&c.id)).collect();
    ids.join(", ")
}

impl View {
    /// The tables of state. The files' headers are read the first time.
    fn containers(&self) -> Result<&[Arc<Container>], thalweg_engine::Error> {
        let all = self.containers.get_or_init(|| {
            let mut names = Names::default();
            facts::NAMES.iter().for_each(|name| drop(names.unique(*name)));
            let mut all = vec![];
            for operator in self.manifest.operators.keys() {
                let found = self.operator(operator, &mut names);
                all.extend(found.map_err(|e| e.context(format!("state of `{operator}`")))?);
            }
            Ok(all.into_iter().map(Arc::new).collect())
        });
        all.as_deref().map_err(Clone::clone)
    }

    fn operator(&self, operator: &str, names: &mut Names) -> Result<Vec<Container>, thalweg_engine::Error> {
        let Some(subtasks) = self.manifest.operators.get(operator) else { return Ok(vec![]) };
        // The last file of a chain names all containers with their columns.
        let smallest = subtasks.iter().filter(|s| !s.files.is_empty());
        let Some(smallest) = smallest.min_by_key(|s| s.files.last().map(|f| f.bytes)) else { return Ok(vec![]) };
        let chains = self.archive.stored(std::slice::from_ref(smallest));
        let Some(last) = chains.first().and_then(|c| c.last()) else { return Ok(vec![]) };
        let snapshot = Link::load(last, KeyGroupRange { start: 0, end: 0 })?;
        let node = facts::node(&self.manifest, operator);
        let keys = node.and_then(|n| n.get("signature")?.get("keys")?.as_array()).map_or(0, Vec::len);
        let chains = Arc::new(self.archive.stored(subtasks));
        let container = |c| {
            let layout = Layout::of(c, keys);
            let prefix: String = operator.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
            let name = names.unique(format!("{prefix}_{}", layout.name()));
            Container::new(name, operator, node, layout, chains.clone(), self.budget.clone())
        };
        snapshot.containers.iter().map(container).collect()
    }

    /// Names that say the container only, where that is enough.
    fn short(&self, name: &str) -> Option<&Arc<Container>> {
        let all = self.containers().ok()?;
        let mut found = all.iter().filter(|c| c.layout().name() == name);
        let first = found.next()?;
        (found.next().is_none() && !facts::NAMES.contains(&name)).then_some(first)
    }
}

impl BatchTables for View {
    fn table(&self, name: &str) -> Result<Option<Arc<dyn BatchTable>>, thalweg_engine::Error> {
        if let Some(table) = facts::table(self, name)? {
            return Ok(Some(table));
        }
        let all = self.containers()?;
        let found = all.iter().find(|c| c.name() == name).or_else(|| self.short(name));
        Ok(found.map(|c| c.clone() as Arc<dyn BatchTable>))
    }

    fn names(&self) -> Vec<String> {
        let state = self.containers().unwrap_or_default().iter().map(|c| c.name().to_owned());
        state.chain(facts::NAMES.iter().map(|n| (*n).to_owned())).collect()
    }

    fn short_names(&self) -> Vec<String> {
        let all = self.containers().unwrap_or_default().iter().map(|c| c.layout().name());
        all.filter(|name| self.short(name).is_some()).map(str::to_owned).collect()
    }
}
