//! The runtime of Thalweg: graphs of partitioned operator tasks over Arrow record batches, their exchange, time and state.
//! Knows no SQL and no connector. `ARCHITECTURE.md` has the map.

pub mod batch;
mod chain;
pub mod clock;
pub mod error;
pub mod graph;
pub mod key;
pub mod message;
pub mod metrics;
pub mod operator;
pub mod rng;
pub mod sink;
pub mod source;
pub mod state;
pub mod time;

pub use batch::Batch;
pub use error::{Error, ErrorKind, Result};
pub use graph::{Graph, Input, NodeId, NodeKind, NodeSpec, Partitioning};
pub use key::{KeyGroup, KeyGroupRange};
pub use message::Waker;
pub use operator::{Context, Flush, Open, Operator, OperatorFactory, OutPort, Port, Subtask};
pub use time::{EventTime, Watermark};
