//! Runs a batch query on the calling thread. Rows are handed on as they come; what operators hold is charged to a limit.

use super::plan::Physical;
use crate::fault;
use crate::naming::unique;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use futures::StreamExt;
use std::sync::Arc;
use thalweg_engine::{Error, Result};

/// Rows of a batch, about.
const BATCH_ROWS: usize = 8192;

/// A query to be run.
pub struct Query {
    plan: Physical,
    /// With names of which no two are alike.
    schema: SchemaRef,
    memory_bytes: u64,
}

impl Query {
    pub(super) fn new(plan: Physical, memory_bytes: u64) -> Query {
        let found = plan.schema();
        let names = unique(found.fields().iter().map(|f| f.name()));
        let fields =
            names.into_iter().zip(found.fields()).map(|(name, f)| Field::new(name, f.data_type().clone(), true));
        Query { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), plan, memory_bytes }
    }

    /// The columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Runs it; `each` gets the rows, and ends it by an error of its own. Errors: a table cannot be read, or a value is one that an
    /// expression does not take, or there is too little memory.
    pub fn run(&self, mut each: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let limit = usize::try_from(self.memory_bytes).unwrap_or(usize::MAX);
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(limit)));
        let environment = environment.with_disk_manager_builder(disk).build_arc().map_err(failure)?;
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS);
        let context = Arc::new(TaskContext::default().with_session_config(config).with_runtime(environment));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|e| Error::internal(format!("start the query: {e}")))?;
        runtime.block_on(async {
            let mut rows = self.plan.execute(0, context).map_err(failure)?;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(failure)?;
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                each(RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &rows)?)?;
            }
            Ok(())
        })
    }
}

fn failure(e: DataFusionError) -> Error {
    let mut at: &DataFusionError = &e;
    loop {
        at = match at {
            DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => return ours.clone(),
                None => break,
            },
            DataFusionError::Shared(inner) => inner,
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => inner,
            DataFusionError::ResourcesExhausted(_) => {
                let remedy = "raise state.memory, or ask for less with WHERE or LIMIT";
                return Error::user(format!("the query needs more memory than there is for it; {remedy}"));
            }
            _ => break,
        };
    }
    let fault = fault::of(e);
    Error::user(match fault.remedy {
        Some(remedy) => format!("{}; {remedy}", fault.reason),
        None => fault.reason,
    })
}
