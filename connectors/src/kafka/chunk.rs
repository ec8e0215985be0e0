//! Records that wait for their checkpoint: packed into chunks by a subtask of the sink, unpacked by the committer that publishes
//! them. A chunk becomes one transaction.
//!
//! ```text
//! magic "TKR1", or "TKR2" where some have no value, records u32, then zstd of the records, each:
//! flags u8 (1 key, 2 timestamp, 4 headers, 8 no value), partition i32, [key], [value], [timestamp i64],
//! [headers: count u32, each name, present u8, value if present]
//! ```
//! Texts and byte strings are a length u32 and the bytes; numbers are little endian.
//!
//! Invariants
//! - U1 what was packed is unpacked, in order; bytes that are no chunk are an error, never a panic.

use super::producer::{Extras, Outgoing};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

const MAGIC: &[u8; 4] = b"TKR1";
/// Of chunks that a reader of the first kind would not understand.
const MAGIC_TOMBSTONES: &[u8; 4] = b"TKR2";
const KEY: u8 = 1;
const TIMESTAMP: u8 = 2;
const HEADERS: u8 = 4;
const NO_VALUE: u8 = 8;
/// Bytes of records, unpacked, from which on a chunk is finished. A transaction of it takes about a tenth of a second.
const CHUNK_BYTES: usize = 16 << 20;
/// Fast, and records of one table have much in common.
const LEVEL: i32 = 1;
/// What nobody unpacks: a chunk and one record more.
const UNPACKED_MAX: usize = 1 << 30;

/// Packs records.
#[derive(Default)]
pub(super) struct Packer {
    raw: Vec<u8>,
    records: u32,
    has_tombstones: bool,
}

impl Packer {
    /// Adds a record; a finished chunk comes back now and then.
    pub(super) fn add(&mut self, record: &Outgoing<'_>, extras: Option<&Extras>) -> Result<Option<Arc<[u8]>>> {
        let timestamp = extras.and_then(|e| e.timestamp);
        let headers = extras.and_then(|e| e.headers.as_ref());
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        self.raw.push(
            flag(record.key.is_some(), KEY)
                | flag(timestamp.is_some(), TIMESTAMP)
                | flag(headers.is_some(), HEADERS)
                | flag(record.value.is_none(), NO_VALUE),
        );
        self.raw.extend(record.partition.to_le_bytes());
        if let Some(key) = record.key {
            self.bytes(key)?;
        }
        match record.value {
            Some(value) => self.bytes(value)?,
            None => self.has_tombstones = true,
        }
        if let Some(timestamp) = timestamp {
            self.raw.extend(timestamp.to_le_bytes());
        }
        if let Some(headers) = headers {
            self.raw.extend((headers.count() as u32).to_le_bytes());
            for header in headers.iter() {
                self.bytes(header.key.as_bytes())?;
                self.raw.push(u8::from(header.value.is_some()));
                if let Some(value) = header.value {
                    self.bytes(value)?;
                }
            }
        }
        self.records += 1;
        if self.raw.len() < CHUNK_BYTES { Ok(None) } else { self.finish() }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let length =
            u32::try_from(bytes.len()).map_err(|_| Error::user(format!("a record of {} bytes", bytes.len())))?;
        self.raw.extend(length.to_le_bytes());
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    /// The chunk that was begun, if there is one.
    pub(super) fn finish(&mut self) -> Result<Option<Arc<[u8]>>> {
        if self.records == 0 {
            return Ok(None);
        }
        let packed =
            zstd::bulk::compress(&self.raw, LEVEL).map_err(|e| Error::internal(format!("pack records: {e}")))?;
        let magic = if std::mem::take(&mut self.has_tombstones) { MAGIC_TOMBSTONES } else { MAGIC };
        let chunk = [magic, self.records.to_le_bytes().as_slice(), &packed].concat();
        self.raw.clear();
        self.records = 0;
        Ok(Some(chunk.into()))
    }

    /// Bytes of records that are in no chunk yet.
    pub(super) fn begun_bytes(&self) -> usize {
        self.raw.len()
    }
}

/// The records of a chunk.
pub(super) struct Unpacked {
    raw: Vec<u8>,
    records: u32,
}

impl Unpacked {
    /// Unpacks a chunk. Errors: `external` if it is none.
    pub(super) fn new(chunk: &[u8]) -> Result<Unpacked> {
        let chunk = chunk.strip_prefix(MAGIC).or_else(|| chunk.strip_prefix(MAGIC_TOMBSTONES));
        let head = chunk.and_then(<[u8]>::split_first_chunk::<4>);
        let (records, packed) = head.ok_or_else(|| broken("its head"))?;
        let raw = zstd::bulk::decompress(packed, UNPACKED_MAX).map_err(broken)?;
        Ok(Unpacked { raw, records: u32::from_le_bytes(*records) })
    }

    /// Calls `take` with every record, in order.
    pub(super) fn each(&self, mut take: impl FnMut(Outgoing<'_>, Option<Extras>) -> Result<()>) -> Result<()> {
        let mut rest = Reader(&self.raw);
        for _ in 0..self.records {
            let flags = rest.byte()?;
            let partition = i32::from_le_bytes(rest.array()?);
            let key = if flags & KEY != 0 { Some(rest.bytes()?) } else { None };
            let value = if flags & NO_VALUE == 0 { Some(rest.bytes()?) } else { None };
            let timestamp = if flags & TIMESTAMP != 0 { Some(i64::from_le_bytes(rest.array()?)) } else { None };
            let headers = if flags & HEADERS != 0 { Some(rest.headers()?) } else { None };
            let extras = (timestamp.is_some() || headers.is_some()).then_some(Extras { timestamp, headers });
            take(Outgoing { key, value, partition }, extras)?;
        }
        if rest.0.is_empty() { Ok(()) } else { Err(broken("bytes behind the last record")) }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| broken("it ends in a record"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| broken("it ends in a record"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn headers(&mut self) -> Result<OwnedHeaders> {
        let mut headers = OwnedHeaders::new();
        for _ in 0..u32::from_le_bytes(self.array()?) {
            let key = std::str::from_utf8(self.bytes()?).map_err(broken)?;
            let value = if self.byte()? != 0 { Some(self.bytes()?) } else { None };
            headers = headers.insert(Header { key, value });
        }
        Ok(headers)
    }
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::external(format!("read rows that were not published: {what}")).with_retry(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::rng::Rng;

    type Read = (Option<Vec<u8>>, Option<Vec<u8>>, i32, Option<i64>, Vec<(String, Option<Vec<u8>>)>);

    fn unpacked(chunks: &[Arc<[u8]>]) -> Vec<Read> {
        let mut out = vec![];
        for chunk in chunks {
            let unpacked = Unpacked::new(chunk).unwrap();
            unpacked
                .each(|r, extras| {
                    let timestamp = extras.as_ref().and_then(|e| e.timestamp);
                    let headers = extras.as_ref().and_then(|e| e.headers.as_ref());
                    let headers = headers.into_iter().flat_map(|h| h.iter());
                    let headers = headers.map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect();
                    out.push((r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), r.partition, timestamp, headers));
                    Ok(())
                })
                .unwrap();
        }
        out
    }

    #[test]
    fn records_come_back_as_they_were_over_several_chunks() {
        let (mut rng, mut packer, mut chunks, mut expected) = (Rng::new(5), Packer::default(), vec![], vec![]);
        for i in 0..40_000i32 {
            let value: Vec<u8> = (0..rng.below(900)).map(|_| rng.below(256) as u8).collect();
            let value = Some(value).filter(|_| rng.below(64) > 0);
            let key = rng.percent(50).then(|| i.to_le_bytes().to_vec());
            let timestamp = rng.percent(30).then_some(i64::from(i) - 5);
            let headers: Vec<_> = (0..rng.below(3)).map(|h| (format!("h{h}"), (h > 0).then(|| vec![1, 2]))).collect();
            let owned = headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_deref() }));
            let extras = Extras { timestamp, headers: (!headers.is_empty()).then_some(owned) };
            let record = Outgoing { key: key.as_deref(), value: value.as_deref(), partition: i % 5 - 1 };
            chunks.extend(packer.add(&record, Some(&extras)).unwrap());
            expected.push((key, value, i % 5 - 1, timestamp, headers));
        }
        chunks.extend(packer.finish().unwrap());
        assert!(chunks.len() > 1 && packer.finish().unwrap().is_none() && packer.begun_bytes() == 0);
        assert_eq!(unpacked(&chunks), expected);
    }

    #[test]
    fn bytes_that_are_no_chunk_are_an_error() {
        let mut packer = Packer::default();
        let record = Outgoing { key: Some(b"k"), value: Some(b"value"), partition: 0 };
        packer.add(&record, None).unwrap();
        let chunk = packer.finish().unwrap().unwrap();
        for length in 0..chunk.len() {
            let cut = Unpacked::new(&chunk[..length]).and_then(|u| u.each(|_, _| Ok(())));
            assert!(cut.is_err(), "{length}");
        }
        let mut more = chunk.to_vec();
        more[4] = 2;
        assert!(Unpacked::new(&more).unwrap().each(|_, _| Ok(())).is_err(), "a record more than there is");
    }
}
