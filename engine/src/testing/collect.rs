//! A sink that collects rows for a test to look at, in two forms: as they are written, and as they are released by commits.
//! It can be slow, and it can be stuck.

use crate::batch::Batch;
use crate::error::Result;
use crate::sink::{Committer, JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What was collected; shared with the test.
#[derive(Debug, Default)]
pub struct Collected {
    /// All rows, as they were written.
    pub written: Vec<Batch>,
    /// Rows by the barrier that released them.
    pub released: BTreeMap<u64, Vec<Batch>>,
    prepared: BTreeMap<(u64, u32), Vec<Batch>>,
    /// Barriers that `recover` was called for.
    pub recovered: Vec<u64>,
}

impl Collected {
    /// The last barrier that some subtask has prepared and no commit has released.
    pub fn prepared(&self) -> Option<u64> {
        self.prepared.keys().next_back().map(|(id, _)| *id)
    }
}

/// The sink's factory and the test's view.
#[derive(Clone)]
pub struct CollectSink {
    collected: Arc<Mutex<Collected>>,
    release: Release,
    /// How long each batch keeps the sink busy.
    busy: Option<Duration>,
}

impl CollectSink {
    /// With this release grain.
    pub fn new(release: Release) -> CollectSink {
        CollectSink { collected: Arc::default(), release, busy: None }
    }

    /// Each batch keeps it busy for so long.
    pub fn slow(self, busy: Duration) -> CollectSink {
        CollectSink { busy: Some(busy), ..self }
    }

    /// What was collected so far.
    pub fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap()
    }

    /// All released rows, in the order of barriers.
    pub fn released(&self) -> Vec<Batch> {
        self.collected().released.values().flatten().cloned().collect()
    }
}

impl SinkFactory for CollectSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Collect { to: self.clone(), subtask: 0, buffer: vec![], busy_until: None }))
    }

    fn committer(&self, _job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(Releaser(self.clone()))))
    }
}

struct Collect {
    to: CollectSink,
    subtask: u32,
    buffer: Vec<Batch>,
    busy_until: Option<Duration>,
}

impl Sink for Collect {
    fn open(&mut self, ctx: &mut SinkOpen<'_>) -> Result<Release> {
        self.subtask = ctx.subtask.index;
        Ok(self.to.release)
    }

    fn write(&mut self, batch: Batch, ctx: &mut SinkContext<'_>) -> Result<Written> {
        self.to.collected().written.push(batch.clone());
        self.buffer.push(batch);
        let Some(busy) = self.to.busy else { return Ok(Written::Done) };
        let until = ctx.clock.now() + busy;
        (self.busy_until, ctx.wake_at) = (Some(until), Some(until));
        Ok(Written::Busy)
    }

    fn on_wake(&mut self, ctx: &mut SinkContext<'_>) -> Result<Written> {
        match self.busy_until {
            Some(until) if ctx.clock.now() < until => {
                ctx.wake_at = Some(until);
                Ok(Written::Busy)
            }
            _ => {
                self.busy_until = None;
                Ok(Written::Done)
            }
        }
    }

    fn prepare(&mut self, id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        let rows = std::mem::take(&mut self.buffer);
        self.to.collected().prepared.insert((id, self.subtask), rows);
        Ok(Prepare::Done(Prepared::new(self.subtask.to_le_bytes().to_vec())))
    }
}

struct Releaser(CollectSink);

impl Releaser {
    fn release(&self, id: u64, parts: &[Prepared]) {
        let mut collected = self.0.collected();
        for part in parts {
            let subtask = u32::from_le_bytes(part.bytes.as_slice().try_into().unwrap());
            if let Some(rows) = collected.prepared.remove(&(id, subtask)) {
                collected.released.entry(id).or_default().extend(rows);
            }
        }
    }
}

impl Committer for Releaser {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.release(id, parts);
        Ok(())
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.release(id, parts);
        let mut collected = self.0.collected();
        collected.prepared.clear();
        collected.recovered.push(id);
        Ok(())
    }
}
