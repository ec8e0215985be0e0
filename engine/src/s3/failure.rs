//! What a storage server's errors mean: what was done, where, what the server said, and what to do about it.

use super::bucket::Bucket;
use crate::error::Error;

/// Whether the next attempt may go better.
pub(super) fn is_passing(e: &object_store::Error) -> bool {
    let text = chain(e);
    match e {
        object_store::Error::Generic { .. } => match status(&text) {
            None => !text.contains("without LOCATION"),
            Some(code) => code >= 500 && code != 501 || matches!(code, 408 | 429) || text.contains("RequestTimeout"),
        },
        object_store::Error::JoinError { .. } => true,
        _ => false,
    }
}

/// Whether what was asked for is not there; a bucket that is not there is another matter.
pub(super) fn is_absent(e: &object_store::Error) -> bool {
    matches!(e, object_store::Error::NotFound { .. }) && code(&chain(e)) != Some("NoSuchBucket".to_owned())
}

/// Whether a range was asked of an object that has no bytes.
pub(super) fn is_beyond_the_end(e: &object_store::Error) -> bool {
    matches!(e, object_store::Error::Generic { .. }) && status(&chain(e)) == Some(416)
}

/// The error for people. `doing`: ``read `s3://bucket/key` ``.
pub(super) fn failure(bucket: &Bucket, doing: &str, e: &object_store::Error) -> Error {
    let text = chain(e);
    let (code, status) = (code(&text), status(&text));
    let said = said(&text);
    let server = bucket.server();
    let user = |what: &str, remedy: &str| Error::user(format!("{doing}: {what}; {remedy}"));
    match (code.as_deref(), status) {
        (Some("NoSuchBucket"), _) => {
            let name = bucket.name();
            user(&format!("{server} has no bucket `{name}`"), "create it, or correct the URL or `s3.endpoint`")
        }
        (Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException"), _)
        | (_, Some(301 | 307)) => user(&said, "is `s3.region` the bucket's?"),
        (Some("RequestTimeTooSkewed"), _) => user(&said, "set this machine's clock"),
        (Some("ExpiredToken" | "InvalidToken"), _) => user(&said, "give new credentials"),
        (_, Some(401 | 403)) if !bucket.has_keys() => user(
            &said,
            "no credentials were given: set s3.access-key and s3.secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (_, Some(401 | 403)) => user(&said, "are `s3.access-key` and `s3.secret-key` right, and may they do this?"),
        (_, Some(404 | 405 | 501)) => user(&said, &format!("does {server} speak S3? see `s3.endpoint`")),
        (_, Some(400..=499)) => user(&said, "see `s3.endpoint` and `s3.region`"),
        _ if text.contains("without LOCATION") => user("the bucket is in another region", "set `s3.region`"),
        _ if !bucket.has_keys() && text.contains("169.254.") => user(
            "there are no credentials",
            "set s3.access-key and s3.secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (None, None) => Error::external(format!("{doing}: no answer from {server}: {said}; see `s3.endpoint`")),
        _ => Error::external(format!("{doing}: {said}")),
    }
}

/// The error and what caused it, without repetitions.
fn chain(e: &object_store::Error) -> String {
    let mut text = e.to_string();
    let mut next = std::error::Error::source(e);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What stands in an element of the server's answer.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once("</")?;
    Some(inside.chars().filter(|c| !c.is_control()).take(300).collect())
}

fn code(text: &str) -> Option<String> {
    element(text, "Code")
}

/// The status of an answer; `None` if there was none.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// What the server said, or what stood in the way.
fn said(text: &str) -> String {
    match (code(text), element(text, "Message"), status(text)) {
        (Some(code), Some(message), _) => format!("{code}: {}", message.trim_end_matches('.')),
        (Some(code), None, _) => code,
        (None, _, Some(status)) => format!("status {status}"),
        // Of a chain of causes the last says most.
        (None, _, None) => {
            let last = text.rsplit(": ").next().unwrap_or(text).trim();
            let last = if last.is_empty() { text } else { last };
            crate::error::lower_first(&last.chars().take(300).collect::<String>())
        }
    }
}
