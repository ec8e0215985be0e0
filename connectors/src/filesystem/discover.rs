//! Finds a table's files and cuts them into splits: small files whole, large uncompressed text by byte ranges, parquet by row
//! groups. Runs when the job starts, off the tasks.
//!
//! Invariants
//! - D1 what is in a split (its bytes, its row groups) is fixed here; files that appear later are not read.
//! - D2 every record belongs to the split in which it starts.

use super::columnar::invalid;
use super::layout::Layout;
use super::options::{Compression, FileFormat, FileOptions};
use super::partition::{typed, values_of_path};
use super::store::{Found, Store, is_remote};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::Split;

/// The size that splits of large files aim at.
pub(super) const SPLIT_BYTES: u64 = 64 << 20;

/// What a reader needs to know of a split; part of every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FileSplit {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) modified_ms: i64,
    /// Text: the bytes in which its records start. Parquet: its row groups.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The values of the partition columns.
    pub(super) partition: BTreeMap<String, Option<String>>,
}

/// Finds the splits. Errors: `user`, naming the folder or file and what is wrong with it.
pub(super) fn discover(table: &str, options: &FileOptions, layout: &Layout, split_bytes: u64) -> Result<Vec<Split>> {
    let found = files(options).map_err(|e| e.context(format!("table `{table}`")))?;
    let mut splits = Vec::new();
    for file in found {
        let partition = partition(&file, layout).map_err(|e| e.context(format!("table `{table}`")))?;
        let ranges = ranges(&file, options, split_bytes).map_err(|e| e.context(format!("table `{table}`")))?;
        let many = ranges.len() > 1;
        for (start, end) in ranges {
            let id = if many { format!("{}#{start}", file.relative) } else { file.relative.clone() };
            let (path, partition) = (file.path.clone(), partition.clone());
            let split = FileSplit { path, bytes: file.bytes, modified_ms: file.modified_ms, start, end, partition };
            let spec = serde_json::to_value(split).map_err(|e| Error::internal(format!("split `{id}`: {e}")))?;
            splits.push(Split { id, spec });
        }
    }
    Ok(splits)
}

fn files(options: &FileOptions) -> Result<Vec<Found>> {
    let mut found = options.store.find(&options.path)?;
    if let Some(pattern) = &options.pattern {
        let matches = |f: &Found| {
            let absolute = if is_remote(&f.path) { Ok(f.path.clone()) } else { std::path::absolute(&f.path) };
            pattern.is_match(&absolute.unwrap_or_else(|_| f.path.clone()).to_string_lossy())
        };
        found.retain(matches);
    }
    Ok(found)
}

/// Takes the partition columns out of the path. Checks that the values are of their types, so that a wrong folder is told at the
/// start.
fn partition(file: &Found, layout: &Layout) -> Result<BTreeMap<String, Option<String>>> {
    let values = values_of_path(file.relative.rsplit_once('/').map_or("", |(folders, _)| folders));
    let mut out = BTreeMap::new();
    for field in &layout.partition {
        let name = field.name();
        let Some(value) = values.get(name) else {
            let text =
                format!("file `{}` is in no folder `{name}=..`, but the table is partitioned by it", file.relative);
            return Err(Error::user(text));
        };
        typed(value.as_deref(), field.data_type())
            .map_err(|e| e.context(format!("file `{}`: partition column `{name}`", file.relative)))?;
        out.insert(name.clone(), value.clone());
    }
    Ok(out)
}

fn ranges(file: &Found, options: &FileOptions, split_bytes: u64) -> Result<Vec<(u64, u64)>> {
    let whole = vec![(0, file.bytes)];
    let compressed = Compression::of_name(&file.relative) != Compression::None;
    match &options.format {
        FileFormat::Parquet(_) => row_groups(file, &options.store, split_bytes),
        _ if file.bytes == 0 => Ok(vec![]),
        // Inside quotes a line end ends no record, and whether a byte is inside is only known from the start.
        FileFormat::Csv(csv) if csv.header || csv.quote.is_some() => Ok(whole),
        _ if compressed || file.bytes <= split_bytes => Ok(whole),
        _ => {
            let parts = file.bytes.div_ceil(split_bytes);
            let bound = |i: u64| (file.bytes / parts) * i;
            Ok((0..parts).map(|i| (bound(i), if i + 1 == parts { file.bytes } else { bound(i + 1) })).collect())
        }
    }
}

fn row_groups(file: &Found, store: &Store, split_bytes: u64) -> Result<Vec<(u64, u64)>> {
    let chunks = store.chunks(&file.path, file.bytes)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(|e| invalid(&file.path, e))?;
    let groups = builder.metadata().row_groups();
    let mut out = Vec::new();
    let (mut start, mut bytes) = (0u64, 0u64);
    for (i, group) in groups.iter().enumerate() {
        bytes += u64::try_from(group.compressed_size()).unwrap_or(0);
        if bytes >= split_bytes || i + 1 == groups.len() {
            out.push((start, i as u64 + 1));
            (start, bytes) = (i as u64 + 1, 0);
        }
    }
    Ok(out)
}
