//! What a manifest says, as tables: sources, frontiers, operators, sinks' pending output. Small, made whole when they are asked for.

use super::View;
use super::columns::instants;
use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde_json::Value;
use std::sync::Arc;
use thalweg_engine::Result;
use thalweg_engine::checkpoint::Manifest;
use thalweg_engine::checkpoint::manifest::{FileRef, SubtaskFiles};
use thalweg_sql::batch::{BatchTable, Parts};

/// The names of these tables.
pub(super) const NAMES: [&str; 6] = ["sources", "frontiers", "operators", "pending", "checkpoint", "tables"];

/// The table of this name.
pub(super) fn table(view: &View, name: &str) -> Result<Option<Arc<dyn BatchTable>>> {
    let manifest = &view.manifest;
    let columns = match name {
        "sources" => sources(manifest),
        "frontiers" => frontiers(manifest),
        "operators" => operators(manifest),
        "pending" => pending(manifest),
        "checkpoint" => checkpoint(manifest),
        "tables" => tables(view)?,
        _ => return Ok(None),
    };
    let fields: Vec<Field> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, c)| c).collect();
    Ok(Some(Arc::new(Facts(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))))
}

/// A node in the picture of the graph.
pub(super) fn node<'a>(manifest: &'a Manifest, id: &str) -> Option<&'a Value> {
    let nodes = manifest.graph.get("nodes")?.as_array()?;
    nodes.iter().find(|n| n.get("id").and_then(Value::as_str) == Some(id))
}

fn label<'a>(manifest: &'a Manifest, id: &'a str) -> &'a str {
    node(manifest, id).and_then(|n| n.get("label")?.as_str()).unwrap_or(id)
}

/// The name of a table out of what is done with it: `read orders`.
fn table_name<'a>(manifest: &'a Manifest, id: &'a str, verb: &str) -> &'a str {
    let label = label(manifest, id);
    label.strip_prefix(verb).map_or(label, str::trim)
}

#[derive(Debug)]
struct Facts(RecordBatch);

impl BatchTable for Facts {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn scan(&self) -> Result<Parts> {
        Ok(Box::new(std::iter::once(Ok(self.0.clone()))))
    }
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn texts<'a>(values: impl Iterator<Item = impl Into<String> + 'a>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.map(Into::into)))
}

fn longs(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|v| i64::try_from(v).unwrap_or(i64::MAX))))
}

fn ints(values: impl Iterator<Item = usize>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values.map(|v| i32::try_from(v).unwrap_or(i32::MAX))))
}

fn sources(manifest: &Manifest) -> Columns {
    let all: Vec<_> = manifest.sources.iter().flat_map(|(id, s)| s.splits.iter().map(move |s| (id, s))).collect();
    let position = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    vec![
        ("source", texts(all.iter().map(|(id, _)| table_name(manifest, id, "read ")))),
        ("split", texts(all.iter().map(|(_, (split, _))| split.as_str()))),
        ("position", texts(all.iter().map(|(_, (_, s))| position(&s.position.0)))),
        ("offset", Arc::new(all.iter().map(|(_, (_, s))| s.position.0.as_i64()).collect::<Int64Array>())),
        ("watermark", instants(all.iter().map(|(_, (_, s))| Some(s.watermark.millis())))),
        ("finished", Arc::new(all.iter().map(|(_, (_, s))| Some(s.finished)).collect::<BooleanArray>())),
    ]
}

fn frontiers(manifest: &Manifest) -> Columns {
    let all: Vec<_> = manifest.frontiers.iter().collect();
    vec![
        ("operator", texts(all.iter().map(|(id, _)| id.as_str()))),
        ("label", texts(all.iter().map(|(id, _)| label(manifest, id)))),
        ("frontier", instants(all.iter().map(|(_, at)| Some(at.millis())))),
    ]
}

fn operators(manifest: &Manifest) -> Columns {
    let files = |s: &[SubtaskFiles]| s.iter().map(|s| s.files.len()).sum::<usize>();
    let size = |s: &[SubtaskFiles]| s.iter().flat_map(|s| &s.files).map(|f: &FileRef| f.bytes).sum::<u64>();
    let all: Vec<_> = manifest.operators.iter().collect();
    vec![
        ("operator", texts(all.iter().map(|(id, _)| id.as_str()))),
        ("label", texts(all.iter().map(|(id, _)| label(manifest, id)))),
        ("subtasks", ints(all.iter().map(|(_, s)| s.len()))),
        ("files", ints(all.iter().map(|(_, s)| files(s)))),
        ("bytes", longs(all.iter().map(|(_, s)| size(s)))),
    ]
}

fn pending(manifest: &Manifest) -> Columns {
    let sinks = manifest.prepared.iter().flat_map(|(id, sinks)| sinks.iter().map(move |s| (id, s)));
    let all: Vec<_> = sinks
        .flat_map(|(id, (sink, parts))| parts.iter().enumerate().map(move |(n, part)| (id, sink, n, part)))
        .filter(|(.., part)| !part.bytes.is_empty() || !part.rows.is_empty())
        .collect();
    vec![
        ("checkpoint", texts(all.iter().map(|(id, ..)| id.to_string()))),
        ("sink", texts(all.iter().map(|(_, sink, ..)| table_name(manifest, sink, "write ")))),
        ("subtask", ints(all.iter().map(|(_, _, n, _)| *n))),
        ("files", ints(all.iter().map(|(.., part)| part.rows.len()))),
        ("bytes", longs(all.iter().map(|(.., part)| part.rows.iter().map(|f| f.bytes).sum()))),
        // In the manifest they are in hex.
        ("committable_bytes", longs(all.iter().map(|(.., part)| part.bytes.len() as u64 / 2))),
    ]
}

fn checkpoint(manifest: &Manifest) -> Columns {
    let kind = if manifest.savepoint { "savepoint" } else { "checkpoint" };
    vec![
        ("id", texts(std::iter::once(manifest.id.to_string()))),
        ("kind", texts(std::iter::once(kind))),
        ("job", texts(std::iter::once(manifest.job.as_str()))),
        ("taken", instants(std::iter::once(Some(manifest.taken_ms)))),
        ("files", ints(std::iter::once(manifest.files().count()))),
        ("bytes", longs(std::iter::once(manifest.files().map(|f| f.bytes).sum()))),
    ]
}

fn tables(view: &View) -> Result<Columns> {
    let all = view.containers()?;
    let columns = |schema: SchemaRef| {
        let column = |f: &Arc<Field>| format!("{} {}", f.name(), thalweg_engine::type_name(f.data_type()));
        schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
    };
    let short = |name: &str| view.short(name).map(|_| name.to_owned());
    Ok(vec![
        ("name", texts(all.iter().map(|c| c.name()))),
        ("short_name", Arc::new(all.iter().map(|c| short(c.layout().name())).collect::<StringArray>())),
        ("operator", texts(all.iter().map(|c| c.operator()))),
        ("label", texts(all.iter().map(|c| c.label()))),
        ("columns", texts(all.iter().map(|c| columns(c.schema())))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    #[test]
    fn an_instant_that_is_none_is_null() {
        let shown = instants([Some(5), Some(i64::MIN), Some(i64::MAX), None].into_iter());
        assert_eq!((shown.data_type(), shown.null_count()), (&crate::state::columns::TIME, 3));
    }
}
