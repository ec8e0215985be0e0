//! Planning is a pure function of the text: no broker is asked and no folder opened, operator ids do not depend on where things
//! stand, and the list of connectors in the docs is the registry's.
//!
//! `THALWEG_TEST_WRITE_GOLDEN=1` writes the golden files anew.

use crate::binary::ended;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use thalweg::Session;
use thalweg_connectors::Registry;
use thalweg_connectors::terminal::{RowFormat, Terminal};
use thalweg_engine::type_name;

const OUTSIDE: &str = "
    CREATE TABLE topic (a BIGINT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json',
        'properties.bootstrap.servers' = '127.0.0.1:1', 'scan.startup.mode' = 'earliest-offset');
    CREATE TABLE folder (a BIGINT) WITH ('connector' = 'filesystem', 'path' = '/no/such/folder/anywhere', 'format' = 'json');
    CREATE TABLE forget (a BIGINT) WITH ('connector' = 'blackhole');
";

fn same_as_golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("THALWEG_TEST_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden == text, "{file} is not up to date; it should be:\n{text}");
}

#[test]
fn planning_asks_nobody_and_the_job_says_what_is_missing() {
    let insert = "INSERT INTO forget SELECT a FROM topic; INSERT INTO forget SELECT a FROM folder;";
    let program = Session::new().unwrap().compile(&format!("{OUTSIDE}{insert}"), &BTreeMap::new()).unwrap();
    assert_eq!(program.jobs().count(), 2);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("job.sql");
    std::fs::write(&file, format!("{OUTSIDE}INSERT INTO forget SELECT a FROM folder;")).unwrap();
    let explained = ended(&["explain", file.to_str().unwrap()]);
    assert_eq!(explained.status, 0, "{}", explained.stderr);
    let run = ended(&["run", file.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}", run.stderr);
    assert!(run.stderr.contains("/no/such/folder/anywhere"), "{}", run.stderr);
}

fn graph(text: &str) -> serde_json::Value {
    let program = Session::new().unwrap().compile(text, &BTreeMap::new()).unwrap();
    program.jobs().last().unwrap().graph.to_json()
}

fn ids(graph: &serde_json::Value) -> Vec<String> {
    let nodes = graph["nodes"].as_array().unwrap();
    let mut ids: Vec<String> = nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn the_graph_with_its_ids_and_signatures_is_as_committed() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nexmark_hot_items.sql"));
    let text = text.unwrap();
    let picture = graph(&text);
    same_as_golden("tests/cli/golden/hot_items.json", &format!("{picture:#}\n"));
    // Another line, another table in front: the ids stay, so state is found again.
    let moved = format!("\n\n-- moved\nCREATE TABLE unused (a INT) WITH ('connector' = 'blackhole');\n{text}");
    assert_eq!(ids(&graph(&moved)), ids(&picture));
}

#[test]
fn the_connectors_page_is_the_registrys() {
    let registry = Registry::standard(&Terminal::new(std::io::sink(), RowFormat::Text, ""));
    let mut page = String::from(
        "# Connectors and their options\n\nWritten from the registry; a test compares the two. `#` stands for the name of a column, \
         `*` for any rest.\n",
    );
    for (connector, options) in registry.describe() {
        writeln!(page, "\n## {}\n\n{}.\n", connector.name, connector.doc).unwrap();
        writeln!(page, "| option | default | meaning |\n|---|---|---|").unwrap();
        for o in options {
            let default = o.default.map(|d| format!("`{d}`")).unwrap_or_default();
            writeln!(page, "| `{}` | {default} | {} |", o.name, o.doc.replace('|', "\\|")).unwrap();
        }
        for note in &connector.notes {
            writeln!(page, "\n{note}").unwrap();
        }
        if !connector.metadata.is_empty() {
            writeln!(page, "\n| METADATA column | type | written | meaning |\n|---|---|---|---|").unwrap();
            for m in &connector.metadata {
                let written = if m.is_writable { "yes" } else { "" };
                writeln!(page, "| `{}` | {} | {written} | {} |", m.key, type_name(&m.data_type), m.doc).unwrap();
            }
        }
    }
    same_as_golden("docs/connectors.md", &page);
}
