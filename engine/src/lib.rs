//! The runtime of Thalweg: graphs of partitioned operator tasks over Arrow record batches, their exchange, time and state.
//! Knows no SQL and no connector. `ARCHITECTURE.md` has the map.

mod align;
pub mod batch;
mod chain;
pub mod checkpoint;
pub mod clock;
mod coordinator;
mod driver;
pub mod error;
pub mod failpoint;
mod frontier;
mod gate;
pub mod graph;
mod inbox;
pub mod job;
pub mod key;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod operator;
mod output;
pub mod partition;
mod persist;
pub mod plan;
mod report;
pub mod restart;
pub mod rng;
pub mod s3;
pub mod sink;
mod sink_node;
pub mod source;
mod source_task;
pub mod split;
pub mod state;
mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod thread;
pub mod time;
mod timer;
pub mod type_name;
pub mod wire;
mod wiring;

pub use batch::{Batch, StreamKind};
pub use checkpoint::Checkpoint;
pub use error::{Error, ErrorKind, Result};
pub use graph::{Graph, Input, NodeId, NodeKind, NodeSpec, Partitioning};
pub use job::{Ending, Job, JobHandle, JobOptions, Outcome};
pub use key::{KeyGroup, KeyGroupRange};
pub use message::Waker;
pub use operator::{Context, Flush, Open, Operator, OperatorFactory, OutPort, Port, Subtask};
pub use time::{EventTime, Watermark};
pub use type_name::type_name;
