//! How a bucket is reached: what the settings say, and what the environment says where they are silent.
//!
//! Invariants
//! - O1 a secret appears in no text: not in errors, not in `Debug`.

use crate::error::{Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use std::fmt;
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// How buckets are reached. What is `None` is taken from the standard `AWS_*` variables of the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Options {
    /// The server's URL; that of Amazon, if nobody says another.
    pub endpoint: Option<String>,
    /// The region; `us-east-1`, if nobody says another.
    pub region: Option<String>,
    /// Who asks.
    pub access_key: Option<String>,
    /// What proves it.
    pub secret_key: Option<String>,
    /// What comes with credentials that expire.
    pub session_token: Option<String>,
    /// Whether the bucket stands in the path of requests, or in front of the server's name.
    pub path_style: bool,
    /// Whether requests may go unencrypted.
    pub allow_http: bool,
}

impl Default for S3Options {
    fn default() -> S3Options {
        S3Options {
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            path_style: true,
            allow_http: false,
        }
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "******");
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("secret_key", &hidden(&self.secret_key))
            .field("session_token", &hidden(&self.session_token))
            .field("path_style", &self.path_style)
            .field("allow_http", &self.allow_http)
            .finish()
    }
}

/// A client's parts.
pub(super) struct Made {
    pub(super) client: object_store::aws::AmazonS3,
    /// The server, for people.
    pub(super) server: String,
    /// Whether keys were given, here or in the environment.
    pub(super) has_keys: bool,
    pub(super) region: String,
    /// The bucket's own URL.
    pub(super) endpoint: String,
    /// For requests that the client does not know.
    pub(super) http: HttpClient,
}

impl S3Options {
    /// A client for a bucket. Connects to nothing. Errors: `user`, naming the setting.
    pub(super) fn client(&self, bucket: &str) -> Result<Made> {
        let mut builder = AmazonS3Builder::from_env();
        let of_environment = |key: Key| builder.get_config_value(&key).filter(|v| !v.is_empty());
        let endpoint = self.endpoint.clone();
        let endpoint = endpoint.or_else(|| of_environment(Key::S3Endpoint)).or_else(|| of_environment(Key::Endpoint));
        let allow_http = self.allow_http || std::env::var("AWS_ALLOW_HTTP").is_ok_and(|v| v == "true" || v == "1");
        if self.access_key.is_some() != self.secret_key.is_some() {
            let text =
                "`s3.access-key` and `s3.secret-key` belong together; give both, or leave both to the environment";
            return Err(Error::user(text));
        }
        if let (Some(access_key), Some(secret_key)) = (&self.access_key, &self.secret_key) {
            // The environment's token belongs to the environment's keys.
            builder = AmazonS3Builder::new().with_access_key_id(access_key).with_secret_access_key(secret_key);
        }
        if let Some(token) = &self.session_token {
            builder = builder.with_token(token);
        }
        let region = self.region.clone().or_else(|| {
            let of_environment = |key: Key| AmazonS3Builder::from_env().get_config_value(&key);
            of_environment(Key::Region).or_else(|| of_environment(Key::DefaultRegion)).filter(|v| !v.is_empty())
        });
        if let Some(region) = &region {
            builder = builder.with_region(region);
        }
        let has_keys = builder.get_config_value(&Key::AccessKeyId).is_some();
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let (server, url) = match &endpoint {
            Some(endpoint) => {
                check_endpoint(endpoint, allow_http)?;
                let endpoint = endpoint.trim_end_matches('/');
                let url = if self.path_style {
                    endpoint.to_owned()
                } else {
                    endpoint.replacen("://", &format!("://{bucket}."), 1)
                };
                builder = builder.with_config(Key::S3Endpoint, &url);
                (endpoint.to_owned(), if self.path_style { format!("{url}/{bucket}") } else { url })
            }
            None if self.path_style => ("Amazon S3".to_owned(), format!("https://s3.{region}.amazonaws.com/{bucket}")),
            None => ("Amazon S3".to_owned(), format!("https://{bucket}.s3.{region}.amazonaws.com")),
        };
        let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT);
        let unusable = |e: object_store::Error| {
            Error::user(format!("bucket `{bucket}` cannot be reached with these settings: {e}"))
        };
        let http =
            ReqwestConnector::default().connect(&options.clone().with_allow_http(allow_http)).map_err(unusable)?;
        let client = builder
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Attempts and their limits are the caller's business.
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 0,
                retry_timeout: Duration::ZERO,
            })
            .with_client_options(options)
            .with_allow_http(allow_http)
            .build()
            .map_err(unusable)?;
        Ok(Made { client, server, has_keys, region, endpoint: url, http })
    }
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<()> {
    let host = match endpoint.split_once("://") {
        Some(("https", host)) => host,
        Some(("http", host)) if allow_http => host,
        Some(("http", _)) => {
            let text =
                format!("`s3.endpoint`: `{endpoint}` is not encrypted; write https://, or set s3.allow-http=true");
            return Err(Error::user(text));
        }
        _ => {
            return Err(Error::user(format!(
                "`s3.endpoint`: `{endpoint}` is no URL; write https://HOST or https://HOST:PORT"
            )));
        }
    };
    let name = host.trim_end_matches('/');
    if name.is_empty() || name.contains(['/', '?', '#', '@']) || name.contains(char::is_whitespace) {
        return Err(Error::user(
            "`s3.endpoint`: not scheme, host and port alone; write https://HOST or https://HOST:PORT",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let options = S3Options {
            access_key: Some("AKIA".into()),
            secret_key: Some("hunter2".into()),
            session_token: Some("hunter3".into()),
            ..S3Options::default()
        };
        let shown = format!("{options:?}");
        assert!(!shown.contains("hunter") && shown.contains("AKIA") && shown.contains("******"), "{shown}");
    }

    #[test]
    fn mistakes_are_refused_before_anything_is_asked() {
        let keys = |o: S3Options| S3Options { access_key: Some("a".into()), secret_key: Some("b".into()), ..o };
        let endpoint = |url: &str| keys(S3Options { endpoint: Some(url.into()), ..S3Options::default() });
        let alone = S3Options { access_key: Some("a".into()), ..S3Options::default() };
        for (options, reason) in [
            (endpoint("http://localhost:9000"), "set s3.allow-http=true"),
            (endpoint("localhost:9000"), "is no URL; write https://HOST"),
            (endpoint("https://"), "not scheme, host and port alone"),
            (endpoint("https://user:hunter2@host"), "not scheme, host and port alone"),
            (endpoint("https://host/path"), "not scheme, host and port alone"),
            (alone, "`s3.access-key` and `s3.secret-key` belong together"),
        ] {
            let e = options.client("bucket").err().unwrap();
            assert!(e.message().contains(reason) && !e.message().contains("hunter2"), "{e}");
            assert_eq!(e.kind(), crate::ErrorKind::User);
        }
        let plain = S3Options { allow_http: true, ..endpoint("http://localhost:9000/") };
        assert_eq!(plain.client("bucket").unwrap().server, "http://localhost:9000");
    }
}
