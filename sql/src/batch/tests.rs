//! Queries over two small tables, against what was worked out by hand: every operator once.

use super::*;
use crate::error::SqlErrorKind;
use arrow::array::{Int64Array, StringArray};
use arrow::util::display::array_value_to_string;
use thalweg_engine::Error;

#[derive(Debug)]
struct Rows(RecordBatch);

impl BatchTable for Rows {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    /// A part for each row, the first of them empty.
    fn scan(&self) -> thalweg_engine::Result<Parts> {
        let rows = self.0.clone();
        let parts = (0..=rows.num_rows()).map(move |i| Ok(rows.slice(i.saturating_sub(1), i.min(1))));
        Ok(Box::new(parts))
    }
}

#[derive(Debug)]
struct Broken;

impl BatchTable for Broken {
    fn schema(&self) -> SchemaRef {
        numbers().schema()
    }

    fn scan(&self) -> thalweg_engine::Result<Parts> {
        Ok(Box::new(std::iter::once(Err(Error::external("`f` is damaged")))))
    }
}

#[derive(Debug)]
struct Two;

impl BatchTables for Two {
    fn table(&self, name: &str) -> thalweg_engine::Result<Option<Arc<dyn BatchTable>>> {
        Ok(match name {
            "numbers" => Some(Arc::new(Rows(numbers()))),
            "names" => Some(Arc::new(Rows(names()))),
            "broken" => Some(Arc::new(Broken)),
            "unread" => return Err(Error::external("`g` is missing")),
            _ => None,
        })
    }

    fn names(&self) -> Vec<String> {
        ["numbers", "names", "broken"].map(String::from).to_vec()
    }

    fn short_names(&self) -> Vec<String> {
        vec![]
    }
}

fn numbers() -> RecordBatch {
    let k = StringArray::from(vec![Some("a"), Some("b"), Some("a"), None]);
    let n = Int64Array::from(vec![Some(1), Some(2), Some(3), Some(4)]);
    RecordBatch::try_from_iter_with_nullable([("k", Arc::new(k) as _, true), ("count", Arc::new(n) as _, true)])
        .unwrap()
}

fn names() -> RecordBatch {
    let k = StringArray::from(vec!["a", "c"]);
    let name = StringArray::from(vec!["Ann", "Cy"]);
    RecordBatch::try_from_iter([("k", Arc::new(k) as _), ("name", Arc::new(name) as _)]).unwrap()
}

fn asked(text: &str) -> std::result::Result<Asked, BatchError> {
    let tables: Arc<dyn BatchTables> = Arc::new(Two);
    compile(text, &tables, 64 << 20)
}

/// The rows, cells with `|` between them.
fn rows(text: &str) -> Vec<String> {
    let query = match asked(text) {
        Ok(Asked::Query(query)) => query,
        Ok(Asked::Answer(answer)) => return answer.rows.iter().map(|r| r.join("|")).collect(),
        Err(e) => panic!("{text}: {e}"),
    };
    let mut out = vec![];
    let ended = query.run(|batch| {
        assert_eq!(batch.schema_ref(), query.schema());
        for row in 0..batch.num_rows() {
            let cell = |c: &arrow::array::ArrayRef| array_value_to_string(c, row).unwrap();
            out.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
        Ok(())
    });
    ended.unwrap_or_else(|e| panic!("{text}: {e}"));
    out
}

#[test]
fn every_operator_gives_what_it_should() {
    for (text, want) in [
        ("SELECT k, count FROM numbers", &["a|1", "b|2", "a|3", "|4"][..]),
        ("SELECT count + 1 FROM state.numbers WHERE k = 'a'", &["2", "4"]),
        ("SELECT k, SUM(count) AS s, COUNT(*) FROM numbers GROUP BY k ORDER BY s DESC, k", &["|4|1", "a|4|2", "b|2|1"]),
        ("SELECT SUM(count) FILTER (WHERE k IS NOT NULL), AVG(count), MAX(k) FROM numbers", &["6|2.5|b"]),
        ("SELECT COUNT(*) FROM numbers WHERE count > 9", &["0"]),
        ("SELECT DISTINCT k FROM numbers ORDER BY k", &["", "a", "b"]),
        ("SELECT COUNT(DISTINCT k) FROM numbers", &["2"]),
        ("SELECT count FROM numbers ORDER BY count DESC LIMIT 2 OFFSET 1", &["3", "2"]),
        ("SELECT n.count, m.name FROM numbers n JOIN names m ON n.k = m.k ORDER BY 1", &["1|Ann", "3|Ann"]),
        (
            "SELECT n.count, m.name FROM numbers n LEFT JOIN names m ON n.k = m.k AND n.count > 1 ORDER BY 1",
            &["1|", "2|", "3|Ann", "4|"],
        ),
        ("SELECT m.name, n.count FROM names m LEFT JOIN numbers n ON n.count > 3 ORDER BY 1", &["Ann|4", "Cy|4"]),
        ("SELECT COUNT(*) FROM numbers CROSS JOIN names", &["8"]),
        ("SELECT name FROM names WHERE k NOT IN (SELECT k FROM numbers WHERE k IS NOT NULL)", &["Cy"]),
        ("SELECT count FROM numbers WHERE count > (SELECT AVG(count) FROM numbers) ORDER BY 1", &["3", "4"]),
        ("SELECT name FROM names m WHERE EXISTS (SELECT 1 FROM numbers n WHERE n.k = m.k)", &["Ann"]),
        ("SELECT k FROM names UNION ALL SELECT k FROM numbers WHERE count = 2 ORDER BY 1", &["a", "b", "c"]),
        ("WITH t AS (SELECT k, MAX(count) AS most FROM numbers GROUP BY k) SELECT most FROM t WHERE k = 'a'", &["3"]),
        (
            "SELECT count, ROW_NUMBER() OVER (PARTITION BY k ORDER BY count DESC) AS r FROM numbers ORDER BY count",
            &["1|2", "2|1", "3|1", "4|1"],
        ),
        ("SELECT SUM(count) OVER (ORDER BY count) FROM numbers", &["1", "3", "6", "10"]),
        ("SELECT 1 + 1", &["2"]),
        ("SELECT CAST('7' AS INT), CASE WHEN TRUE THEN 'x' END", &["7|x"]),
        ("SHOW TABLES", &["numbers", "names", "broken"]),
        ("DESCRIBE numbers", &["k|STRING", "count|BIGINT"]),
    ] {
        assert_eq!(rows(text), want, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, kind, at, why) in [
        ("SELECT x FROM numbers", SqlErrorKind::Invalid, 8, "column `x` does not exist"),
        ("SELECT 1 FROM number", SqlErrorKind::Invalid, 15, "table `number` does not exist"),
        ("SELECT 1 FROM a.b.numbers", SqlErrorKind::Invalid, 19, "does not exist"),
        ("CREATE VIEW v AS SELECT 1", SqlErrorKind::Invalid, 1, "this is no SELECT"),
        ("SET 'a' = 'b'", SqlErrorKind::Invalid, 1, "this is no SELECT"),
    ] {
        let Err(BatchError::Sql(e)) = asked(text) else { panic!("{text} is taken") };
        assert_eq!((e.kind(), e.reason().contains(why)), (kind, true), "{text}: {e}");
        assert!(e.position().is_some_and(|p| p.line == 1 && (at == 19 || p.column == at)), "{text}: {e}");
    }
    let Err(BatchError::Table(e)) = asked("SELECT 1 FROM unread") else { panic!("it is taken") };
    assert_eq!(e.message(), "`g` is missing");
}

#[test]
fn what_a_table_says_while_it_is_read_comes_out_as_it_was() {
    for text in
        ["SELECT * FROM broken", "SELECT * FROM broken b JOIN numbers n ON b.k = n.k", "SELECT SUM(count) FROM broken"]
    {
        let Ok(Asked::Query(query)) = asked(text) else { panic!("{text} is refused") };
        let e = query.run(|_| Ok(())).unwrap_err();
        assert_eq!((e.kind(), e.message()), (thalweg_engine::ErrorKind::External, "`f` is damaged"), "{text}");
    }
    let Ok(Asked::Query(query)) = asked("SELECT * FROM numbers") else { panic!("it is refused") };
    assert_eq!(query.run(|_| Err(Error::user("enough"))).unwrap_err().message(), "enough");
}
