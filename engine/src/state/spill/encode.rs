//! What a frozen table has on disk, as parts of a snapshot that are small enough to be in memory one at a time. Runs on any thread.

use super::disk::{Codec, Graves};
use super::merge::Merge;
use super::run::{Run, flag};
use crate::error::Result;
use crate::key::{KeyGroup, KeyGroupRange, hash_rows};
use crate::state::frozen::batch;
use crate::state::snapshot::{Piece, kind};
use crate::state::values::{TableSpec, absent};
use arrow::array::{ArrayRef, Int64Array, UInt8Array, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Bytes of entries in a part, about.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// Rows of a piece.
const PIECE_ROWS: usize = 8192;

/// Entries of one kind, gathered.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where the key and the values of each end.
    ends: Vec<(usize, usize)>,
}

impl Gathered {
    fn add(&mut self, key: &[u8], values: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(values);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// Key and values of each.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        starts.zip(&self.ends).map(move |(start, (key, end))| (part(start, *key), part(*key, *end)))
    }
}

/// What a frozen table has on disk.
#[derive(Default)]
pub(crate) struct OnDisk {
    /// Oldest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// What is gone since. If the snapshots have it, the pages say so.
    pub(crate) graves: Graves,
    pub(crate) full: bool,
}

/// Hands the entries of runs on, as pieces of one part after the other: all of them if `full`, else what the snapshots lack.
pub(crate) fn parts(
    OnDisk { runs, graves, full }: &OnDisk,
    spec: &TableSpec,
    schema: &SchemaRef,
    slice: Option<i64>,
    each: &mut dyn FnMut(Vec<Piece>) -> Result<()>,
) -> Result<()> {
    let codecs = (Codec::keys(spec)?, Codec::values(spec)?);
    let mut merge = Merge::new(runs);
    let mut gathered = [Gathered::default(), Gathered::default()];
    while let Some((entry, _)) = merge.next()? {
        let has = |flag: u8| entry.flags & flag != 0;
        let is_known = if *full { has(flag::GONE) } else { !has(flag::DIRTY) };
        let is_gone_since = || !graves.is_empty() && graves.contains_key(&(entry.hash, entry.key.into()));
        if is_known || !has(flag::GONE) && is_gone_since() {
            continue;
        }
        let kind = if has(flag::GONE) { kind::DELETE } else { kind::UPSERT };
        let to = &mut gathered[usize::from(kind)];
        to.add(entry.key, entry.values);
        if to.bytes.len() >= PART_BYTES {
            each(pieces(std::mem::take(to), kind, &codecs, spec, schema, slice)?)?;
        }
    }
    for (kind, rest) in [kind::UPSERT, kind::DELETE].into_iter().zip(gathered) {
        if !rest.ends.is_empty() {
            each(pieces(rest, kind, &codecs, spec, schema, slice)?)?;
        }
    }
    Ok(())
}

/// The entries in order of their key groups.
fn pieces(
    gathered: Gathered,
    of_kind: u8,
    (keys, values): &(Codec, Codec),
    spec: &TableSpec,
    schema: &SchemaRef,
    slice: Option<i64>,
) -> Result<Vec<Piece>> {
    let rows = gathered.ends.len();
    let mut columns = keys.decode(gathered.each().map(|(key, _)| key))?;
    let mut hashes = Vec::new();
    hash_rows(columns.get(..spec.group_columns()).unwrap_or(&columns), rows, &mut hashes)?;
    let groups: Vec<u8> = hashes.iter().map(|hash| KeyGroup::of(*hash).0).collect();
    match of_kind {
        kind::DELETE => columns.extend(spec.values().iter().map(|v| absent(v.data_type(), rows))),
        _ => columns.extend(values.decode(gathered.each().map(|(_, values)| values))?),
    }
    drop(gathered);
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by_key(|i| groups.get(*i as usize));
    let group_at = |i: &u32| groups.get(*i as usize).copied().unwrap_or_default();
    let mut out = Vec::with_capacity(rows.div_ceil(PIECE_ROWS));
    for order in order.chunks(PIECE_ROWS) {
        let (first, last) = (order.first().map_or(0, group_at), order.last().map_or(0, group_at));
        let taken: UInt32Array = order.to_vec().into();
        let mut piece: Vec<ArrayRef> =
            columns.iter().map(|c| Ok(compute::take(c, &taken, None)?)).collect::<Result<_>>()?;
        piece.push(Arc::new(UInt8Array::from(vec![of_kind; order.len()])));
        piece.push(Arc::new(order.iter().map(|i| Some(group_at(i))).collect::<UInt8Array>()));
        if let Some(end) = slice {
            piece.push(Arc::new(Int64Array::from(vec![end; order.len()])));
        }
        let groups = Some(KeyGroupRange { start: first.into(), end: u16::from(last) + 1 });
        out.push(Piece { groups, rows: batch(schema, piece)? });
    }
    Ok(out)
}
