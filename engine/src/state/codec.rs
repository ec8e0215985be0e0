//! Snapshots as bytes: what later goes to object storage. Called by checkpoints and by tests.
//!
//! ```text
//! magic  8 bytes  "THALWEG\x01"
//! format u16      little endian, see `snapshot::FORMAT`
//! header u32      length of the header in bytes, little endian
//! header JSON     range, full, hash version; per container its name, kind, place in the body and the key groups of each batch
//! body            per container one Arrow IPC file with LZ4 buffers, which any Arrow reader opens
//! ```
//!
//! Invariants
//! - E1 batch `i` of a container's file is its piece `i`, so a reader of some key groups decodes only their batches.
//! - E2 bytes that are no snapshot, or of an unknown version, are an error, never a panic.

use super::snapshot::{ContainerKind, ContainerSnapshot, FORMAT, OperatorSnapshot, Piece};
use crate::error::{Error, Result};
use crate::key::{HASH_VERSION, KeyGroupRange};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use std::io::Cursor;

const MAGIC: &[u8; 8] = b"THALWEG\x01";

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    hash_version: u16,
    full: bool,
    range: KeyGroupRange,
    containers: Vec<HeaderContainer>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct HeaderContainer {
    name: String,
    kind: ContainerKind,
    bytes: u64,
    groups: Vec<Option<KeyGroupRange>>,
}

impl OperatorSnapshot {
    /// The snapshot as bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut containers = Vec::with_capacity(self.containers.len());
        for container in &self.containers {
            let start = body.len();
            let mut writer = FileWriter::try_new_with_options(&mut body, &container.schema, options.clone())?;
            container.pieces.iter().try_for_each(|piece| writer.write(&piece.rows))?;
            writer.finish()?;
            drop(writer);
            containers.push(HeaderContainer {
                name: container.name.clone(),
                kind: container.kind,
                bytes: (body.len() - start) as u64,
                groups: container.pieces.iter().map(|p| p.groups).collect(),
            });
        }
        let header = Header { hash_version: HASH_VERSION, full: self.full, range: self.range, containers };
        let header = serde_json::to_vec(&header).map_err(|e| Error::internal(format!("snapshot header: {e}")))?;
        let length = u32::try_from(header.len()).map_err(|e| Error::internal(format!("snapshot header: {e}")))?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 6 + header.len() + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads the pieces that a restore of `range` needs. Errors: `external` if the bytes are no snapshot, or one of a format or
    /// hash that this build does not know.
    pub fn from_bytes(bytes: &[u8], range: KeyGroupRange) -> Result<OperatorSnapshot> {
        let (header, mut body) = split_header(bytes)?;
        let mut containers = Vec::with_capacity(header.containers.len());
        for container in header.containers {
            let length = usize::try_from(container.bytes).unwrap_or(usize::MAX);
            let Some((file, rest)) = body.split_at_checked(length) else {
                return Err(broken(format!("container `{}` is cut off", container.name)));
            };
            body = rest;
            containers.push(read_container(container, file, range)?);
        }
        Ok(OperatorSnapshot { format: FORMAT, full: header.full, range: header.range, containers })
    }
}

fn broken(text: impl std::fmt::Display) -> Error {
    Error::external(format!("read snapshot: {text}")).with_retry(false)
}

fn split_header(bytes: &[u8]) -> Result<(Header, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("the first bytes are not those of a snapshot"))?;
    let Some((format, rest)) = rest.split_first_chunk::<2>() else { return Err(broken("it ends in the header")) };
    let format = u16::from_le_bytes(*format);
    if format != FORMAT {
        return Err(broken(format!("format {format}, this build reads {FORMAT}")));
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Err(broken("it ends in the header")) };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((header, body)) = rest.split_at_checked(length) else { return Err(broken("it ends in the header")) };
    let header: Header = serde_json::from_slice(header).map_err(|e| broken(format!("header: {e}")))?;
    if header.hash_version != HASH_VERSION {
        return Err(broken(format!("hash version {}, this build has {HASH_VERSION}", header.hash_version)));
    }
    Ok((header, body))
}

fn read_container(header: HeaderContainer, file: &[u8], range: KeyGroupRange) -> Result<ContainerSnapshot> {
    let HeaderContainer { name, kind, groups, .. } = header;
    let failed = |e: &dyn std::fmt::Display| broken(format!("container `{name}`: {e}"));
    let mut reader = FileReader::try_new(Cursor::new(file), None).map_err(|e| failed(&e))?;
    if reader.num_batches() != groups.len() {
        return Err(failed(&format!("{} batches, the header says {}", reader.num_batches(), groups.len())));
    }
    let schema = reader.schema();
    let mut pieces = Vec::new();
    for (batch, groups) in groups.into_iter().enumerate() {
        if groups.is_none_or(|g| g.intersects(&range)) {
            reader.set_index(batch).map_err(|e| failed(&e))?;
            let rows = reader.next().ok_or_else(|| failed(&"a batch is missing"))?.map_err(|e| failed(&e))?;
            pieces.push(Piece { groups, rows });
        }
    }
    Ok(ContainerSnapshot { name, kind, schema, pieces })
}
