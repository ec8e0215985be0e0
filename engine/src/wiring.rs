//! From a plan to tasks that can run: inboxes, channels with their credits, chains with their state. Called by `job.rs`.

use crate::chain::{Link, Node, Target};
use crate::checkpoint::Checkpoint;
use crate::driver::DriverEvent;
use crate::error::{Error, Result};
use crate::gate::{CreditReturn, Gate};
use crate::graph::{Graph, NodeKind, NodeSpec};
use crate::inbox::{Inbox, mailbox};
use crate::job::JobOptions;
use crate::message::{Message, WakeTarget, Waker};
use crate::metrics::{CheckpointMetrics, NodeEntry, NodeMetrics, Registry, Role, TaskEntry, TaskMetrics};
use crate::operator::{Open, Port, Subtask};
use crate::output::{Channel, OutEdge, Outputs};
use crate::partition::Partitioner;
use crate::plan::{EdgePlan, Plan, TaskPlan};
use crate::sink::JobInfo;
use crate::sink_node::SinkNode;
use crate::source::ReaderContext;
use crate::source_task::{SourceParts, SourceTask};
use crate::split::SplitTimes;
use crate::state::{Budget, StateStore};
use crate::task::{Task, TaskMode};
use crate::time::EventTime;
use crossbeam_channel::{Receiver, Sender};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Tasks that are ready to be started.
pub(crate) struct Wired {
    pub tasks: Vec<Task>,
    /// Per source: id and task index.
    pub sources: Vec<(String, usize)>,
    /// Per task and subtask.
    pub inboxes: Vec<Vec<Sender<Message>>>,
    pub registry: Registry,
    /// Per task: its root's id.
    pub roots: Vec<String>,
    /// Index of each task by the ids of its operators.
    pub tasks_of: BTreeMap<String, usize>,
}

type Mailbox = (Sender<Message>, Receiver<Message>);

/// Both ends of every channel, per task and subtask, before they are given to it.
#[derive(Default)]
struct Ends {
    incoming: Vec<(Port, CreditReturn)>,
    outgoing: Vec<OutEdge>,
}

/// Where a run begins.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub from: Option<&'a Checkpoint>,
    pub first_epoch: u64,
    pub job: &'a JobInfo,
}

struct Wiring<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    options: &'a JobOptions,
    start: Start<'a>,
    budget: &'a Arc<Budget>,
    reports: Sender<DriverEvent>,
    registry: Registry,
}

/// Wires all tasks of a plan.
pub(crate) fn wire(
    graph: &Graph,
    plan: &Plan,
    options: &JobOptions,
    start: Start<'_>,
    budget: &Arc<Budget>,
    reports: Sender<DriverEvent>,
) -> Result<Wired> {
    let mailboxes: Vec<Vec<Mailbox>> =
        plan.tasks.iter().map(|t| (0..t.parallelism).map(|_| mailbox()).collect()).collect();
    let inboxes = mailboxes.iter().map(|t| t.iter().map(|(tx, _)| tx.clone()).collect()).collect();
    let ends = connect(plan, options, &mailboxes);
    let checkpoints = CheckpointMetrics::new(start.job.trouble.clone());
    let mut wiring = Wiring {
        graph,
        plan,
        options,
        start,
        budget,
        reports,
        registry: Registry { spill: options.spill.clone(), checkpoints: Arc::new(checkpoints), ..Registry::default() },
    };
    let (mut tasks, mut sources, mut roots) = (vec![], vec![], vec![]);
    for (t, (mailboxes, ends)) in mailboxes.into_iter().zip(ends).enumerate() {
        let root = wiring.root(t)?;
        roots.push(root.id.clone());
        if crate::plan::is_source(root) {
            sources.push((root.id.clone(), t));
        }
        for (s, (mailbox, ends)) in mailboxes.into_iter().zip(ends).enumerate() {
            tasks.push(wiring.task(t, s as u32, mailbox, ends)?);
        }
    }
    let node = |n: usize| graph.nodes().get(n).map(|n| n.id.clone());
    let of = plan.tasks.iter().enumerate().flat_map(|(t, task)| task.nodes.iter().map(move |n| (n.node, t)));
    let tasks_of = of.filter_map(|(n, t)| Some((node(n)?, t))).collect();
    Ok(Wired { tasks, sources, inboxes, registry: wiring.registry, roots, tasks_of })
}

/// Which subtasks of the receiver a sender's subtask reaches.
fn targets(edge: &EdgePlan, sender: u32, receivers: u32) -> std::ops::Range<u32> {
    match edge.partitioning {
        crate::graph::Partitioning::Forward => sender..sender + 1,
        _ => 0..receivers,
    }
}

fn connect(plan: &Plan, options: &JobOptions, mailboxes: &[Vec<Mailbox>]) -> Vec<Vec<Ends>> {
    let mut ends: Vec<Vec<Ends>> =
        plan.tasks.iter().map(|t| (0..t.parallelism).map(|_| Ends::default()).collect()).collect();
    let channels_into = |to: usize| {
        let into = plan.edges.iter().filter(|e| e.to == to);
        let senders = into.map(|e| match e.partitioning {
            crate::graph::Partitioning::Forward => 1,
            _ => plan.tasks[e.from.0].parallelism,
        });
        u64::from(senders.sum::<u32>()).max(1)
    };
    for edge in &plan.edges {
        let (from, to) = (edge.from.0, edge.to);
        let (senders, receivers) = (plan.tasks[from].parallelism, plan.tasks[to].parallelism);
        let budget = options.edge_bytes.max(options.gate_bytes / channels_into(to));
        for s in 0..senders {
            let out = ends[from][s as usize].outgoing.len() as u32;
            let mut channels = vec![];
            for (c, t) in targets(edge, s, receivers).enumerate() {
                let (sender, _) = &mailboxes[from][s as usize];
                let (receiver, _) = &mailboxes[to][t as usize];
                let incoming = &mut ends[to][t as usize].incoming;
                channels.push(Channel::new(receiver.clone(), incoming.len() as u32, budget));
                incoming.push((edge.port, CreditReturn::new(sender.clone(), out, c as u32, budget)));
            }
            let count = channels.len() as u32;
            let partitioner = Partitioner::new(edge.partitioning.clone(), edge.columns.clone(), count);
            ends[from][s as usize].outgoing.push(OutEdge::new(partitioner, channels));
        }
    }
    ends
}

impl<'a> Wiring<'a> {
    fn spec(&self, node: usize) -> Result<&'a NodeSpec> {
        self.graph.nodes().get(node).ok_or_else(|| Error::internal(format!("no node {node} in the graph")))
    }

    fn task_plan(&self, t: usize) -> Result<&'a TaskPlan> {
        self.plan.tasks.get(t).ok_or_else(|| Error::internal(format!("no task {t} in the plan")))
    }

    fn root(&self, t: usize) -> Result<&'a NodeSpec> {
        let first = self.task_plan(t)?.nodes.first();
        self.spec(first.ok_or_else(|| Error::internal(format!("task {t} is empty")))?.node)
    }

    fn task(&mut self, t: usize, s: u32, mailbox: Mailbox, ends: Ends) -> Result<Task> {
        let (plan, root) = (self.task_plan(t)?, self.root(t)?);
        let name = format!("{}/{s}", plan.label);
        let metrics = Arc::new(TaskMetrics::default());
        self.registry.tasks.push(TaskEntry { name: name.clone(), metrics: metrics.clone() });
        let epoch = self.start.first_epoch;
        let reached = self.start.from.and_then(|c| c.frontiers.get(&root.id)).copied().unwrap_or(EventTime::MIN);
        let gate = Gate::new(ends.incoming, reached);
        let outputs = Outputs::new(ends.outgoing, self.options.batch_rows, self.options.batch_bytes);
        let mut inbox = Inbox::new(mailbox, gate, outputs, self.options.clock.clone(), metrics, epoch);
        let subtask = Subtask { index: s, parallelism: plan.parallelism };
        let mut nodes = self.nodes(t, subtask, &mut inbox)?;
        let source = self.source(t, subtask, &mut inbox)?;
        if let Some(first) = nodes.first_mut().filter(|_| source.is_none()) {
            first.ended = vec![false; inbox.gate.ports()];
        }
        let epochs = self.graph.has_epochs() || self.options.force_epochs;
        let mode = TaskMode { epochs, snapshots: self.options.keep_checkpoints };
        let (reports, aligned) = (self.reports.clone(), Duration::ZERO);
        Ok(Task { index: t, subtask, name, mode, inbox, source, nodes, reports, aligned })
    }

    /// Index of the place of a planned node in the chain's operators: the source, if there is one, is not among them.
    fn place(&self, t: usize, planned: usize) -> Result<usize> {
        Ok(planned - usize::from(crate::plan::is_source(self.root(t)?)))
    }

    fn links(&self, t: usize, planned: usize) -> Result<Vec<Link>> {
        let plan = self.task_plan(t)?;
        let mut links = vec![];
        for (child, node) in plan.nodes.iter().enumerate() {
            if let Some((parent, port)) = node.parent
                && parent == planned
            {
                links.push(Link { port, target: Target::Node(self.place(t, child)?, Port(0)) });
            }
        }
        let out = self.plan.edges.iter().filter(|e| e.from.0 == t).enumerate();
        let mine = out.filter(|(_, e)| e.from.1 == planned);
        links.extend(mine.map(|(edge, e)| Link { port: e.out, target: Target::Edge(edge) }));
        Ok(links)
    }

    fn nodes(&mut self, t: usize, subtask: Subtask, inbox: &mut Inbox) -> Result<Vec<Node>> {
        let mut nodes = vec![];
        for (planned, in_chain) in self.task_plan(t)?.nodes.iter().enumerate() {
            let spec = self.spec(in_chain.node)?;
            let (operator, role): (Box<dyn crate::operator::Operator>, Role) = match &spec.kind {
                NodeKind::Source { .. } => continue,
                NodeKind::Operator(factory) => (factory.operator()?, Role::Operator),
                NodeKind::Sink { factory, .. } => {
                    (Box::new(SinkNode::new(factory.sink()?, self.start.job.clone())), Role::Sink)
                }
            };
            let place = self.place(t, planned)?;
            let parent = match in_chain.parent {
                None => None,
                Some((p, _)) if p == 0 && crate::plan::is_source(self.root(t)?) => None,
                Some((p, _)) => Some(self.place(t, p)?),
            };
            nodes.push(Node {
                id: spec.id.clone(),
                operator,
                state: self.state(spec, subtask)?,
                parent,
                links: self.links(t, planned)?,
                waker: inbox.waker(WakeTarget::Node(place)),
                metrics: self.metrics(spec, role, subtask),
                seen: EventTime::MIN,
                passed: EventTime::MIN,
                ended: vec![false],
                touched: false,
                always_flush: role == Role::Sink,
            });
        }
        Ok(nodes)
    }

    fn state(&self, spec: &NodeSpec, subtask: Subtask) -> Result<StateStore> {
        let (name, range) = (format!("{}/{}", spec.id, subtask.index), subtask.key_groups());
        match self.start.from.and_then(|c| c.operators.get(&spec.id)) {
            Some(chains) => StateStore::restore(&name, range, self.budget, chains),
            None => Ok(StateStore::new(&name, range, self.budget)),
        }
    }

    fn metrics(&mut self, spec: &NodeSpec, role: Role, subtask: Subtask) -> Arc<NodeMetrics> {
        let metrics = Arc::new(NodeMetrics::default());
        let (id, label) = (spec.id.clone(), spec.label.clone());
        self.registry.nodes.push(NodeEntry { id, label, role, subtask: subtask.index, metrics: metrics.clone() });
        metrics
    }

    fn source(&mut self, t: usize, subtask: Subtask, inbox: &mut Inbox) -> Result<Option<SourceTask>> {
        let spec = self.root(t)?;
        let NodeKind::Source { factory, watermark, .. } = &spec.kind else { return Ok(None) };
        let metrics = self.metrics(spec, Role::Source, subtask);
        let mut reader = factory.reader()?;
        let (clock, waker) = (self.options.clock.clone(), inbox.waker(WakeTarget::Reader));
        reader.open(&ReaderContext { subtask, waker, clock, metrics: metrics.clone() })?;
        let splits = self.start.from.and_then(|c| c.sources.get(&spec.id)).map(|s| &s.splits);
        let restored: HashMap<String, EventTime> =
            splits.into_iter().flatten().map(|(id, s)| (id.clone(), s.watermark)).collect();
        let epochs = self.graph.has_epochs() || self.options.force_epochs;
        let idle_after = if factory.bounded() { None } else { self.options.idle_timeout };
        Ok(Some(SourceTask::new(SourceParts {
            id: spec.id.clone(),
            index: t,
            subtask: subtask.index,
            reader,
            strategy: watermark.as_ref().map(|w| w()).transpose()?,
            links: self.links(t, 0)?,
            metrics,
            times: SplitTimes::new(idle_after),
            batch_rows: self.options.batch_rows,
            watermark_interval: self.options.watermark_interval,
            epoch_bytes: if epochs { self.options.epoch_max_bytes } else { u64::MAX },
            restored,
        })))
    }
}

/// Opens the operators of a chain, on the task's own thread: restoring state is work.
pub(crate) fn open_nodes(nodes: &mut [Node], subtask: Subtask, clock: &crate::clock::Clock) -> Result<()> {
    for node in nodes {
        let (waker, metrics): (Waker, _) = (node.waker.clone(), node.metrics.clone());
        let mut open = Open { state: &mut node.state, subtask, clock, waker, metrics };
        node.operator.open(&mut open).map_err(|e| e.context(format!("open `{}`", node.id)))?;
        node.state.finish_restore()?;
    }
    Ok(())
}
