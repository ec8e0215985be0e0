//! Which columns and fields of a table a job reads: the union over all uses, so that the one source gives all of them and nothing else.
//!
//! Called once per job and source, before the graph is made.
//!
//! Invariants
//! - PR1 a column that no expression names is not read, of a ROW only the fields that are named, at any depth.
//! - PR2 what the watermark is made from is read, whether a query names it or not.
//! - PR3 a source whose rows a sink takes as they are is read whole.

use super::stream::{StreamId, StreamOp, Streams, place};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion_common::ScalarValue;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::Expr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much of a value is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Usage {
    #[default]
    Nothing,
    Fields(BTreeMap<String, Usage>),
    Whole,
}

impl Usage {
    fn read(&mut self, path: &[String]) {
        match (self, path) {
            (Usage::Whole, _) => {}
            (usage, []) => *usage = Usage::Whole,
            (Usage::Fields(fields), [first, rest @ ..]) => fields.entry(first.clone()).or_default().read(rest),
            (usage @ Usage::Nothing, [first, rest @ ..]) => {
                let mut inner = Usage::Nothing;
                inner.read(rest);
                *usage = Usage::Fields(BTreeMap::from([(first.clone(), inner)]));
            }
        }
    }
}

/// What is read of each column of a source, by all nodes behind it; `written` says that a sink takes its rows as they are.
pub(crate) fn usage(streams: &Streams, source: StreamId, watermark: Option<&Expr>, written: bool) -> Vec<Usage> {
    let all = if written { Usage::Whole } else { Usage::Nothing };
    let mut columns = vec![all; streams.node(source).schema.fields().len()];
    if let Some(expr) = watermark {
        read(expr, &mut columns);
    }
    for (_, node) in streams.nodes().filter(|(_, n)| n.inputs.contains(&source)) {
        match &node.op {
            StreamOp::Calc { predicate, outputs } => {
                outputs.iter().chain(predicate).for_each(|e| read(e, &mut columns))
            }
            _ => columns.fill(Usage::Whole),
        }
    }
    columns
}

/// Marks what an expression reads.
fn read(expr: &Expr, columns: &mut [Usage]) {
    let walked = expr.apply(|e| {
        let Some((at, path)) = path_of(e) else { return Ok(TreeNodeRecursion::Continue) };
        if let Some(usage) = columns.get_mut(at) {
            usage.read(&path);
        }
        Ok(TreeNodeRecursion::Jump)
    });
    if walked.is_err() {
        columns.fill(Usage::Whole);
    }
}

/// `column.field.field` as a place and names.
fn path_of(expr: &Expr) -> Option<(usize, Vec<String>)> {
    if let Some(at) = place(expr) {
        return Some((at, vec![]));
    }
    let Expr::ScalarFunction(call) = expr else { return None };
    let [of, names @ ..] = &call.args[..] else { return None };
    if call.func.name() != "get_field" {
        return None;
    }
    let (at, mut path) = path_of(of)?;
    for name in names {
        match name {
            Expr::Literal(
                ScalarValue::Utf8(Some(n)) | ScalarValue::Utf8View(Some(n)) | ScalarValue::LargeUtf8(Some(n)),
                _,
            ) => {
                path.push(n.clone());
            }
            _ => return None,
        }
    }
    Some((at, path))
}

/// The columns that are read, and for every column of the full schema its place among them.
pub(crate) fn prune(schema: &Schema, usage: &[Usage]) -> (Schema, Vec<Option<usize>>) {
    let mut fields = vec![];
    let mut places = vec![];
    for (field, usage) in schema.fields().iter().zip(usage) {
        places.push(match pruned(field, usage) {
            Some(field) => {
                fields.push(field);
                Some(fields.len() - 1)
            }
            None => None,
        });
    }
    (Schema::new(fields), places)
}

fn pruned(field: &Field, usage: &Usage) -> Option<Field> {
    let read = match usage {
        Usage::Nothing => return None,
        Usage::Whole => return Some(field.clone()),
        Usage::Fields(read) => read,
    };
    let DataType::Struct(inner) = field.data_type() else { return Some(field.clone()) };
    let kept: Fields = inner.iter().filter_map(|f| pruned(f, read.get(f.name())?)).map(Arc::new).collect();
    Some(field.clone().with_data_type(DataType::Struct(kept)))
}
