//! Tests of the source: the same rows for every size of split, batch and restart; hostile files and folders.

use super::super::testing::{Seen, all, check, column, metadata, read, source, table};
use crate::registry::TableSpec;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const JSON: (&str, &str) = ("format", "json");
const CSV: (&str, &str) = ("format", "csv");
const PARQUET: (&str, &str) = ("format", "parquet");

fn number(path: &Path, options: &[(&str, &str)]) -> TableSpec {
    table(path, vec![column("a", DataType::Int64)], &[], options)
}

fn everything(spec: &TableSpec) -> Seen {
    read(&source(spec, all(spec)), 100, usize::MAX).unwrap()
}

fn fault(spec: &TableSpec) -> String {
    read(&source(spec, all(spec)), 100, usize::MAX).unwrap_err().message().to_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn rows_are_the_same_for_every_split_batch_and_restart() {
    let dir = TempDir::new().unwrap();
    let text: String = (0..20).map(|i| format!("{{\"a\":{i}}}{}\n", "\n".repeat(i % 3))).collect();
    fs::write(dir.path().join("x.json"), &text).unwrap();
    fs::write(dir.path().join("y.json"), "{\"a\":20}\r\n{\"a\":21}").unwrap();
    fs::write(dir.path().join("empty.json"), "").unwrap();
    let spec = number(dir.path(), &[JSON]);
    let expected: Vec<String> = (0..22).map(|i| format!("{{\"a\":{i}}}")).collect();
    for split_bytes in [1, 2, 7, 9, 64, 1 << 20] {
        let mut source = source(&spec, all(&spec));
        source.split_bytes = split_bytes;
        for (max_rows, restart) in [(1, 1), (3, 1), (3, 2), (100, usize::MAX)] {
            let mut seen = read(&source, max_rows, restart).unwrap();
            seen.rows.sort_by_key(|r| (r.len(), r.clone()));
            assert_eq!(seen.rows, expected, "splits of {split_bytes} bytes, {max_rows} rows, restart {restart}");
            assert_eq!(seen.splits == 2, split_bytes == 1 << 20);
        }
    }
}

#[test]
fn compressed_files_and_csv_resume_too() {
    let dir = TempDir::new().unwrap();
    let text = |from: usize| (from..from + 20).map(|i| format!("x{i},\"{i}\n\"\n")).collect::<String>();
    fs::write(dir.path().join("a.csv"), format!("b,a\n{}", text(0))).unwrap();
    fs::write(dir.path().join("b.csv.gz"), gzip(format!("b,a\n{}", text(20)).as_bytes())).unwrap();
    fs::write(dir.path().join("c.csv.zst"), zstd::encode_all(format!("b,a\n{}", text(40)).as_bytes(), 0).unwrap())
        .unwrap();
    let columns = vec![column("a", DataType::Utf8), column("b", DataType::Utf8)];
    let spec = table(dir.path(), columns, &[], &[CSV, ("csv.header", "true")]);
    let expected: Vec<String> = (0..60).map(|i| format!("{{\"a\":\"{i}\\n\",\"b\":\"x{i}\"}}")).collect();
    for (max_rows, restart) in [(1, 1), (7, 2), (100, usize::MAX)] {
        let mut source = source(&spec, all(&spec));
        source.split_bytes = 10;
        let mut seen = read(&source, max_rows, restart).unwrap();
        seen.rows.sort_by_key(|r| (r.len(), r.clone()));
        assert_eq!((seen.rows, seen.splits), (expected.clone(), 3));
    }
}

fn parquet(path: &Path, rows: usize, group: usize) {
    let a: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let fields = vec![Field::new("x", DataType::Utf8, true), Field::new("y", DataType::Int64, true)];
    let x: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("s{i}"))));
    let s: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![x, a.clone()], None));
    let batch = RecordBatch::try_from_iter([("s", s), ("a", a)]).unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let file = fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_is_pruned_adapted_and_resumed() {
    let dir = TempDir::new().unwrap();
    parquet(&dir.path().join("x.parquet"), 25, 10);
    let y = DataType::Struct(vec![Field::new("y", DataType::Int64, true)].into());
    let columns = vec![column("a", DataType::Utf8), column("s", y), column("none", DataType::Int32)];
    let spec = table(dir.path(), columns, &[], &[PARQUET]);
    let row = |i| format!("{{\"a\":\"{i}\",\"s\":{{\"y\":{i}}},\"none\":null}}");
    let expected: Vec<String> = (0..25).map(row).collect();
    for split_bytes in [1, 1 << 20] {
        let mut source = source(&spec, all(&spec));
        source.split_bytes = split_bytes;
        for (max_rows, restart) in [(1, 1), (4, 1), (100, usize::MAX)] {
            let seen = read(&source, max_rows, restart).unwrap();
            assert_eq!((seen.rows, seen.splits), (expected.clone(), if split_bytes == 1 { 3 } else { 1 }));
        }
    }
    let count = read(&source(&spec, Arc::new(Schema::empty())), 100, usize::MAX).unwrap();
    assert_eq!(count.rows.len(), 25);
}

#[test]
fn folders_patterns_partitions_and_metadata() {
    let dir = TempDir::new().unwrap();
    for (file, value) in [
        ("dt=2026-01-01/hm=12%3A30/a.json", 1),
        ("dt=2026-01-02/hm=__DEFAULT_PARTITION__/b.json", 2),
        ("dt=2026-01-02/hm=x/.hidden.json", 3),
        ("dt=2026-01-02/_temporary/hm=x/c.json", 4),
    ] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{{\"a\":{value}}}")).unwrap();
    }
    let columns = || {
        vec![
            column("hm", DataType::Utf8),
            metadata("name", DataType::Utf8, "file.name"),
            column("a", DataType::Int64),
            metadata("size", DataType::Int64, "file.size"),
            column("dt", DataType::Date32),
        ]
    };
    let spec = table(dir.path(), columns(), &["dt", "hm"], &[JSON]);
    check(&spec).unwrap();
    let first = "{\"hm\":\"12:30\",\"name\":\"a.json\",\"a\":1,\"size\":7,\"dt\":\"2026-01-01\"}";
    let second = "{\"hm\":null,\"name\":\"b.json\",\"a\":2,\"size\":7,\"dt\":\"2026-01-02\"}";
    assert_eq!(everything(&spec).rows, [first, second]);
    let matching = table(dir.path(), columns(), &["dt", "hm"], &[JSON, ("source.path.regex-pattern", ".*/b\\.json")]);
    assert_eq!(everything(&matching).rows, [second]);
    let glob = table(&dir.path().join("dt=*-01"), columns(), &["dt", "hm"], &[JSON]);
    assert_eq!(everything(&glob).rows, [first]);
    let file = number(&dir.path().join("dt=2026-01-02/hm=x/.hidden.json"), &[JSON]);
    assert_eq!(everything(&file).rows, ["{\"a\":3}"]);
    let nothing = fault(&number(&dir.path().join("*.csv"), &[JSON]));
    assert!(nothing.contains("no file matches"), "{nothing}");
    fs::create_dir_all(dir.path().join("dt=tomorrow/hm=1")).unwrap();
    fs::write(dir.path().join("dt=tomorrow/hm=1/d.json"), "{}").unwrap();
    let wrong = fault(&spec);
    let place = "table `t`: file `dt=tomorrow/hm=1/d.json`: partition column `dt`: 'tomorrow' is not DATE";
    assert_eq!(wrong, place);
    fs::remove_dir_all(dir.path().join("dt=tomorrow")).unwrap();
    fs::write(dir.path().join("stray.json"), "{}").unwrap();
    assert!(fault(&spec).contains("file `stray.json` is in no folder `dt=..`"));
}

#[test]
fn bad_records_follow_the_policy_and_come_once() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("x.json"), "{\"a\":1}\nno\n{\"a\":2}\n{\"a\":[]}\n{\"a\":3}\n").unwrap();
    let failed = fault(&number(dir.path(), &[JSON]));
    assert!(failed.contains("x.json, byte 8: ") && failed.contains("'bad-record' = 'skip'"), "{failed}");
    let rows = ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"];
    let skipped = everything(&number(dir.path(), &[JSON, ("json.ignore-parse-errors", "true")]));
    assert_eq!((skipped.rows.as_slice(), skipped.bad_records), (rows.map(str::to_owned).as_slice(), 2));
    let dead = number(dir.path(), &[JSON, ("bad-record", "dead-letter"), ("bad-record.table", "d")]);
    for (max_rows, restart) in [(1, 1), (2, 1), (100, usize::MAX)] {
        let seen = read(&source(&dead, all(&dead)), max_rows, restart).unwrap();
        assert_eq!((seen.rows.as_slice(), seen.rejected.len()), (rows.map(str::to_owned).as_slice(), 2));
        assert_eq!(seen.bad_records, 2);
    }
    fs::write(dir.path().join("x.json"), "no\nno\n").unwrap();
    assert_eq!(everything(&dead).rejected.len(), 2);
}

#[test]
fn hostile_files_are_errors_that_name_them() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let missing = number(&at("nowhere"), &[JSON]);
    check(&missing).unwrap();
    assert!(fault(&missing).contains("nowhere` does not exist; create it"), "{}", fault(&missing));
    let whole = gzip("{\"a\":1}\n".repeat(1000).as_bytes());
    fs::write(at("cut.json.gz"), &whole[..whole.len() / 2]).unwrap();
    let cut = fault(&number(&at("cut.json.gz"), &[JSON]));
    assert!(cut.contains("cut.json.gz`: cannot be read after byte "), "{cut}");
    fs::write(at("bad.json.zst"), "this is no zstd").unwrap();
    assert!(fault(&number(&at("bad.json.zst"), &[JSON])).contains("bad.json.zst"));
    parquet(&at("x.parquet"), 100, 100);
    let bytes = fs::read(at("x.parquet")).unwrap();
    for (name, bytes) in
        [("a.parquet", &bytes[..bytes.len() / 2]), ("b.parquet", b"PAR1".as_slice()), ("c.parquet", b"")]
    {
        fs::write(at(name), bytes).unwrap();
        let text = fault(&number(&at(name), &[PARQUET]));
        assert!(text.contains(&format!("{name}` is no valid parquet file")), "{text}");
    }
    fs::write(at("long.json"), "x".repeat(5000)).unwrap();
    let long = fault(&number(&at("long.json"), &[JSON, ("source.max-line-bytes", "4kb")]));
    assert!(long.contains("long.json`: line at byte 0 is longer than the limit of 4096 bytes"), "{long}");
    fs::write(at("open.csv"), "\"never closed\n1\n").unwrap();
    assert!(fault(&number(&at("open.csv"), &[CSV])).contains("a quote is never closed"));
    fs::write(at("head.csv"), "x,y\n1,2\n").unwrap();
    assert!(fault(&number(&at("head.csv"), &[CSV, ("csv.header", "true")])).contains("no field `a`"));
    let typed = table(&at("x.parquet"), vec![column("s", DataType::Int64)], &[], &[PARQUET]);
    assert!(fault(&typed).ends_with("column `s` is ROW<`x` STRING, `y` BIGINT>, not BIGINT"), "{}", fault(&typed));
}

#[test]
fn damaged_parquet_never_panics() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.parquet");
    parquet(&path, 50, 20);
    let good = fs::read(&path).unwrap();
    let spec = number(&path, &[PARQUET]);
    let mut rng = thalweg_engine::rng::Rng::new(7);
    let mut failed = 0;
    for _ in 0..200 {
        let mut bytes = good.clone();
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.next_u64() as u8;
        fs::write(&path, bytes).unwrap();
        failed += usize::from(read(&source(&spec, all(&spec)), 100, usize::MAX).is_err());
    }
    assert!(failed > 0);
}

#[test]
fn a_file_that_shrinks_is_noticed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.json");
    fs::write(&path, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let spec = number(dir.path(), &[JSON]);
    let source = source(&spec, all(&spec));
    let splits = super::super::testing::splits(&source).unwrap();
    fs::write(&path, "{\"a\":1}\n").unwrap();
    let mut reader = super::super::testing::reader(&source, &Arc::default());
    reader.assign(splits.into_iter().map(|s| (s, None)).collect()).unwrap();
    reader.poll(100).unwrap();
    let error = reader.poll(100).unwrap_err();
    assert!(error.message().contains("ends at byte 8, but had 16 bytes"), "{error}");
}

#[test]
fn a_byte_order_mark_at_the_start_is_no_data_wherever_the_file_is_cut() {
    const MARK: &str = "\u{feff}";
    for first in ["", "\n"] {
        let dir = TempDir::new().unwrap();
        let text: String = (0..20).map(|i| format!("{{\"a\":{i}}}\n")).collect();
        fs::write(dir.path().join("x.json"), format!("{MARK}{first}{text}")).unwrap();
        fs::write(dir.path().join("mark.json"), MARK).unwrap();
        // A bad record that is shorter than a mark.
        fs::write(dir.path().join("y.json"), "7").unwrap();
        fs::write(dir.path().join("z.json.gz"), gzip(format!("{MARK}{{\"a\":20}}").as_bytes())).unwrap();
        let spec = number(dir.path(), &[JSON, ("bad-record", "skip")]);
        let expected: Vec<String> = (0..21).map(|i| format!("{{\"a\":{i}}}")).collect();
        for split_bytes in [1, 2, 3, 4, 5, 6, 9, 64, 1 << 20] {
            let mut source = source(&spec, all(&spec));
            source.split_bytes = split_bytes;
            for (max_rows, restart) in [(1, 1), (3, 2), (100, usize::MAX)] {
                let mut seen = read(&source, max_rows, restart).unwrap();
                seen.rows.sort_by_key(|r| (r.len(), r.clone()));
                assert_eq!(seen.rows, expected, "splits of {split_bytes} bytes, {max_rows} rows, restart {restart}");
            }
        }
    }
}

#[test]
fn a_mark_does_not_hide_a_quote_and_inside_a_file_it_is_data() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.csv");
    let read = |text: &str, header: &str| {
        fs::write(&file, text).unwrap();
        let spec = table(&file, vec![column("a", DataType::Utf8)], &[], &[CSV, ("csv.header", header)]);
        everything(&spec).rows
    };
    assert_eq!(read("\u{feff}\"x\ny\"\n", "false"), ["{\"a\":\"x\\ny\"}"]);
    assert_eq!(read("\u{feff}\"a\",b\n1,2\n", "true"), ["{\"a\":\"1\"}"]);
    assert_eq!(read("\u{feff}", "true"), [] as [&str; 0]);
    assert_eq!(read("x\n\u{feff}y\n", "false"), ["{\"a\":\"x\"}", "{\"a\":\"\u{feff}y\"}"]);
    assert_eq!(read("\u{feff}\u{feff}y\n", "false"), ["{\"a\":\"\u{feff}y\"}"]);
    let number = number(&file, &[JSON]);
    fs::write(&file, "\u{feff}{\"a\":1}\n{\"a\":true}\n").unwrap();
    assert!(fault(&number).contains("a.csv, byte 11: "), "{}", fault(&number));
    for bytes in [b"\xFF\xFE{\0".as_slice(), b"\xFE\xFF\0{", b"\xFF\xFE"] {
        fs::write(&file, bytes).unwrap();
        let text = "a.csv`: begins with the byte order mark of UTF-16; only UTF-8 can be read";
        assert!(fault(&number).contains(text), "{}", fault(&number));
    }
}

#[test]
fn the_bytes_of_files_are_counted() {
    let dir = TempDir::new().unwrap();
    let bytes = |file: &str, columns: Vec<crate::registry::TableColumn>, format: (&str, &str)| {
        let spec = table(&dir.path().join(file), columns, &[], &[format]);
        let metrics = read(&source(&spec, all(&spec)), 100, usize::MAX).unwrap().bytes_in;
        (metrics, fs::metadata(dir.path().join(file)).unwrap().len())
    };
    let a = || vec![column("a", DataType::Int64)];
    fs::write(dir.path().join("a.json"), "{\"a\":1}\n".repeat(100_000)).unwrap();
    let (read, whole) = bytes("a.json", a(), JSON);
    assert_eq!(read, whole);
    fs::write(dir.path().join("b.json.gz"), gzip("{\"a\":1}\n".repeat(1_000).as_bytes())).unwrap();
    let (read, whole) = bytes("b.json.gz", a(), JSON);
    assert_eq!(read, whole, "as they lie in the file");
    parquet(&dir.path().join("c.parquet"), 1_000, 100);
    let (one, whole) = bytes("c.parquet", a(), PARQUET);
    let s =
        DataType::Struct(vec![Field::new("x", DataType::Utf8, true), Field::new("y", DataType::Int64, true)].into());
    let (both, _) = bytes("c.parquet", vec![column("s", s), column("a", DataType::Int64)], PARQUET);
    assert!(0 < one && one < both && both < whole, "{one}, {both} of {whole}");
}

#[test]
fn an_open_quote_is_one_bad_record_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.csv"), "1,\"x\ny\"\n2,\"open\n3,z\n4,y\n5,w").unwrap();
    let columns = || vec![column("a", DataType::Int64), column("b", DataType::Utf8)];
    let failed = fault(&table(dir.path(), columns(), &[], &[CSV]));
    assert!(failed.contains("a.csv, byte 8: a quote is never closed"), "{failed}");
    let spec = table(dir.path(), columns(), &[], &[CSV, ("bad-record", "dead-letter"), ("bad-record.table", "d")]);
    for (max_rows, restart) in [(1, 1), (2, 1), (100, usize::MAX)] {
        let seen = read(&source(&spec, all(&spec)), max_rows, restart).unwrap();
        let rows =
            ["{\"a\":1,\"b\":\"x\\ny\"}", "{\"a\":3,\"b\":\"z\"}", "{\"a\":4,\"b\":\"y\"}", "{\"a\":5,\"b\":\"w\"}"];
        assert_eq!((seen.rows.as_slice(), seen.rejected.len()), (rows.map(str::to_owned).as_slice(), 1));
    }
}
