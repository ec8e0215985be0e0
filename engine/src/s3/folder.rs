//! Objects below a prefix of a bucket, with the promises of [`Objects`](crate::checkpoint::objects::Objects), which calls it.

use super::bucket::{Bucket, PART_BYTES};
use super::options::S3Options;
use crate::checkpoint::objects::{Created, Listed, own};
use crate::error::Result;

/// See the module.
#[derive(Debug)]
pub(crate) struct Folder {
    bucket: Bucket,
    /// Empty, or with `/` at its end.
    prefix: String,
}

impl Folder {
    /// The folder at `s3://bucket/prefix`. Asks nobody. Errors: `user`, naming the setting or what is wrong with the URL.
    pub(crate) fn at(url: &str, options: &S3Options) -> Result<Folder> {
        let (bucket, prefix) = super::parse(url)?;
        let prefix = if prefix.is_empty() { prefix } else { format!("{prefix}/") };
        Ok(Folder { bucket: Bucket::open(&bucket, options)?, prefix })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.bucket.create(&self.key(name), bytes)
    }

    /// What is too large to be created in one request is the caller's own name: nobody else writes it.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let key = self.key(name);
        let created = if bytes.len() <= PART_BYTES {
            self.bucket.create(&key, bytes)?
        } else if let Some(found) = self.bucket.get(&key)? {
            Created::Exists(found)
        } else {
            self.bucket.put(&key, bytes)?;
            Created::New
        };
        own(name, bytes, created)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.bucket.get(&self.key(name))
    }

    /// All objects in and under a folder, unfinished ones too, by name.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let folder = folder.trim_end_matches('/');
        let begin = if folder.is_empty() { self.prefix.clone() } else { format!("{}{folder}/", self.prefix) };
        let listed = self.bucket.list(&begin)?.into_iter();
        Ok(listed.filter_map(|l| Some(Listed { name: l.name.strip_prefix(&self.prefix)?.to_owned(), ..l })).collect())
    }

    /// Ends uploads in parts that were begun before.
    pub(crate) fn abort_uploads(&self, begun_ms: i64) -> Result<()> {
        let all = self.bucket.uploads(&self.prefix)?;
        all.iter().filter(|u| u.begun_ms < begun_ms).try_for_each(|u| self.bucket.abort(u))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.bucket.delete(&self.key(name))
    }
}
