//! What a running job has to say aside from its progress: an outage, its end, checkpoints that fail, and what a stop waits for.
//!
//! Pure: `watch.rs` brings counters and the time, and writes what comes out.
//!
//! Invariants
//! - N1 an outage is told once per operator, with the first text of any of its subtasks, and its end once.
//! - N2 the end is told when no subtask of the operator is in trouble any more.

use crate::cli::progress::{count, seconds};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use thalweg::engine::metrics::{NodeEntry, Registry, Role};

/// How long a stop may take before it says what it waits for, and then between two reminders.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
const STOP_REMINDER: Duration = Duration::from_secs(30);

/// Something to say, for people and as data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// What was said already.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Operators in trouble, by id, and since when.
    troubled: BTreeMap<String, Duration>,
    /// Since when checkpoints fail.
    failing: Option<Duration>,
    /// Since when a sink cannot show its rows.
    uncommitted: Option<Duration>,
    /// Why old checkpoints stay.
    unswept: Option<Arc<str>>,
    /// When to say next what the stop waits for, as time since its request.
    reminder: Option<Duration>,
}

impl Notices {
    /// What is new at `now`.
    pub(crate) fn observe(&mut self, registry: &Registry, now: Duration) -> Vec<Notice> {
        let mut troubles: BTreeMap<&str, (&NodeEntry, Arc<str>)> = BTreeMap::new();
        for node in &registry.nodes {
            if let Some(text) = node.metrics.trouble.get() {
                troubles.entry(&node.id).or_insert((node, text));
            }
        }
        let mut notices = Vec::new();
        for (id, (node, reason)) in &troubles {
            if !self.troubled.contains_key(*id) {
                self.troubled.insert((*id).to_owned(), now);
                notices.push(notice("trouble", node, &format!("{reason}; trying again")));
            }
        }
        let over: Vec<String> =
            self.troubled.keys().filter(|id| !troubles.contains_key(id.as_str())).cloned().collect();
        for id in over {
            let since = self.troubled.remove(&id).unwrap_or(now);
            if let Some(node) = registry.nodes.iter().find(|n| n.id == id) {
                let text = format!("works again, after {}", seconds(now.saturating_sub(since)));
                notices.push(notice("recovered", node, &text));
            }
        }
        notices.extend(self.checkpoints(registry, now));
        notices
    }

    /// Checkpoints that fail, and remains of old ones that stay.
    fn checkpoints(&mut self, registry: &Registry, now: Duration) -> Vec<Notice> {
        let told = |kind: &str, text: String| {
            let json = json!({ "type": "notice", "kind": kind, "message": text });
            Notice { text, json }
        };
        let mut notices = Vec::new();
        match (registry.checkpoints.trouble.get(), self.failing) {
            (Some(reason), None) => {
                self.failing = Some(now);
                notices.push(told("checkpoint-failed", format!("{reason}; trying again")));
            }
            (None, Some(since)) => {
                self.failing = None;
                let after = seconds(now.saturating_sub(since));
                notices.push(told("recovered", format!("checkpoints work again, after {after}")));
            }
            _ => {}
        }
        match (registry.checkpoints.uncommitted.get(), self.uncommitted) {
            (Some(reason), None) => {
                self.uncommitted = Some(now);
                notices.push(told("unpublished", format!("output waits to be published: {reason}; trying again")));
            }
            (None, Some(since)) => {
                self.uncommitted = None;
                let after = seconds(now.saturating_sub(since));
                notices.push(told("recovered", format!("output is published again, after {after}")));
            }
            _ => {}
        }
        let unswept = registry.checkpoints.unswept.get();
        if let Some(reason) = unswept.as_ref().filter(|_| self.unswept != unswept) {
            notices.push(told("unswept", format!("old checkpoints are not removed: {reason}")));
        }
        self.unswept = unswept;
        notices
    }

    /// What a stop waits for that was requested `ago`, now and then.
    pub(crate) fn stopping(&mut self, registry: &Registry, ago: Duration) -> Option<Notice> {
        let due = self.reminder.unwrap_or(STOP_PATIENCE);
        if ago < due {
            return None;
        }
        self.reminder = Some(ago + STOP_REMINDER);
        let waits = unacknowledged(registry);
        let waits = if waits.is_empty() { "the last rows are being written".to_owned() } else { waits.join(", ") };
        let text = format!("still stopping, after {}: {waits}; Ctrl-C again cancels", seconds(ago));
        Some(Notice { json: json!({ "type": "notice", "kind": "stopping", "message": text }), text })
    }
}

fn notice(kind: &str, node: &NodeEntry, what: &str) -> Notice {
    let text = format!("{}: {what}", node.label);
    Notice { json: json!({ "type": "notice", "kind": kind, "operator": node.id, "message": text }), text }
}

/// Who owes an answer for how many rows, one text per sink.
fn unacknowledged(registry: &Registry) -> Vec<String> {
    let sinks = registry.nodes.iter().filter(|n| n.role == Role::Sink);
    let ids: BTreeSet<&str> = sinks.clone().map(|n| n.id.as_str()).collect();
    let of_sink = |id: &str| {
        let subtasks = sinks.clone().filter(|n| n.id == id);
        let rows: i64 = subtasks.clone().map(|n| n.metrics.unacknowledged.get().max(0)).sum();
        let node = subtasks.clone().next().filter(|_| rows > 0)?;
        let by = node.metrics.peer.get().map_or_else(String::new, |peer| format!(" by `{peer}`"));
        let rows = format!("{} {}", count(rows as f64), if rows == 1 { "row" } else { "rows" });
        Some(format!("{}: {rows} not acknowledged{by}", node.label))
    };
    ids.into_iter().filter_map(of_sink).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: Role, subtask: u32) -> NodeEntry {
        NodeEntry { id: id.into(), label: format!("table {id}"), role, subtask, metrics: Arc::default() }
    }

    fn texts(notices: &[Notice]) -> Vec<&str> {
        notices.iter().map(|n| n.text.as_str()).collect()
    }

    #[test]
    fn an_outage_of_many_subtasks_is_told_once_and_so_is_its_end() {
        let nodes = vec![node("a", Role::Source, 0), node("a", Role::Source, 1), node("b", Role::Sink, 0)];
        let registry = Registry { nodes, ..Registry::default() };
        let set = |i: usize, text: Option<&str>| registry.nodes[i].metrics.trouble.set(text.map(Into::into));
        let mut notices = Notices::default();
        let mut at = |s: u64| notices.observe(&registry, Duration::from_secs(s));
        assert_eq!(at(0), []);
        set(1, Some("refused"));
        let first = at(1);
        assert_eq!(texts(&first), ["table a: refused; trying again"]);
        let json = json!({ "type": "notice", "kind": "trouble", "operator": "a", "message": "table a: refused; trying again" });
        assert_eq!(first[0].json, json);
        set(0, Some("reset"));
        assert_eq!(at(2), []);
        set(1, None);
        assert_eq!(at(3), [], "one subtask is still out");
        set(2, Some("no route"));
        assert_eq!(texts(&at(4)), ["table b: no route; trying again"]);
        set(0, None);
        let over = at(5);
        assert_eq!(texts(&over), ["table a: works again, after 4.0 s"]);
        assert_eq!(over[0].json["kind"], "recovered");
        set(0, Some("again"));
        assert_eq!(texts(&at(6)), ["table a: again; trying again"]);
    }

    #[test]
    fn checkpoints_that_fail_are_told_once_and_so_is_what_stays_of_old_ones() {
        let registry = Registry::default();
        let set = |text: Option<&str>| registry.checkpoints.trouble.set(text.map(Into::into));
        let mut notices = Notices::default();
        let mut at = |s: u64| notices.observe(&registry, Duration::from_secs(s));
        assert_eq!(at(0), []);
        set(Some("checkpoint 1-7 failed: disk full"));
        assert_eq!(texts(&at(1)), ["checkpoint 1-7 failed: disk full; trying again"]);
        set(Some("checkpoint 1-8 failed: disk full"));
        assert_eq!(at(2), []);
        set(None);
        assert_eq!(texts(&at(11)), ["checkpoints work again, after 10.0 s"]);
        registry.checkpoints.uncommitted.set(Some("cannot reach Kafka".into()));
        assert_eq!(texts(&at(11)), ["output waits to be published: cannot reach Kafka; trying again"]);
        assert_eq!(at(12), []);
        registry.checkpoints.uncommitted.set(None);
        assert_eq!(texts(&at(12)), ["output is published again, after 1.0 s"]);
        for reason in ["a", "b"] {
            registry.checkpoints.unswept.set(Some(reason.into()));
            assert_eq!(texts(&at(12)), [format!("old checkpoints are not removed: {reason}")]);
            assert_eq!(at(13), []);
        }
    }

    #[test]
    fn a_long_stop_says_what_it_waits_for() {
        let nodes = vec![node("a", Role::Source, 0), node("b", Role::Sink, 0), node("b", Role::Sink, 1)];
        let registry = Registry { nodes, ..Registry::default() };
        let mut notices = Notices::default();
        assert_eq!(notices.stopping(&registry, Duration::from_millis(4_999)), None);
        let first = notices.stopping(&registry, Duration::from_secs(5)).unwrap();
        let text = "still stopping, after 5.0 s: the last rows are being written; Ctrl-C again cancels";
        assert_eq!(first.text, text);
        assert_eq!(first.json, json!({ "type": "notice", "kind": "stopping", "message": text }));
        assert_eq!(notices.stopping(&registry, Duration::from_secs(34)), None);
        for n in &registry.nodes[1..] {
            n.metrics.unacknowledged.set(20);
            n.metrics.peer.set(Some("one:9092,two:9092".into()));
        }
        let text = notices.stopping(&registry, Duration::from_secs(35)).unwrap().text;
        assert!(text.contains(": table b: 40 rows not acknowledged by `one:9092,two:9092`; "), "{text}");
    }
}
