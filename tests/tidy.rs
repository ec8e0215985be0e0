//! Checks on the text of the project that neither the compiler nor clippy makes: file heads, lengths, banned words.
//!
//! Walks the working tree (build output and hidden folders aside), so it needs no version control and no tool. The
//! measures are coarse on purpose: a function's end is the brace at its own indentation, as rustfmt writes it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const TEXT_EXTENSIONS: [&str; 7] = ["rs", "toml", "md", "sql", "slt", "sh", "yml"];
const BANNED_MODULES: [&str; 5] = ["utils", "util", "common", "helpers", "misc"];

/// Words that must not stay behind. Written in halves, so that this file does not contain them.
const BANNED_WORDS: [(&str, &str); 8] = [
    (concat!("TO", "DO"), "finish it or file an issue"),
    (concat!("FIX", "ME"), "fix it or file an issue"),
    (concat!("XX", "X"), "say what is wrong or remove it"),
    (concat!("dbg", "!("), "remove the debugging aid"),
    (concat!("todo", "!("), "write the code"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether users run this code: not tests, benchmarks, examples or build scripts.
    fn is_library(&self) -> bool {
        let folders = ["tests/", "benches/", "examples/"];
        let in_folder = folders.iter().any(|f| self.path.starts_with(f) || self.path.contains(&format!("/{f}")));
        self.is_rust() && !in_folder && !self.path.ends_with("tests.rs") && !self.path.ends_with("_test.rs")
    }
}

fn walk(dir: &Path, root: &Path, out: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let ci = name == ".ci" || path.parent().and_then(Path::file_name).is_some_and(|n| n == ".ci");
        if (name.starts_with('.') && !ci) || name == "target" || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(&path, root, out);
        } else if ci || name == "justfile" || TEXT_EXTENSIONS.iter().any(|e| name.ends_with(&format!(".{e}"))) {
            let text = fs::read_to_string(&path).unwrap();
            out.push(Source { path: path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"), text });
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    walk(root, root, &mut out);
    assert!(out.iter().any(|s| s.path == "tests/tidy.rs"), "the walk found {} files, but not this one", out.len());
    out
}

fn assert_none(what: &str, mut faults: Vec<String>) {
    faults.sort();
    assert!(faults.is_empty(), "{what}:\n  {}\n", faults.join("\n  "));
}

fn check(what: &str, faults_of: impl Fn(&Source) -> Vec<String>) {
    assert_none(what, sources().iter().flat_map(faults_of).collect());
}

/// Name, first line (from 0) and number of lines of each function of a formatted file.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closes = |l: &&str| l.len() - l.trim_start().len() == indent && l.trim_start().starts_with('}');
        let declares = |l: &&str| l.trim_end().ends_with(';') && l.len() - l.trim_start().len() <= indent;
        if line.trim_end().ends_with('}') || declares(line) {
            out.push((name, start, 1));
            continue;
        }
        let end = lines[start + 1..].iter().position(|l| closes(l) || (l.trim() == ";") || declares(l));
        out.push((name, start, end.map_or(1, |n| n + 2)));
    }
    out
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.trim_start().split_inclusive([' ', '(']);
    loop {
        match words.next()?.trim_end() {
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" | "pub(crate)" | "pub(super)" => continue,
            "pub(" | "crate)" | "super)" => continue,
            "fn" => break,
            _ => return None,
        }
    }
    let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    check("files that do not open with `//!`", |s| {
        let good = !s.is_rust() || s.text.starts_with("//! ");
        if good { vec![] } else { vec![s.path.clone()] }
    });
}

#[test]
fn files_are_short() {
    check("rust files over the limit of lines", |s| {
        let lines = s.text.lines().count();
        let good = !s.is_rust() || lines <= FILE_LINES_MAX;
        if good { vec![] } else { vec![format!("{}: {lines} lines, at most {FILE_LINES_MAX}", s.path)] }
    });
}

#[test]
fn functions_are_short() {
    check("functions over the limit of lines", |s| {
        if !s.is_rust() {
            return vec![];
        }
        let long = functions(&s.text).into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
        long.map(|(name, at, lines)| {
            format!("{}:{}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}", s.path, at + 1)
        })
        .collect()
    });
}

#[test]
fn library_code_does_not_unwrap() {
    let all = sources();
    // An attribute at the head of `mod.rs` speaks for the modules in its folder.
    let folders: Vec<&str> =
        all.iter().filter(|s| has_file_wide_reason(&s.text)).filter_map(|s| s.path.strip_suffix("mod.rs")).collect();
    check("unwrap or expect in library code without a stated reason", |s| {
        let excused = folders.iter().any(|f| s.path.starts_with(f)) || has_file_wide_reason(&s.text);
        if !s.is_library() || s.text.contains("#![cfg(test)]") || excused {
            return vec![];
        }
        let library = s.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines: Vec<&str> = library.lines().collect();
        let functions = functions(library);
        let unwraps = |l: &str| l.contains(".unwrap()") || l.contains(".expect(\"");
        let excused = |at: usize| {
            // The attribute stands on the statement, on the function, or on the item just above it.
            let start = functions.iter().rev().find(|f| f.1 <= at && at < f.1 + f.2).map_or(at, |f| f.1);
            let around = &lines[start.saturating_sub(8)..at];
            around.iter().any(|l| l.contains("clippy::unwrap_used") || l.contains("clippy::expect_used"))
        };
        let code = lines.iter().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//"));
        code.filter(|(at, l)| unwraps(l) && !excused(*at)).map(|(at, _)| format!("{}:{}", s.path, at + 1)).collect()
    });
}

fn has_file_wide_reason(text: &str) -> bool {
    let attribute = |l: &&str| l.starts_with("#![expect(") || l.starts_with("#![allow(");
    text.lines().take(60).any(|l| attribute(&l))
        && (text.contains("clippy::unwrap_used") || text.contains("clippy::expect_used"))
}

#[test]
fn no_word_is_left_behind() {
    check("banned words", |s| {
        let hits = s.text.lines().enumerate().flat_map(|(at, line)| {
            BANNED_WORDS.iter().filter(|(word, _)| line.contains(word)).map(move |(word, why)| (at + 1, *word, *why))
        });
        hits.map(|(at, word, why)| format!("{}:{at}: `{word}`: {why}", s.path)).collect()
    });
}

#[test]
fn no_module_is_a_drawer() {
    check("modules whose name says nothing", |s| {
        let stem = s.path.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
        let file = s.is_rust() && BANNED_MODULES.contains(&stem);
        let declared = s.text.lines().filter(|l| {
            let name = l.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ");
            s.is_rust() && name.is_some_and(|n| BANNED_MODULES.contains(&n.trim_end_matches([' ', '{', ';'])))
        });
        let mut faults: Vec<String> = declared.map(|l| format!("{}: `{}`", s.path, l.trim())).collect();
        faults.extend(file.then(|| s.path.clone()));
        faults
    });
}

#[test]
fn lengths_are_counted_as_written() {
    let text = "pub(crate) fn a(\n    x: u8,\n) -> u8 {\n    x\n}\nimpl T {\n    fn b(&self) {}\n    unsafe fn c() {\n    }\n}\n\
                trait U {\n    fn d(&self);\n    fn e(\n        &self,\n    ) -> u8;\n}\nlet fnord = 1;\n";
    let found: Vec<(String, usize)> = functions(text).into_iter().map(|(name, _, lines)| (name, lines)).collect();
    let expected = [("a", 5), ("b", 1), ("c", 2), ("d", 1), ("e", 3)].map(|(n, l)| (n.to_string(), l));
    assert_eq!(found, expected);
}
