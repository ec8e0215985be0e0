//! The `blackhole` connector: a sink that forgets its rows. What is left is their count, in the sink's metrics.

use thalweg_engine::batch::Batch;
use thalweg_engine::error::Result;
use thalweg_engine::sink::{Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};

/// Makes blackholes.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlackholeSink;

impl SinkFactory for BlackholeSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(BlackholeSink))
    }
}

impl Sink for BlackholeSink {
    fn open(&mut self, _ctx: &mut SinkOpen<'_>) -> Result<Release> {
        Ok(Release::Batch)
    }

    fn write(&mut self, _batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        Ok(Written::Done)
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        Ok(Prepare::Done(Prepared::default()))
    }
}
