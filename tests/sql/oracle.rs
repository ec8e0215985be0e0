//! The independent computation: DataFusion's own engine, over the same rows at once. Called by `main.rs`.

use crate::run::rows;
use crate::tables::{Splits, decode};
use arrow::datatypes::SchemaRef;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeMap;

/// The sorted rows of a query over tables, as DataFusion computes them.
pub fn answer(
    sql: &str,
    data: &BTreeMap<String, Splits>,
    tables: &BTreeMap<String, SchemaRef>,
) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for (name, schema) in tables {
        let lines: Vec<String> = data.get(name).into_iter().flatten().flatten().cloned().collect();
        let batch = decode(schema, &lines).map_err(|e| e.to_string())?;
        ctx.register_batch(name, batch.columns().clone()).map_err(|e| e.to_string())?;
    }
    let collected = async { ctx.sql(sql).await?.collect().await };
    let batches = runtime.block_on(collected).map_err(|e| e.to_string())?;
    let mut lines: Vec<String> = batches.iter().flat_map(rows).collect();
    lines.sort();
    Ok(lines)
}
