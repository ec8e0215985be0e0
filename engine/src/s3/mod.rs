//! Object storage that speaks S3, asked from threads that wait: checkpoints and the `filesystem` connector go through here.
//!
//! | file | holds |
//! |---|---|
//! | [`options`] | endpoint, credentials and the like |
//! | [`bucket`] | a bucket: create, read, list, delete, copy |
//! | [`folder`] | what stands below a prefix, as the vault of checkpoints wants it |
//! | [`transfer`] | large objects on their way: parts going out, pieces coming in, while their owner does something else |
//! | [`uploads`] | uploads in parts that nobody will finish |
//! | `runtime` | the thread on which requests run; attempts and their limits |
//! | `failure` | what a server's errors mean |

pub mod bucket;
mod failure;
pub mod folder;
pub mod options;
mod runtime;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transfer;
pub mod uploads;

pub use bucket::Bucket;
pub use options::S3Options;
pub use runtime::Ticket;

use crate::error::{Error, Result};

/// What every URL of an object begins with.
pub const SCHEME: &str = "s3://";

/// Bucket and key of `s3://bucket/key`; the key may be empty, and has no `/` at its ends. Errors: `user`.
pub fn parse(url: &str) -> Result<(String, String)> {
    let wrong = |why: &str| Error::user(format!("`{url}`: {why}; write s3://BUCKET/FOLDER"));
    let rest = url.strip_prefix(SCHEME).ok_or_else(|| wrong("no URL of object storage"))?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(named) {
        return Err(wrong("it names no bucket of small letters, digits, `-` and `.`"));
    }
    let key = key.trim_end_matches('/');
    if !key.is_empty() && key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("`.`, `..` and nothing are no names of folders"));
    }
    Ok((bucket.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_bucket_and_a_key() {
        let pair = |b: &str, k: &str| (b.to_owned(), k.to_owned());
        assert_eq!(parse("s3://b/a/c").unwrap(), pair("b", "a/c"));
        assert_eq!(parse("s3://b/").unwrap(), pair("b", ""));
        assert_eq!(parse("s3://b-1.c").unwrap(), pair("b-1.c", ""));
        assert_eq!(parse("s3://b/a//").unwrap(), pair("b", "a"));
        for wrong in ["s3://", "s3:///a", "s3://B/a", "s3://b/a//c", "s3://b/../c", "s3://k:hunter2@b/a", "file:///a"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
