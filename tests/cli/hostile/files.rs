//! Records and files: broken, deep, huge, of another kind than was said. Good rows stand in front of what is bad; they must not
//! become visible.

use super::{Case, ROWS, fails};
use std::io::Write;

/// Good rows, then this line.
fn record(line: impl AsRef<[u8]>, says: &[&'static str]) -> Case {
    let line = line.as_ref();
    let says: Vec<&str> = ["rows.json"].iter().chain(says).copied().collect();
    let case = fails("INSERT INTO out SELECT a, s FROM t;", &says)
        .file("in/rows.json", [ROWS.as_bytes(), line, b"\n"].concat());
    case.named(&format!("record {}", String::from_utf8_lossy(&line[..line.len().min(100)])))
}

/// One file in a table `x` of that format.
fn file(name: &str, format: &str, bytes: impl Into<Vec<u8>>, says: &[&'static str]) -> Case {
    let sql = format!(
        "CREATE TABLE x (a BIGINT, s STRING) WITH ('connector' = 'filesystem', 'path' = '${{DIR}}/x', {format}); \
         INSERT INTO out SELECT a, s FROM x;"
    );
    let says: Vec<&str> = ["x.x"].iter().chain(says).copied().collect();
    fails(sql, &says).file(&format!("x/{}", name), bytes)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn cases() -> Vec<Case> {
    [records(), csv(), packed()].into_iter().flatten().collect()
}

fn records() -> Vec<Case> {
    vec![
        record(r#"{"a":1,"s":"x""#, &["rows.json, byte 215: "]),
        record(r#"{"a":1e999}"#, &["rows.json, byte 215: ", "`a`"]),
        record(r#"{"a":99999999999999999999}"#, &["rows.json, byte 215: ", "`a`"]),
        record(r#"{"a":1.5}"#, &["rows.json, byte 215: ", "`a`"]),
        record(r#"{"a":"x"}"#, &["rows.json, byte 215: ", "`a`"]),
        record(r#"{"a":{}}"#, &["rows.json, byte 215: ", "`a`"]),
        record(b"{\"s\":\"\xff\"}", &["rows.json, byte 215: ", "UTF-8"]),
        record(b"{\"s\":\"a\0b\"}", &["rows.json, byte 215: "]),
        record(r#"{"s":"\ud800"}"#, &["rows.json, byte 215: "]),
        record("[1, 2]", &["rows.json, byte 215: ", "`{`"]),
        record("nonsense", &["rows.json, byte 215: "]),
        record(r#"{"a":1}{"a":2}"#, &["rows.json, byte 215: "]),
        record(
            format!("{{\"z\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            &["rows.json, byte 215: ", "deeper than 128"],
        ),
        record("{\"z\":".repeat(100_000), &["rows.json, byte 215: ", "deeper than 128"]),
        record(format!("{{\"s\":\"{}\"}}", "x".repeat(100 << 20)), &["line at byte ", "source.max-line-bytes"]),
        record(vec![0u8; 4096], &["rows.json, byte 215: "]).named("record of 4096 NUL"),
        record("{\"a\":".to_owned() + &"9".repeat(1_000_000) + "}", &["rows.json, byte 215: "]),
    ]
}

fn csv() -> Vec<Case> {
    let csv = "'format' = 'csv'";
    vec![
        file("x.x", csv, "1,x\n2\n", &["x.x, byte 4: ", "1 fields instead of 2"]),
        file("x.x", csv, "1,x\n2,y,z\n", &["x.x, byte 4: ", "more than 2 fields"]),
        file("x.x", csv, "1,x\n2,\"open\n", &["byte 4", "quote"]),
        file("x.x", csv, "1,x\nzwei,y\n", &["x.x, byte 4: ", "`a`", "zwei"]),
        file("x.x", csv, "1,x\n2\0,y\n", &["x.x, byte 4: "]),
        file("x.x", csv, *b"1,x\n2,\xff\n", &["x.x, byte 4: ", "UTF-8"]),
        file("x.x", "'format' = 'csv', 'csv.header' = 'true'", "a,nope\n1,x\n", &["header", "`s`", "`nope`"]),
        file("x.x", csv, ",".repeat(10_000_000), &["x.x, byte 0: "]).named("10 000 000 columns"),
    ]
}

fn packed() -> Vec<Case> {
    let (json, parquet) = ("'format' = 'json'", "'format' = 'parquet'");
    let rows = "{\"a\":1,\"s\":\"x\"}\n".repeat(1_000);
    let half = {
        let mut whole = gzip(rows.as_bytes());
        whole.truncate(whole.len() / 2);
        whole
    };
    let bomb = gzip(&vec![b'x'; 1 << 20]).repeat(4_096);
    vec![
        file("x.x.gz", json, half, &["x.x.gz"]).named("half of a gzip file"),
        file("x.x.gz", json, "this is no gzip", &["x.x.gz", "gzip"]).named("a gzip file that is none"),
        file("x.x.gz", json, bomb, &["source.max-line-bytes"])
            .named("a gzip file that unpacks to 4 GiB without a line end"),
        file("x.x.zst", json, "this is no zstd", &["x.x.zst"]).named("a zstd file that is none"),
        file("x.x.zst", json, *b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &["x.x.zst"])
            .named("a broken zstd file"),
        file("x.x", parquet, "", &[]).named("an empty parquet file"),
        file("x.x", parquet, "this is no parquet file", &["parquet"]).named("a parquet file that is none"),
        file("x.x", parquet, [b"PAR1" as &[u8], &[7; 1000]].concat(), &["parquet"]).named("half of a parquet file"),
        file("x.x", parquet, [b"PAR1" as &[u8], &[7; 1000], b"\xe8\x03\0\0PAR1"].concat(), &["parquet"])
            .named("a broken parquet footer"),
        file("x.x", parquet, *b"PAR1\xff\xff\xff\x7fPAR1", &["parquet"]).named("a parquet footer longer than its file"),
    ]
}
