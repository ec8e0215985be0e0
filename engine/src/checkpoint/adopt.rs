//! Fits a checkpoint to a graph that may not be the one it was taken of: state goes to the operator of the same id and signature,
//! else to the only one with its signature. What fits nowhere is named, never dropped in silence.
//!
//! Invariants
//! - T1 no state, source position or prepared output of the checkpoint is left out without its name in `dropped`.
//! - T2 an operator gets the state of one old operator at most.
//! - T3 every source has said that the positions are of what it reads.

use super::Checkpoint;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A checkpoint as a graph can take it up.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// With the ids of the graph.
    pub checkpoint: Checkpoint,
    /// What the graph has no place for: `state of window aggregate TUMBLE(..) (window-1f2e)`.
    pub dropped: Vec<String>,
}

/// One node as the pictures of both graphs have it.
#[derive(Clone, Debug)]
struct Pictured {
    label: String,
    kind: String,
    signature: Value,
}

/// Fits a checkpoint to a graph. Errors: `user` if nothing fits: the checkpoint is of another job; what a source says about its
/// positions.
pub fn adopt(checkpoint: Checkpoint, graph: &Graph) -> Result<Adopted> {
    let (old, new) = (pictured(&checkpoint.graph), pictured(&graph.to_json()));
    let stateful: BTreeSet<String> = checkpoint.operators.keys().cloned().collect();
    let renamed = renamed(&stateful, &old, &new);
    let mut dropped = vec![];
    let mut fits = stateful.is_empty() && checkpoint.sources.is_empty();
    let name = |what: &str, id: &str| {
        let label = old.get(id).map_or("", |n| n.label.as_str());
        format!("{what} {label} ({id})")
    };
    let mut adopted = Checkpoint { graph: graph.to_json(), ..checkpoint.clone() };
    adopted.operators.clear();
    for (id, chains) in checkpoint.operators {
        match renamed.get(&id) {
            Some(to) => {
                fits = true;
                adopted.operators.insert(to.clone(), chains);
            }
            None => dropped.push(name("state of", &id)),
        }
    }
    let is = |id: &str, kind: &str| new.get(id).is_some_and(|n| n.kind == kind);
    adopted.sources.retain(|id, _| is(id, "source"));
    fits |= !adopted.sources.is_empty();
    dropped.extend(checkpoint.sources.keys().filter(|id| !is(id, "source")).map(|id| name("positions of", id)));
    let sinks: BTreeSet<&String> = checkpoint.prepared.values().flat_map(BTreeMap::keys).collect();
    dropped.extend(sinks.into_iter().filter(|id| !is(id, "sink")).map(|id| name("unpublished rows of", id)));
    adopted.prepared.values_mut().for_each(|sinks| sinks.retain(|id, _| is(id, "sink")));
    adopted.frontiers =
        checkpoint.frontiers.into_iter().map(|(id, at)| (renamed.get(&id).cloned().unwrap_or(id), at)).collect();
    for node in graph.nodes() {
        if let (NodeKind::Source { factory, name, .. }, Some(source)) = (&node.kind, adopted.sources.get(&node.id)) {
            let context = |e: Error| e.context(format!("source `{name}`"));
            factory.enumerator().and_then(|mut e| e.restore(&source.enumerator)).map_err(context)?;
        }
    }
    if fits {
        Ok(Adopted { checkpoint: adopted, dropped })
    } else {
        let text = "the checkpoints are of another job: no source and no state of this one is in them";
        Err(Error::user(format!("{text}; give every job a `checkpoint.dir` of its own")))
    }
}

fn pictured(graph: &Value) -> BTreeMap<String, Pictured> {
    let text = |node: &Value, key: &str| node.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let nodes = graph.get("nodes").and_then(Value::as_array).into_iter().flatten();
    let one = |node: &Value| {
        let signature = node.get("signature").cloned().unwrap_or_default();
        (text(node, "id"), Pictured { label: text(node, "label"), kind: text(node, "kind"), signature })
    };
    nodes.map(one).collect()
}

/// The new id of each old stateful operator that has one.
fn renamed(
    stateful: &BTreeSet<String>,
    old: &BTreeMap<String, Pictured>,
    new: &BTreeMap<String, Pictured>,
) -> BTreeMap<String, String> {
    let signature = |id: &String| old.get(id).map(|n| &n.signature);
    let same = |id: &String| new.get(id).is_some_and(|n| signature(id).is_none_or(|s| *s == n.signature));
    let mut out: BTreeMap<String, String> =
        stateful.iter().filter(|id| same(id)).map(|id| (id.clone(), id.clone())).collect();
    let left: Vec<&String> = stateful.iter().filter(|id| !out.contains_key(*id)).collect();
    for id in &left {
        let Some(wanted) = signature(id).filter(|s| !s.is_null()) else { continue };
        let rivals = left.iter().filter(|other| signature(other) == Some(wanted)).count();
        let free = new.iter().filter(|(to, n)| n.signature == *wanted && !stateful.contains(*to));
        let free: Vec<&String> = free.map(|(to, _)| to).collect();
        if let ([to], 1) = (free.as_slice(), rivals) {
            out.insert((*id).clone(), (*to).clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::SourceCheckpoint;
    use crate::graph::{Input, NodeSpec, Partitioning};
    use crate::sink::Release;
    use crate::source::SourceFactory;
    use crate::testing::collect::CollectSink;
    use crate::testing::operators::Pass;
    use crate::testing::scripted::ScriptedSource;
    use crate::time::EventTime;
    use serde_json::json;
    use std::sync::Arc;

    /// A source, operators with signatures one after the other, a sink.
    fn graph(source: &str, operators: &[(&str, i64)], sink: &str) -> Graph {
        let mut g = Graph::new();
        let factory = Arc::new(ScriptedSource::new(vec![]));
        let kind = NodeKind::Source { factory, watermark: None, name: source.into() };
        let mut from = g.add(NodeSpec::new(source, "events", kind, vec![])).unwrap();
        for (id, signature) in operators {
            let inputs = vec![Input::new(from, Partitioning::Hash(vec![0]))];
            let node = NodeSpec::new(*id, "window", NodeKind::Operator(Pass::factory()), inputs);
            from = g.add(node.signature(json!({ "n": signature }))).unwrap();
        }
        let kind = NodeKind::Sink { factory: Arc::new(CollectSink::new(Release::Epoch)), name: "collect".into() };
        g.add(NodeSpec::new(sink, "collect", kind, vec![Input::new(from, Partitioning::Forward)])).unwrap();
        g
    }

    fn nothing_read() -> SourceCheckpoint {
        let enumerator = ScriptedSource::new(vec![]).enumerator().unwrap().snapshot();
        SourceCheckpoint { enumerator, ..SourceCheckpoint::default() }
    }

    fn checkpoint(source: &str, operators: &[(&str, i64)], sink: &str) -> Checkpoint {
        Checkpoint {
            epoch: 9,
            graph: graph(source, operators, sink).to_json(),
            sources: BTreeMap::from([(source.to_owned(), nothing_read())]),
            operators: operators.iter().map(|(id, _)| ((*id).to_owned(), vec![])).collect(),
            frontiers: operators.iter().map(|(id, n)| ((*id).to_owned(), EventTime(*n))).collect(),
            prepared: BTreeMap::from([(9, BTreeMap::from([(sink.to_owned(), vec![])]))]),
        }
    }

    #[test]
    fn state_goes_by_id_and_signature_then_by_signature_alone() {
        let old = checkpoint("s", &[("a", 1), ("b", 2), ("c", 3)], "out");
        // `a` stays, `b` has changed, `c` has another name.
        let new = graph("s", &[("a", 1), ("b", 20), ("d", 3)], "out");
        let adopted = adopt(old, &new).unwrap();
        assert_eq!(adopted.checkpoint.operators.keys().collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(adopted.dropped, ["state of window (b)"]);
        assert_eq!(adopted.checkpoint.frontiers["d"], EventTime(3));
        assert_eq!(adopted.checkpoint.graph, new.to_json());
    }

    #[test]
    fn two_of_one_signature_are_not_guessed_at() {
        let old = checkpoint("s", &[("a", 1), ("b", 1)], "out");
        let adopted = adopt(old, &graph("s", &[("c", 1), ("d", 1)], "out")).unwrap();
        assert!(adopted.checkpoint.operators.is_empty());
        assert_eq!(adopted.dropped, ["state of window (a)", "state of window (b)"]);
    }

    #[test]
    fn positions_and_unpublished_rows_without_a_place_are_named() {
        let old = checkpoint("s", &[("a", 1)], "out");
        let adopted = adopt(old.clone(), &graph("t", &[("a", 1)], "elsewhere")).unwrap();
        assert_eq!(adopted.dropped, ["positions of events (s)", "unpublished rows of collect (out)"]);
        assert!(adopted.checkpoint.sources.is_empty() && adopted.checkpoint.prepared[&9].is_empty());
        let e = adopt(old, &graph("t", &[("z", 7)], "out")).unwrap_err();
        assert!(e.message().contains("of another job"), "{e}");
    }
}
