//! Apache Kafka: a source that assigns partitions itself, and a sink that loses nothing.
//!
//! | file | holds |
//! |---|---|
//! | `options`, `properties` | a table's options, typed; the client's, from an allow-list |
//! | `client`, `error`, `health` | clients, their first contact, whose fault an error is, outages |
//! | `discovery`, `enumerator` | partitions, where they are read from and to; who reads them |
//! | `queue`, `rows`, `metadata` | batches of records from the client; records to rows |
//! | `source`, `reader` | the source, the reader of one subtask |
//! | `table`, `formats` | a declared table to a source or a sink; its record formats |
//! | `sink`, `producer` | the sink and its subtasks; batches of records to the client |
//! | `chunk`, `committer`, `lane` | exactly once: rows that wait for their checkpoint, published in transactions |
//! | `testing` | a cluster for tests and examples |

mod admin;
mod chunk;
mod client;
mod committer;
mod discovery;
mod enumerator;
mod error;
mod formats;
mod health;
mod lane;
mod metadata;
mod options;
mod producer;
mod properties;
mod queue;
mod reader;
mod rows;
mod sink;
mod source;
mod table;
pub mod testing;

pub use formats::{FORMAT_OPTIONS, Formats};
pub use metadata::{METADATA_COLUMNS, MetadataColumn};
pub use options::{
    Bounded, Delivery, KafkaOptions, PartitionOffsets, Partitioner, Startup, TABLE_OPTIONS, ValueFields,
};
pub use properties::{CLIENT_OPTIONS, ClientProperties};
pub use rows::ColumnSource;
pub use sink::{EncoderFactory, IN_FLIGHT_MAX, KafkaSink, SinkLayout, SinkPart};
pub use source::{DecoderFactory, KafkaSource};
pub use table::{FormatRequest, RecordPart, TableColumn, plan_sink, plan_source};
