//! The server that tests speak to: `THALWEG_TEST_S3` names one, with its keys, as `.ci/s3-server` prints it. Without it the tests are
//! skipped, and say so.

use super::S3Options;

/// The variable that names the server: `http://ACCESS_KEY:SECRET_KEY@HOST:PORT`. It has a bucket `tests`.
pub const VARIABLE: &str = "THALWEG_TEST_S3";

/// How the server is reached; `None` if there is none.
pub fn server() -> Option<S3Options> {
    let url = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    let parts = url.as_deref().and_then(|url| {
        let (keys, host) = url.strip_prefix("http://")?.split_once('@')?;
        let (access_key, secret_key) = keys.split_once(':')?;
        Some((format!("http://{host}"), access_key.to_owned(), secret_key.to_owned()))
    });
    let Some((endpoint, access_key, secret_key)) = parts else {
        eprintln!("skipped: {VARIABLE} names no server");
        return None;
    };
    Some(S3Options {
        endpoint: Some(endpoint),
        access_key: Some(access_key),
        secret_key: Some(secret_key),
        allow_http: true,
        ..S3Options::default()
    })
}

/// The URL of a folder that nobody else has.
pub fn folder() -> String {
    format!("s3://tests/{:x}/a", crate::rng::entropy())
}
