//! One bucket of a server that speaks S3: whole objects, read, written, listed and removed. Every call waits for its answer.
//!
//! Invariants
//! - K1 [`Bucket::create`] overwrites nothing, and is not tried on a server that does not know how: the first call finds out.
//! - K2 an answer that is lost is made up for: reads are repeated, and who creates finds what is there.

use super::failure::{failure, is_absent, is_beyond_the_end};
use super::options::S3Options;
use super::runtime::{FIRST, LATER, Outcome, limited, start};
use super::transfer::Outgoing;
use crate::checkpoint::objects::{Created, Listed};
use crate::error::{Error, Result};
use crate::rng::entropy;
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Objects larger than this are sent in parts of this size, and read so.
pub const PART_BYTES: usize = 8 << 20;

/// How often who creates looks again, when the server says that somebody else is at it.
const CONFLICTS: u32 = 20;

/// See the module. Clones are the same bucket.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    name: String,
    server: String,
    has_keys: bool,
    region: String,
    endpoint: String,
    http: HttpClient,
    client: Arc<AmazonS3>,
    /// Whether the server has ever answered.
    answered: AtomicBool,
    /// Whether it is known to create only what is absent.
    creates: Mutex<bool>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.0.name).field("server", &self.0.server).finish_non_exhaustive()
    }
}

/// A piece of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Those of the whole object.
    pub of: u64,
}

impl Bucket {
    /// The bucket of that name. Asks nobody. Errors: `user`, naming the setting.
    pub fn open(name: &str, options: &S3Options) -> Result<Bucket> {
        let made = options.client(name)?;
        Ok(Bucket(Arc::new(Inner {
            name: name.to_owned(),
            server: made.server,
            has_keys: made.has_keys,
            region: made.region,
            endpoint: made.endpoint,
            http: made.http,
            client: Arc::new(made.client),
            answered: AtomicBool::new(false),
            creates: Mutex::new(false),
        })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The server, for people.
    pub fn server(&self) -> &str {
        &self.0.server
    }

    pub(super) fn region(&self) -> &str {
        &self.0.region
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    pub(super) fn http(&self) -> &HttpClient {
        &self.0.http
    }

    pub(super) fn has_keys(&self) -> bool {
        self.0.has_keys
    }

    /// Makes an object, if there is none of that key. Errors: `user` where a retry cannot help, `external` otherwise; whether it is
    /// there now is then not known.
    pub fn create(&self, key: &str, bytes: &[u8]) -> Result<Created> {
        self.check_creates(key)?;
        for _ in 0..CONFLICTS {
            if self.try_create(key, bytes)? {
                return Ok(Created::New);
            }
            // Taken, by whom is in it: perhaps by us, at an attempt whose answer was lost.
            if let Some(found) = self.get(key)? {
                return Ok(Created::Exists(found));
            }
        }
        Err(Error::external(format!("create `{}`: it exists, and cannot be read", self.url(key))))
    }

    fn try_create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let (path, payload) = (self.path(key)?, PutPayload::from(bytes.to_vec()));
        let created = self.ask(move |client| {
            let (path, payload) = (path.clone(), payload.clone());
            async move {
                client.put_opts(&path, payload, PutOptions { mode: PutMode::Create, ..PutOptions::default() }).await
            }
        })?;
        match created {
            Outcome::Done(_) => Ok(true),
            Outcome::Failed(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Outcome::Failed(e) => Err(self.failed("create", key, &e)),
        }
    }

    /// Finds out, once, whether the server creates only what is absent: some overwrite whatever is asked.
    fn check_creates(&self, key: &str) -> Result<()> {
        let mut known = self.0.creates.lock().unwrap_or_else(PoisonError::into_inner);
        if *known {
            return Ok(());
        }
        let folder = key.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut refuses = false;
        // Somebody who tidies up may come between the two; not every time.
        for _ in 0..3 {
            let probe = format!("{folder}{}probe-{:x}", crate::checkpoint::objects::TEMPORARY, entropy());
            // An answer that was lost makes the first look like the second, which is as good.
            refuses = !self.try_create(&probe, b"1")? || !self.try_create(&probe, b"2")?;
            self.delete(&probe)?;
            if refuses {
                break;
            }
        }
        if !refuses {
            let text = format!(
                "create `{}`: {} overwrites objects although it is asked not to (`If-None-Match: *`), so that two runs of \
                 one job could not be told apart; use a server that knows conditional writes, or a local folder",
                self.url(key),
                self.0.server
            );
            return Err(Error::user(text));
        }
        *known = true;
        Ok(())
    }

    /// Writes an object, over what may be there.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let mut outgoing = Outgoing::begin(self, key, || {})?;
        outgoing.write(bytes)?;
        outgoing.finish()?.wait()?
    }

    /// The bytes of an object; `None` if there is none.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let piece = PART_BYTES as u64;
        let Some(Piece { mut bytes, of }) = self.range(key, 0..piece)? else { return Ok(None) };
        while (bytes.len() as u64) < of {
            let at = bytes.len() as u64;
            let next = self.range(key, at..of.min(at + piece))?.filter(|p| p.of == of && !p.bytes.is_empty());
            let changed = || Error::external(format!("read `{}`: it has changed meanwhile", self.url(key)));
            bytes.extend(next.ok_or_else(changed)?.bytes);
        }
        Ok(Some(bytes))
    }

    /// Some bytes of an object, fewer at its end; `None` if there is no object.
    pub fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Piece>> {
        let (bucket, key) = (self.clone(), key.to_owned());
        start(async move { bucket.piece(&key, range).await })?.wait()?
    }

    pub(super) async fn piece(&self, key: &str, range: Range<u64>) -> Result<Option<Piece>> {
        let path = self.path(key)?;
        let read = self.answer(|client| {
            let path = path.clone();
            let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            async move {
                let found = client.get_opts(&path, options).await?;
                let of = found.meta.size;
                Ok(Piece { bytes: found.bytes().await?.into(), of })
            }
        });
        match read.await {
            Outcome::Failed(e) if is_absent(&e) => Ok(None),
            Outcome::Failed(e) if is_beyond_the_end(&e) => {
                let of = self.head(&path).await;
                Ok(self.present("look at", key, of)?.map(|of| Piece { bytes: vec![], of }))
            }
            answer => self.done("read", key, answer).map(Some),
        }
    }

    /// The bytes that an object has; `None` if there is none.
    pub fn size(&self, key: &str) -> Result<Option<u64>> {
        let (bucket, path) = (self.clone(), self.path(key)?);
        let of = start(async move { bucket.head(&path).await })?.wait()?;
        self.present("look at", key, of)
    }

    pub(super) async fn head(&self, path: &Path) -> Outcome<u64> {
        let size = |client: Arc<AmazonS3>| {
            let path = path.clone();
            async move { client.head(&path).await.map(|meta| meta.size) }
        };
        self.answer(size).await
    }

    pub(super) fn present<T>(&self, doing: &str, key: &str, outcome: Outcome<T>) -> Result<Option<T>> {
        match outcome {
            Outcome::Failed(e) if is_absent(&e) => Ok(None),
            answer => self.done(doing, key, answer).map(Some),
        }
    }

    /// All objects whose keys begin so, with their whole keys, sorted.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut out = vec![];
        let mut token = None;
        loop {
            let (begin, after) = (prefix.to_owned(), token.take());
            let answer = self.ask(move |client| {
                let (begin, page_token) = (begin.clone(), after.clone());
                async move {
                    let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
                    client.list_paginated(Some(begin.as_str()).filter(|p| !p.is_empty()), options).await
                }
            })?;
            let page = self.done("list", prefix, answer)?;
            let listed = page.result.objects.into_iter().map(|o| Listed {
                name: o.location.to_string(),
                bytes: o.size,
                modified_ms: o.last_modified.timestamp_millis(),
            });
            out.extend(listed);
            token = page.page_token;
            if token.is_none() {
                break;
            }
        }
        out.sort();
        Ok(out)
    }

    /// Removes an object; gone before is gone.
    pub fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let answer = self.ask(move |client| {
            let path = path.clone();
            async move { client.delete(&path).await }
        })?;
        self.present("remove", key, answer).map(drop)
    }

    /// Copies an object within the server, over what may be there; false if there is none.
    pub fn copy(&self, from: &str, to: &str) -> Result<bool> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        let answer = self.ask(move |client| {
            let (source, target) = (source.clone(), target.clone());
            async move { client.copy(&source, &target).await }
        })?;
        self.present("copy", from, answer).map(|copied| copied.is_some())
    }

    /// The URL of a key.
    pub fn url(&self, key: &str) -> String {
        format!("{}{}/{key}", super::SCHEME, self.0.name)
    }

    pub(super) fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key).map_err(|e| Error::user(format!("`{}` names no object: {e}", self.url(key))))
    }

    fn failed(&self, doing: &str, key: &str, e: &object_store::Error) -> Error {
        failure(self, &format!("{doing} `{}`", self.url(key)), e)
    }

    pub(super) fn done<T>(&self, doing: &str, key: &str, outcome: Outcome<T>) -> Result<T> {
        match outcome {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Failed(e) => Err(self.failed(doing, key, &e)),
        }
    }

    fn ask<T, F>(&self, request: impl Fn(Arc<AmazonS3>) -> F + Send + 'static) -> Result<Outcome<T>>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let bucket = self.clone();
        start(async move { bucket.answer(request).await })?.wait()
    }

    /// Asks, again if what stood in the way may have passed.
    pub(super) async fn answer<T, F>(&self, request: impl Fn(Arc<AmazonS3>) -> F) -> Outcome<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let client = self.0.client.clone();
        let limits = if self.0.answered.load(Ordering::Relaxed) { LATER } else { FIRST };
        let outcome = limited(limits, move || request(client.clone())).await;
        // That something is absent or taken is an answer too.
        let answered = match &outcome {
            Outcome::Done(_) => true,
            Outcome::Failed(e) => is_absent(e) || matches!(e, object_store::Error::AlreadyExists { .. }),
        };
        if answered {
            self.0.answered.store(true, Ordering::Relaxed);
        }
        outcome
    }
}
