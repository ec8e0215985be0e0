//! What the arguments name: settings files, the environment, SQL texts and their variables. All the reading of a command
//! happens here, before anything starts.

use crate::cli::arguments::{ProgramArguments, SettingArguments};
use crate::cli::console::Failure;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use thalweg::settings::{Origin, Resolver, SettingError};

/// The largest settings file, in bytes.
const SETTINGS_BYTES: u64 = 1 << 20;
/// One byte more than the planner accepts, so that it is the planner who refuses.
const PROGRAM_BYTES: u64 = thalweg::sql::limits::TEXT_BYTES as u64 + 1;

/// A SQL text with what belongs to it.
#[derive(Debug)]
pub(crate) struct Input {
    /// The file's name, for people.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) defines: BTreeMap<String, String>,
    pub(crate) settings: Resolver,
}

/// Reads everything that the arguments name.
pub(crate) fn read(arguments: &ProgramArguments) -> Result<Input, Failure> {
    let settings = settings(&arguments.settings)?;
    let defines = defines(&arguments.define)?;
    let name = if arguments.file.as_os_str() == "-" { "<stdin>".into() } else { arguments.file.display().to_string() };
    let text = if arguments.file.as_os_str() == "-" {
        read_text(std::io::stdin().lock(), PROGRAM_BYTES)
    } else {
        std::fs::File::open(&arguments.file).map_err(|e| e.to_string()).and_then(|f| read_text(f, PROGRAM_BYTES))
    };
    let mut text = text.map_err(|e| Failure::refused(format!("read `{name}`: {e}")))?;
    // Some editors mark UTF-8 with it; it is no part of the text, and columns are counted without it.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(Input { name, text, defines, settings })
}

/// Resolves the settings of all places but SQL.
pub(crate) fn settings(arguments: &SettingArguments) -> Result<Resolver, Failure> {
    let mut resolver = Resolver::new().map_err(refused)?;
    if let Some(path) = &arguments.config {
        let text = read_settings(path)?;
        resolver.file(&path.display().to_string(), &text).map_err(refused)?;
    }
    resolver.environment(std::env::vars_os()).map_err(refused)?;
    for text in &arguments.set {
        resolver.argument(text).map_err(refused)?;
    }
    if let Some(n) = &arguments.parallelism {
        resolver.put("parallelism", n, Origin::Argument(format!("--parallelism {n}"))).map_err(refused)?;
    }
    Ok(resolver)
}

fn refused(e: SettingError) -> Failure {
    Failure::refused(e.to_string())
}

fn read_settings(path: &Path) -> Result<String, Failure> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string());
    let text = file.and_then(|f| read_text(f, SETTINGS_BYTES + 1)).and_then(|text| {
        let fits = text.len() as u64 <= SETTINGS_BYTES;
        if fits { Ok(text) } else { Err(format!("it is larger than {SETTINGS_BYTES} bytes")) }
    });
    text.map_err(|e| Failure::refused(format!("read settings file `{}`: {e}", path.display())))
}

/// At most so many bytes: an endless device must not fill the memory.
fn read_text(from: impl Read, bytes_max: u64) -> Result<String, String> {
    let mut bytes = vec![];
    from.take(bytes_max).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 == bytes_max {
        // The cut may fall into a character; what is too long is refused for its length.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|e| format!("byte {} is not UTF-8", e.utf8_error().valid_up_to() + 1))
}

/// `NAME=VALUE` of every --define.
fn defines(arguments: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut out = BTreeMap::new();
    for text in arguments {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::refused(format!("argument `--define {text}`: no `=`; write `--define NAME=VALUE`")));
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        if name.is_empty() || !name.chars().all(word) {
            let remedy = "use letters, digits, `_`, `-` and `.`";
            return Err(Failure::refused(format!("argument `--define {text}`: `{name}` is no name; {remedy}")));
        }
        if out.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::refused(format!("argument `--define {text}`: `{name}` is defined twice; remove one")));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defines_are_names_and_values() {
        let given: Vec<String> = ["A=1", "b.c-d_e=x=y", "EMPTY="].map(String::from).to_vec();
        let out = defines(&given).unwrap();
        assert_eq!((out["A"].as_str(), out["b.c-d_e"].as_str(), out["EMPTY"].as_str()), ("1", "x=y", ""));
        for (bad, why) in [("A", "no `=`"), ("=1", "is no name"), ("a b=1", "is no name"), ("A}=1", "is no name")] {
            assert!(defines(&[bad.to_owned()]).unwrap_err().text.contains(why), "{bad}");
        }
        let twice = defines(&["A=1".into(), "A=1".into()]).unwrap_err();
        assert!(twice.text.contains("defined twice"), "{}", twice.text);
    }

    #[test]
    fn texts_are_bounded_and_utf8() {
        assert_eq!(read_text(std::io::repeat(b'x'), 100).unwrap().len(), 100);
        assert_eq!(read_text(&b"ab\xff"[..], 100).unwrap_err(), "byte 3 is not UTF-8");
        assert_eq!(read_text("äöü".as_bytes(), 3).unwrap().chars().count(), 2);
    }
}
