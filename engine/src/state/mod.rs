//! The containers that operators keep state in. Operators declare them in `open`, get them restored, and write no snapshot code:
//! the task freezes all of them at a barrier and restores them for any range of key groups.
//!
//! | container | for | redistributed by |
//! |---|---|---|
//! | [`KeyedTable`] | one entry per key: keys and values as columns | the key's group |
//! | [`Multimap`] | rows with weights by a key that is not theirs alone: the sides of a join | the key's group |
//! | [`Slices`] | a keyed table per slice of event time, dropped whole | the key's group |
//! | [`Cells`] | small named values | their key group, or all to everyone |
//!
//! A batch is handled in columns: hash the keys once, `intern` them into row handles, then one loop per value column. Handles die
//! with the batch. A window operator reads its slices through a cursor and drops them:
//!
//! ```
//! use arrow::array::{ArrayRef, AsArray, Int64Array};
//! use arrow::datatypes::{DataType, Field, Int64Type};
//! use std::sync::Arc;
//! use thalweg_engine::key::{KeyGroupRange, hash_rows};
//! use thalweg_engine::state::{Budget, Cursor, StateStore, TableSpec, ValueColumn};
//!
//! # fn main() -> thalweg_engine::Result<()> {
//! let budget = Budget::unlimited("tm");
//! let mut store = StateStore::new("hot-items", KeyGroupRange::ALL, &budget);
//! // In `open`: what the operator keeps. It is already restored on return.
//! let spec = TableSpec::new(
//!     [Arc::new(Field::new("auction", DataType::Int64, false))],
//!     [ValueColumn::new("count", 0i64), ValueColumn::new("max_price", i64::MIN)],
//! );
//! let slices = store.slices("windows", spec)?;
//!
//! // In `process`: the rows of one batch that fall into the slice ending at 10 s.
//! let auction: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
//! let price = Int64Array::from(vec![100, 50, 120]);
//! let (mut hashes, mut rows) = (vec![], vec![]);
//! hash_rows(&[auction.clone()], auction.len(), &mut hashes)?;
//! let mut slices = slices.lock();
//! let table = slices.slice(10_000)?;
//! table.intern(&[auction], &hashes, &mut rows)?;
//! table.column_mut::<i64>(0)?.update(&rows, |_, count| *count += 1);
//! let price = price.values();
//! table.column_mut::<i64>(1)?.update(&rows, |i, max| *max = (*max).max(price[i]));
//!
//! // In `on_frontier`: emit the slice in chunks, as Arrow columns, then drop it.
//! let mut cursor = Cursor::default();
//! let mut seen = vec![];
//! if let Some(table) = slices.get_mut(10_000) {
//!     while table.scan(&mut cursor, 4096, &mut rows)? {
//!         let keys = table.keys(&rows)?;
//!         let counts = table.values(0, &rows)?;
//!         seen.extend(keys[0].as_primitive::<Int64Type>().values().iter().zip(counts.as_primitive::<Int64Type>().values())
//!             .map(|(k, c)| (*k, *c)));
//!     }
//! }
//! slices.drop_through(10_000);
//! assert_eq!(seen, [(7, 2), (8, 1)]);
//! assert!(slices.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! The task's side: [`StateStore::freeze`] at the barrier (cheap: pages are shared, copied on the next write),
//! [`FrozenState::encode`] on any thread, [`StateStore::restore`] from the snapshots of all old subtasks.

mod bits;
mod budget;
mod bytes;
mod cells;
mod codec;
mod frozen;
mod index;
mod keys;
mod leaf;
mod multimap;
mod page;
pub mod reader;
mod slices;
mod snapshot;
mod spill;
mod store;
mod table;
mod values;

pub use budget::{Budget, Charge};
pub use bytes::BytesColumn;
pub use cells::Cells;
pub use multimap::{Evicted, Matches, Multimap, MultimapSpec, Probe};
pub use page::{Column, Fixed};
pub use slices::Slices;
pub use snapshot::{Chain, ContainerKind, ContainerSnapshot, FORMAT, InStorage, Link, OperatorSnapshot, Piece};
pub use spill::SpillArea;
pub use store::{FrozenState, State, StateStore};
pub use table::{Cursor, KeyedTable};
pub use values::{Initial, Stored, TableSpec, ValueColumn, Values};
