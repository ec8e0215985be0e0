//! Objects on their way, while their owner does something else: what goes out in parts, what comes in in pieces, a few ahead.
//!
//! Invariants
//! - T1 an object that goes out appears whole, when it is finished; one that is dropped before never appears.
//! - T2 what is on its way takes the memory of a few parts, whatever the object's size: who writes faster than the network waits.
//! - T3 an object that comes in has the size that it had when it was found, or is an error.

use super::bucket::{Bucket, PART_BYTES};
use super::failure::is_absent;
use super::runtime::{Outcome, Ticket, start, start_then};
use crate::error::{Error, Result};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{ObjectStore, PutOptions, PutPayload};
use std::io::Read;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How many parts may wait to go out, and pieces to be read.
const AHEAD: usize = 2;

enum Step {
    Part(Vec<u8>),
    End,
}

/// An object that goes out.
pub struct Outgoing {
    bucket: Bucket,
    key: String,
    path: Path,
    buffer: Vec<u8>,
    /// Of an object that is larger than a part.
    parts: Option<(Sender<Step>, Ticket<Result<()>>)>,
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl Outgoing {
    /// Begins an object, which replaces what may be there; `done` is called when a finished one has arrived, or failed.
    pub fn begin(bucket: &Bucket, key: &str, done: impl FnOnce() + Send + 'static) -> Result<Outgoing> {
        let (key, path) = (key.to_owned(), bucket.path(key)?);
        Ok(Outgoing { bucket: bucket.clone(), key, path, buffer: vec![], parts: None, done: Some(Box::new(done)) })
    }

    /// Adds bytes. Waits if what was added before does not get out.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.buffer.len() + bytes.len() > PART_BYTES {
            let (now, later) = bytes.split_at(PART_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
            let part = std::mem::take(&mut self.buffer);
            self.send(Step::Part(part))?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn send(&mut self, step: Step) -> Result<()> {
        if self.parts.is_none() {
            let (sender, parts) = channel(AHEAD);
            let upload = upload(self.bucket.clone(), self.key.clone(), self.path.clone(), parts);
            self.parts = Some((sender, start_then(upload, then(self.done.take()))?));
        }
        let Some((sender, ticket)) = &self.parts else { return Ok(()) };
        match sender.blocking_send(step) {
            Ok(()) => Ok(()),
            // It ended early, and says why.
            Err(_) => ticket.wait()?.and(Err(Error::internal(format!("`{}` ended before its parts", self.key)))),
        }
    }

    /// Sends the rest. The object is there when the ticket says so.
    pub fn finish(mut self) -> Result<Ticket<Result<()>>> {
        let rest = std::mem::take(&mut self.buffer);
        if self.parts.is_some() {
            self.send(Step::Part(rest))?;
            self.send(Step::End)?;
            let (_, ticket) = self.parts.ok_or_else(|| Error::internal("an upload without parts"))?;
            return Ok(ticket);
        }
        let (bucket, key, path, payload) = (self.bucket, self.key, self.path, PutPayload::from(rest));
        let put = async move {
            let put = bucket.answer(|client| {
                let (path, payload) = (path.clone(), payload.clone());
                async move { client.put_opts(&path, payload, PutOptions::default()).await }
            });
            bucket.done("write", &key, put.await).map(drop)
        };
        start_then(put, then(self.done))
    }
}

fn then(done: Option<Box<dyn FnOnce() + Send>>) -> impl FnOnce() + Send {
    || done.into_iter().for_each(|done| done())
}

async fn upload(bucket: Bucket, key: String, path: Path, mut parts: Receiver<Step>) -> Result<()> {
    let id = bucket.answer(|client| {
        let path = path.clone();
        async move { client.create_multipart(&path).await }
    });
    let id = bucket.done("write", &key, id.await)?;
    let result = send_parts(&bucket, &key, &path, &id, &mut parts).await;
    if !matches!(result, Ok(true)) {
        let abort = bucket.answer(|client| {
            let (path, id) = (path.clone(), id.clone());
            async move { client.abort_multipart(&path, &id).await }
        });
        // What failed before is what counts.
        let _ = abort.await;
    }
    result.map(drop)
}

/// False if the owner has given up.
async fn send_parts(bucket: &Bucket, key: &str, path: &Path, id: &str, parts: &mut Receiver<Step>) -> Result<bool> {
    let mut sent: Vec<PartId> = vec![];
    loop {
        match parts.recv().await {
            None => return Ok(false),
            Some(Step::Part(bytes)) => {
                let (payload, index) = (PutPayload::from(bytes), sent.len());
                let part = bucket.answer(|client| {
                    let (path, id, payload) = (path.clone(), id.to_owned(), payload.clone());
                    async move { client.put_part(&path, &id, index, payload).await }
                });
                sent.push(bucket.done("write", key, part.await)?);
            }
            Some(Step::End) => break,
        }
    }
    let complete = bucket.answer(|client| {
        let (path, id, sent) = (path.clone(), id.to_owned(), sent.clone());
        async move { client.complete_multipart(&path, &id, sent).await }
    });
    match complete.await {
        // An upload that is not known any more was finished by an attempt whose answer was lost.
        Outcome::Failed(e) if is_absent(&e) && matches!(bucket.head(path).await, Outcome::Done(_)) => Ok(true),
        outcome => bucket.done("write", key, outcome).map(|_| true),
    }
}

/// An object that comes in.
pub struct Incoming {
    pieces: Receiver<Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    failed: Option<Error>,
    ended: bool,
}

impl Incoming {
    /// Reads an object of so many bytes from byte `from` on. `wake` is called whenever there is more to read.
    pub fn open(
        bucket: &Bucket,
        key: &str,
        from: u64,
        bytes: u64,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Incoming> {
        let (sender, pieces) = channel(AHEAD);
        let (bucket, key) = (bucket.clone(), key.to_owned());
        start(async move {
            let mut at = from;
            while at < bytes {
                let piece = next_piece(&bucket, &key, at, bytes).await;
                at = piece.as_ref().map_or(bytes, |piece| at + piece.len() as u64);
                let is_gone = sender.send(piece).await.is_err();
                wake();
                if is_gone {
                    break;
                }
            }
            drop(sender);
            wake();
        })?;
        Ok(Incoming { pieces, current: vec![], at: 0, failed: None, ended: false })
    }

    /// Whether a read would not wait.
    pub fn is_ready(&mut self) -> bool {
        if self.at < self.current.len() || self.failed.is_some() || self.ended {
            return true;
        }
        match self.pieces.try_recv() {
            Ok(piece) => {
                self.take(Some(piece));
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                true
            }
        }
    }

    fn take(&mut self, piece: Option<Result<Vec<u8>>>) {
        self.at = 0;
        match piece {
            Some(Ok(bytes)) => self.current = bytes,
            Some(Err(e)) => (self.current, self.failed) = (vec![], Some(e)),
            None => (self.current, self.ended) = (vec![], true),
        }
    }
}

async fn next_piece(bucket: &Bucket, key: &str, at: u64, bytes: u64) -> Result<Vec<u8>> {
    let piece = bucket.piece(key, at..bytes.min(at + PART_BYTES as u64)).await?;
    let url = bucket.url(key);
    match piece {
        None => Err(Error::user(format!("`{url}` is gone, but had {bytes} bytes when the job started"))),
        Some(piece) if piece.of != bytes || piece.bytes.is_empty() => {
            let text = format!("`{url}` has {} bytes, but had {bytes} when the job started", piece.of);
            Err(Error::user(text))
        }
        Some(piece) => Ok(piece.bytes),
    }
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.current.len() && self.failed.is_none() && !self.ended {
            let piece = self.pieces.blocking_recv();
            self.take(piece);
        }
        if let Some(e) = &self.failed {
            return Err(std::io::Error::other(e.clone()));
        }
        let rest = self.current.get(self.at..).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
