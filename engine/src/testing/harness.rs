//! The operator harness: runs one operator through a script in every way that must not matter.
//!
//! ```
//! use thalweg_engine::testing::harness::{Script, check};
//! use thalweg_engine::testing::{operators::KeyedSum, rows::int_batch};
//!
//! let script = Script::new(vec![0]) // rows go to subtasks by column 0
//!     .rows(0, int_batch(["key", "value"], &[[1, 10], [2, 5]]))
//!     .rows(0, int_batch(["key", "value"], &[[1, 1]]))
//!     .frontier(100)
//!     .end();
//! let answer = check(&KeyedSum::factory(0, 1), &script);
//! assert_eq!(answer.main.get("1|11"), Some(&1));
//! ```

use super::rows::{ZSet, zset};
use crate::batch::Batch;
use crate::chain::{Exits, Link, Node, Target, call, feed};
use crate::clock::{Clock, Deadline};
use crate::error::Result;
use crate::graph::Partitioning;
use crate::message::{Barrier, Waker};
use crate::metrics::NodeMetrics;
use crate::operator::{Flush, OperatorFactory, OutPort, Port, Subtask};
use crate::partition::Partitioner;
use crate::rng::Rng;
use crate::sink::Prepared;
use crate::state::{Budget, Chain, StateStore};
use crate::time::EventTime;
use crate::wiring::open_nodes;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happens to an operator.
#[derive(Clone, Debug)]
pub enum Step {
    /// Rows come in.
    Rows(Port, Batch),
    /// The frontier rises.
    Frontier(EventTime),
    /// An epoch ends.
    Barrier,
    /// The wall clock and the monotonic clock move on.
    Advance(Duration),
    /// All inputs have ended: event time goes to its end, then a barrier.
    End,
}

/// What happens to an operator, and how its input is spread over subtasks.
#[derive(Clone, Debug)]
pub struct Script {
    keys: Vec<Vec<usize>>,
    steps: Vec<Step>,
}

impl Script {
    /// Rows of every port are spread by these columns.
    pub fn new(keys: Vec<usize>) -> Script {
        Script { keys: vec![keys], steps: vec![] }
    }

    /// Rows of each port are spread by the columns of its own.
    pub fn with_ports(keys: Vec<Vec<usize>>) -> Script {
        Script { keys, steps: vec![] }
    }

    /// Adds a step.
    pub fn step(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }

    /// Adds rows.
    pub fn rows(self, port: u8, batch: Batch) -> Script {
        self.step(Step::Rows(Port(port), batch))
    }

    /// Raises the frontier.
    pub fn frontier(self, millis: i64) -> Script {
        self.step(Step::Frontier(EventTime(millis)))
    }

    /// Ends an epoch.
    pub fn barrier(self) -> Script {
        self.step(Step::Barrier)
    }

    /// Ends all inputs.
    pub fn end(self) -> Script {
        self.step(Step::End)
    }

    fn keys(&self, port: Port) -> Vec<usize> {
        self.keys.get(usize::from(port.0)).or(self.keys.first()).cloned().unwrap_or_default()
    }

    /// The same script with its rows cut into pieces; `size` is asked for each.
    fn cut(&self, mut size: impl FnMut() -> usize) -> Script {
        let mut steps = vec![];
        for step in &self.steps {
            let Step::Rows(port, batch) = step else {
                steps.push(step.clone());
                continue;
            };
            let mut at = 0;
            while at < batch.num_rows() {
                let n = size().clamp(1, batch.num_rows() - at);
                steps.push(Step::Rows(*port, batch.slice(at, n)));
                at += n;
            }
        }
        Script { keys: self.keys.clone(), steps }
    }
}

/// What an operator gave, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Rows of the main output.
    pub main: ZSet,
    /// Rows of the late output.
    pub late: ZSet,
    /// The number of late rows that were counted.
    pub late_rows: u64,
}

/// Runs the script whole; row by row; in random pieces; with a freeze and restore after every step; and at parallelism 2, 3, 1 in
/// turn, restored after every step. Panics if the answers differ; returns the answer.
pub fn check(factory: &Arc<dyn OperatorFactory>, script: &Script) -> Answer {
    check_ports(factory, script, 1)
}

/// [`check`] for an operator with several inputs.
pub fn check_ports(factory: &Arc<dyn OperatorFactory>, script: &Script, ports: usize) -> Answer {
    let whole = run(factory, script, ports, &[1], 0);
    let pieces = [("row by row", 1usize), ("by sevens", 7)];
    for (name, size) in pieces {
        assert_eq!(run(factory, &script.cut(|| size), ports, &[1], 0), whole, "{name}");
    }
    let mut rng = Rng::new(script.steps.len() as u64);
    let random = script.cut(|| 1 + rng.below(50) as usize);
    assert_eq!(run(factory, &random, ports, &[1], 0), whole, "in random pieces");
    assert_eq!(run(factory, &random, ports, &[1], 1), whole, "restored after every step");
    assert_eq!(run(factory, script, ports, &[2, 3, 1, 5], 1), whole, "restored at 2, 3, 1, 5 after every step");
    whole
}

/// Runs a script; after every `restore_every` steps (0 = never) at the next parallelism of the list, in turn.
pub fn run(
    factory: &Arc<dyn OperatorFactory>,
    script: &Script,
    ports: usize,
    parallelism: &[u32],
    restore_every: usize,
) -> Answer {
    let clock = Clock::fake(0);
    let mut turn = 0;
    let at = |turn: &mut usize| {
        *turn += 1;
        parallelism[(*turn - 1) % parallelism.len()]
    };
    let mut fleet = Fleet::new(factory, ports, at(&mut turn), &clock, &[], EventTime::MIN);
    let mut late_rows = 0;
    let (mut main, mut late) = (vec![], vec![]);
    for (i, step) in script.steps.iter().enumerate() {
        fleet.step(script, step).unwrap();
        if restore_every > 0 && (i + 1) % restore_every == 0 {
            fleet.step(script, &Step::Barrier).unwrap();
            fleet.collect(&mut main, &mut late, &mut late_rows);
            let chains = fleet.freeze();
            fleet = Fleet::new(factory, ports, at(&mut turn), &clock, &chains, fleet.frontier);
        }
    }
    fleet.collect(&mut main, &mut late, &mut late_rows);
    Answer { main: zset(&main), late: zset(&late), late_rows }
}

/// Runs a script whole, in one subtask: the batches of the main output as they came.
pub fn emitted(factory: &Arc<dyn OperatorFactory>, script: &Script, ports: usize) -> Result<Vec<Batch>> {
    let clock = Clock::fake(0);
    let mut fleet = Fleet::new(factory, ports, 1, &clock, &[], EventTime::MIN);
    script.steps.iter().try_for_each(|step| fleet.step(script, step))?;
    let (mut main, mut late, mut late_rows) = (vec![], vec![], 0);
    fleet.collect(&mut main, &mut late, &mut late_rows);
    Ok(main)
}

/// All subtasks of one operator, each a chain of one node.
struct Fleet {
    nodes: Vec<Vec<Node>>,
    exits: Vec<Capture>,
    chains: Vec<Chain>,
    ports: usize,
    frontier: EventTime,
}

/// Collects what leaves the chain; edge number = output port.
struct Capture {
    out: Vec<(OutPort, Batch)>,
    clock: Clock,
    timers: Vec<Deadline>,
    epoch: u64,
}

impl Exits for Capture {
    fn emit(&mut self, edge: usize, batch: Batch) -> Result<()> {
        self.out.push((OutPort(edge as u8), batch));
        Ok(())
    }
    fn wake_at(&mut self, _node: usize, deadline: Deadline) {
        self.timers.push(deadline);
    }
    fn clock(&self) -> &Clock {
        &self.clock
    }
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn barrier(&self) -> Option<Barrier> {
        Some(Barrier { epoch: self.epoch, checkpoint: true, last: None })
    }
    fn put_prepared(&mut self, _node: usize, _prepared: Prepared) {}
}

impl Fleet {
    fn new(
        factory: &Arc<dyn OperatorFactory>,
        ports: usize,
        parallelism: u32,
        clock: &Clock,
        chains: &[Chain],
        frontier: EventTime,
    ) -> Fleet {
        let (mut nodes, mut exits) = (vec![], vec![]);
        for index in 0..parallelism {
            let subtask = Subtask { index, parallelism };
            let mut chain = vec![node(factory, ports, subtask, chains)];
            open_nodes(&mut chain, subtask, clock).unwrap();
            nodes.push(chain);
            exits.push(Capture { out: vec![], clock: clock.clone(), timers: vec![], epoch: 1 });
        }
        let mut fleet = Fleet { nodes, exits, chains: chains.to_vec(), ports, frontier: EventTime::MIN };
        if frontier > EventTime::MIN {
            fleet.raise(frontier).unwrap();
        }
        fleet
    }

    fn step(&mut self, script: &Script, step: &Step) -> Result<()> {
        match step {
            Step::Rows(port, batch) => {
                let keys = Partitioning::Hash(script.keys(*port));
                let mut split = Partitioner::new(keys, None, self.nodes.len() as u32);
                let (nodes, exits) = (&mut self.nodes, &mut self.exits);
                split.split(batch.clone(), |s, rows| feed(&mut nodes[s], 0, 0, *port, rows, &mut exits[s]))
            }
            Step::Frontier(time) => self.raise(*time),
            Step::Barrier => self.flush(),
            Step::Advance(by) => {
                self.exits[0].clock.advance(*by);
                self.wake()
            }
            Step::End => {
                self.raise(EventTime::MAX)?;
                for port in 0..self.ports {
                    let end = Port(port as u8);
                    self.each(|chain, exits| call(chain, 0, 0, exits, |op, ctx| op.on_end(end, ctx)))?;
                }
                self.flush()
            }
        }
    }

    fn each(&mut self, mut f: impl FnMut(&mut [Node], &mut Capture) -> Result<()>) -> Result<()> {
        self.nodes.iter_mut().zip(&mut self.exits).try_for_each(|(chain, exits)| f(chain, exits))
    }

    fn raise(&mut self, now: EventTime) -> Result<()> {
        let now = self.frontier.max(now);
        self.frontier = now;
        self.each(|chain, exits| {
            let through = call(chain, 0, 0, exits, |op, ctx| op.on_frontier(now, ctx))?;
            assert!(through <= now, "let {through} through at {now}");
            assert!(through >= chain[0].passed, "the watermark went back from {} to {through}", chain[0].passed);
            chain[0].passed = through;
            Ok(())
        })
    }

    fn wake(&mut self) -> Result<()> {
        self.each(|chain, exits| {
            let now = exits.clock.now();
            let due = exits.timers.iter().any(|t| *t <= now);
            exits.timers.retain(|t| *t > now);
            if due { call(chain, 0, 0, exits, |op, ctx| op.on_wake(ctx)) } else { Ok(()) }
        })
    }

    /// Flushes until done; an operator that waits for a waker gets a wake for each try.
    fn flush(&mut self) -> Result<()> {
        self.each(|chain, exits| {
            for _ in 0..10_000 {
                match call(chain, 0, 0, exits, |op, ctx| op.flush(ctx))? {
                    Flush::Done => {
                        exits.epoch += 1;
                        return Ok(());
                    }
                    Flush::Pending => call(chain, 0, 0, exits, |op, ctx| op.on_wake(ctx))?,
                }
            }
            panic!("a flush stays pending")
        })
    }

    fn collect(&mut self, main: &mut Vec<Batch>, late: &mut Vec<Batch>, late_rows: &mut u64) {
        for (chain, exits) in self.nodes.iter().zip(&mut self.exits) {
            *late_rows += chain[0].metrics.late_rows.get();
            for (port, batch) in exits.out.drain(..) {
                match port {
                    OutPort::MAIN => main.push(batch),
                    OutPort::LATE => late.push(batch),
                    _ => {}
                }
            }
        }
    }

    /// The chains of all subtasks: the next fleet's first freeze is full, so they start anew with each.
    fn freeze(&mut self) -> Vec<Chain> {
        self.chains.clear();
        let freeze = |chain: &mut Vec<Node>| vec![chain[0].state.freeze().encode().unwrap().into()];
        self.nodes.iter_mut().map(freeze).collect()
    }
}

fn node(factory: &Arc<dyn OperatorFactory>, ports: usize, subtask: Subtask, chains: &[Chain]) -> Node {
    let budget = Budget::unlimited("harness");
    let (name, range) = ("operator", subtask.key_groups());
    let state = if chains.is_empty() {
        StateStore::new(name, range, &budget)
    } else {
        StateStore::restore(name, range, &budget, chains).unwrap()
    };
    let link = |port: u8| Link { port: OutPort(port), target: Target::Edge(usize::from(port)) };
    Node {
        id: name.to_owned(),
        operator: factory.operator().unwrap(),
        state,
        parent: None,
        links: (0..8).map(link).collect(),
        waker: Waker::noop(),
        metrics: Arc::new(NodeMetrics::default()),
        seen: EventTime::MIN,
        passed: EventTime::MIN,
        ended: vec![false; ports],
        touched: false,
        always_flush: false,
    }
}
