//! Uploads in parts that nobody will finish: a crash leaves them behind, where they cost money and no listing of objects shows them.
//! Asked for here by hand, because the client knows no such request.

use super::bucket::Bucket;
use super::runtime::{Outcome, start};
use crate::error::Result;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;

/// An upload that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The object's key.
    pub key: String,
    /// When it was begun; 0 if the server does not say.
    pub begun_ms: i64,
    id: String,
}

impl Bucket {
    /// The uploads of keys that begin so: a thousand at most, the rest another time. None if the server does not tell, or not us.
    pub fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let (bucket, url) = (self.clone(), format!("{}?uploads=&prefix={}", self.endpoint(), encoded(prefix)));
        let answer = start(async move {
            let ask = bucket.answer(|client| {
                let (bucket, url) = (bucket.clone(), url.clone());
                async move {
                    let failed = |e: String| object_store::Error::Generic { store: "S3", source: e.into() };
                    let credential = client.credentials().get_credential().await?;
                    let mut request = HttpRequest::new(HttpRequestBody::empty());
                    *request.uri_mut() = url.parse().map_err(|_| failed(format!("`{url}` is no address")))?;
                    AwsAuthorizer::new(&credential, "s3", bucket.region()).authorize(&mut request, None);
                    let answer = bucket.http().execute(request).await.map_err(|e| failed(e.to_string()))?;
                    let is_known = answer.status().is_success();
                    let body = answer.into_body().bytes().await.map_err(|e| failed(e.to_string()))?;
                    Ok(if is_known { String::from_utf8_lossy(&body).into_owned() } else { String::new() })
                }
            });
            ask.await
        })?;
        let text = match answer.wait()? {
            Outcome::Done(text) => text,
            outcome => self.done("list the uploads of", prefix, outcome)?,
        };
        Ok(parse(&text).into_iter().filter(|u| u.key.starts_with(prefix)).collect())
    }

    /// Ends an upload; ended before is ended.
    pub fn abort(&self, upload: &Unfinished) -> Result<()> {
        let (bucket, path, id) = (self.clone(), self.path(&upload.key)?, upload.id.clone());
        let answer = start(async move {
            let abort = bucket.answer(|client| {
                let (path, id) = (path.clone(), id.clone());
                async move { client.abort_multipart(&path, &id).await }
            });
            abort.await
        })?;
        self.present("abort the upload of", &upload.key, answer.wait()?).map(drop)
    }
}

/// As a value in a query.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

fn parse(text: &str) -> Vec<Unfinished> {
    let one = |upload: &str| {
        let element = |name: &str| {
            let (_, rest) = upload.split_once(&format!("<{name}>"))?;
            rest.split_once("</").map(|(inside, _)| unescaped(inside))
        };
        let begun_ms = element("Initiated").and_then(|t| millis(&t)).unwrap_or(0);
        Some(Unfinished { key: element("Key")?, id: element("UploadId")?, begun_ms })
    };
    text.split("<Upload>").skip(1).filter_map(one).collect()
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `2026-11-23T14:57:50.123Z` as ms since 1970; what is behind the seconds is left out.
fn millis(text: &str) -> Option<i64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Years that begin in March: the day that some of them have more is then the last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_uploads_are_read() {
        let text = "<ListMultipartUploadsResult><Upload><Key>a/b &amp;lt; c</Key><UploadId>x1</UploadId>\
                    <Initiated>2024-02-29T23:59:59.000Z</Initiated></Upload><Upload><Key>d</Key><UploadId>y</UploadId></Upload>";
        let found = parse(text);
        assert_eq!(
            (found[0].key.as_str(), found[0].id.as_str(), found[0].begun_ms),
            ("a/b &lt; c", "x1", 1_709_251_199_000)
        );
        assert_eq!((found[1].key.as_str(), found[1].begun_ms, found.len()), ("d", 0, 2));
        assert!(parse("").is_empty() && parse("<Upload><Key>a").is_empty());
        assert_eq!(millis("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(encoded("a/b c&ü"), "a%2Fb%20c%26%C3%BC");
    }
}
