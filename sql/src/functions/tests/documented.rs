//! `docs/functions.md` names every visible scalar function, and only those.

use std::collections::BTreeSet;

use super::*;
use crate::functions::HIDDEN;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/functions.md"));

fn names(udf: &ScalarUDF) -> Vec<String> {
    std::iter::once(udf.name().to_string()).chain(udf.aliases().iter().cloned()).collect()
}

/// The back-quoted names at the start of table rows: `` | `NAME(..)`, `OTHER(..)` | ``.
fn documented() -> BTreeSet<String> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split(" | ").next());
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>());
    quoted.map(|call| call.split('(').next().unwrap_or_default().to_ascii_lowercase()).collect()
}

#[test]
fn the_document_lists_what_is_visible() {
    let ours = scalar_functions();
    let theirs = datafusion_functions::all_default_functions();
    let visible: BTreeSet<String> = ours
        .iter()
        .chain(&theirs)
        .flat_map(|udf| names(udf))
        .filter(|name| !HIDDEN.contains(&name.as_str()) || ours.iter().any(|udf| names(udf).contains(name)))
        .collect();
    let documented = documented();
    let missing: Vec<_> = visible.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&visible).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not documented: {missing:?}; not registered: {unknown:?}");
}

#[test]
fn names_are_lower_case_and_given_once() {
    let mut seen = BTreeSet::new();
    for name in scalar_functions().iter().flat_map(|udf| names(udf)) {
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(seen.insert(name.clone()), "`{name}` is registered twice");
    }
    let theirs: BTreeSet<String> =
        datafusion_functions::all_default_functions().iter().flat_map(|udf| names(udf)).collect();
    let gone: Vec<_> = HIDDEN.iter().filter(|name| !theirs.contains(**name)).collect();
    assert!(gone.is_empty(), "hidden but not there: {gone:?}");
}
