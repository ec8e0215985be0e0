//! Lays the places where settings are given over each other: defaults < file < environment < SQL < command line.
//!
//! The places may be read in any order; a weaker one never replaces what a stronger one has set. Every refusal names the
//! place, the setting and the remedy.

use super::value::Kind;
use super::{DEFAULTS, SPECS, Settings, Spec, flink};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use thalweg_connectors::options::{is_secret, shown};
use thalweg_sql::suggest::closest;
use toml::de::{DeTable, DeValue};

/// What every variable that holds a setting starts with.
const PREFIX: &str = "THALWEG_";
/// Variables that start so and are no settings: for the project's own tests and scripts.
const NO_SETTINGS: [&str; 3] = ["THALWEG_TEST_", "THALWEG_CI_", "THALWEG_JOB_MANAGER"];

/// Where a value was given; a later variant beats an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded file, with the line.
    Default(usize),
    /// A file given with `--config`, with the line.
    File(String, usize),
    /// A variable of the environment.
    Environment(String),
    /// A SET statement; whoever knows the text says where.
    Sql,
    /// An argument, as it was written.
    Argument(String),
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Origin::Default(_) => 0,
            Origin::File(..) => 1,
            Origin::Environment(_) => 2,
            Origin::Sql => 3,
            Origin::Argument(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default(line) => write!(f, "built-in defaults, line {line}"),
            Origin::File(path, line) => write!(f, "{path}, line {line}"),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Sql => f.write_str("SET statement"),
            Origin::Argument(text) => write!(f, "argument `{text}`"),
        }
    }
}

/// A setting that is refused: where it was given, why, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}; {remedy}")]
pub struct SettingError {
    /// Where it was given.
    pub origin: Origin,
    /// Why it is refused.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Takes settings from all places and knows the strongest value of each.
#[derive(Clone, Debug)]
pub struct Resolver {
    settings: Settings,
    /// What each setting was given as, and the rank of the place, by its index in `SPECS`.
    given: BTreeMap<usize, (String, u8)>,
}

impl Resolver {
    /// The documented defaults.
    pub fn new() -> Result<Resolver, SettingError> {
        let mut resolver = Resolver { settings: Settings::blank(), given: BTreeMap::new() };
        resolver.toml(DEFAULTS, Origin::Default)?;
        Ok(resolver)
    }

    /// What holds now.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Takes the text of a settings file; `path` is for people.
    pub fn file(&mut self, path: &str, text: &str) -> Result<(), SettingError> {
        self.toml(text, |line| Origin::File(path.to_owned(), line))
    }

    /// Takes all variables of the environment that are settings.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingError> {
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) || NO_SETTINGS.iter().any(|n| name.starts_with(n)) {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            let Some(spec) = SPECS.iter().position(|s| variable(s.name) == name) else {
                let known: Vec<String> = SPECS.iter().map(|s| variable(s.name)).collect();
                let near = closest(&name, known.iter().map(String::as_str));
                return Err(unknown(&name, near, origin, "unset it; `thalweg config` lists all settings"));
            };
            self.apply(spec, &value.to_string_lossy(), origin)?;
        }
        Ok(())
    }

    /// Takes one setting.
    pub fn put(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), SettingError> {
        let written = name.replace('_', "-");
        match SPECS.iter().position(|s| s.name == written) {
            Some(spec) => self.apply(spec, value, origin),
            None => {
                if let Some(remedy) = flink::remedy(name) {
                    return Err(SettingError { remedy, ..unknown(name, None, origin, "") });
                }
                let near = closest(name, SPECS.iter().map(|s| s.name));
                Err(unknown(name, near, origin, "`thalweg config` lists all settings"))
            }
        }
    }

    /// What a setting is given as now, and whether that beats what SQL says.
    pub fn get(&self, name: &str) -> Option<(&str, bool)> {
        let index = SPECS.iter().position(|s| s.name == name)?;
        let (value, rank) = self.given.get(&index)?;
        Some((value, *rank > Origin::Sql.rank()))
    }

    /// Takes `name=value`, as `--set` is given.
    pub fn argument(&mut self, text: &str) -> Result<(), SettingError> {
        let secret = text.split_once('=').filter(|(name, _)| is_secret(name));
        let shown = secret.map_or(text.to_owned(), |(name, value)| format!("{name}={}", shown(name, value)));
        let origin = Origin::Argument(format!("--set {shown}"));
        let Some((name, value)) = text.split_once('=') else {
            let remedy = "write `--set name=value`, such as `--set batch.rows=1024`".into();
            return Err(SettingError { origin, reason: "no `=`".into(), remedy });
        };
        self.put(name.trim(), value, origin)
    }

    fn apply(&mut self, index: usize, value: &str, origin: Origin) -> Result<(), SettingError> {
        let Some(Spec { name, kind }) = SPECS.get(index) else { return Ok(()) };
        let hidden = self.given.get(&index).is_some_and(|(_, rank)| *rank > origin.rank());
        // A hidden value is checked too, on a copy: a mistake must not wait until the stronger value is taken away.
        let mut settings = self.settings.clone();
        if let Err(expected) = kind.apply(&mut settings, value) {
            return Err(refusal(name, *kind, value, &expected, origin));
        }
        if !hidden {
            self.given.insert(index, (value.trim().to_owned(), origin.rank()));
            self.settings = settings;
        }
        Ok(())
    }

    fn toml(&mut self, text: &str, origin: impl Fn(usize) -> Origin) -> Result<(), SettingError> {
        let line = |at: usize| origin(text.get(..at).unwrap_or(text).matches('\n').count() + 1);
        let table = DeTable::parse(text).map_err(|e| SettingError {
            origin: line(e.span().map_or(0, |s| s.start)),
            reason: e.message().trim().replace('\n', ", "),
            remedy: "write it as TOML, in the form that `thalweg config` prints".into(),
        })?;
        let mut leaves = vec![];
        flatten("", table.get_ref(), &mut leaves);
        for (name, at, value) in leaves {
            match value {
                Some(value) => self.put(&name, &value, line(at))?,
                None => {
                    let reason = format!("setting `{name}` is a list, a date or a number with a point");
                    let remedy = "write a whole number, true, false or a text".into();
                    return Err(SettingError { origin: line(at), reason, remedy });
                }
            }
        }
        Ok(())
    }
}

fn refusal(name: &str, kind: Kind, value: &str, expected: &str, origin: Origin) -> SettingError {
    let shown: String = shown(name, value).chars().take(80).collect();
    let number = value.trim().bytes().all(|b| b.is_ascii_digit()) && !value.trim().is_empty();
    let remedy = match kind {
        Kind::Time { .. } | Kind::TimeOrOff { .. } if number => format!("add a unit: `{} ms`", value.trim()),
        Kind::Bytes { .. } if number => format!("add a unit: `{} B`", value.trim()),
        _ => format!("give {expected}"),
    };
    SettingError { origin, reason: format!("`{shown}` is no value of `{name}`: it takes {expected}"), remedy }
}

fn unknown(name: &str, near: Option<&str>, origin: Origin, otherwise: &str) -> SettingError {
    let shown: String = name.chars().take(80).collect();
    let remedy = near.map_or_else(|| otherwise.to_owned(), |n| format!("did you mean `{n}`?"));
    SettingError { origin, reason: format!("there is no setting `{shown}`"), remedy }
}

/// The setting's name in the environment.
pub(super) fn variable(name: &str) -> String {
    let word = |c: char| if c == '.' || c == '-' { '_' } else { c.to_ascii_uppercase() };
    PREFIX.chars().chain(name.chars().map(word)).collect()
}

/// The settings of a table with their byte offsets; no value if it is of a type that no setting has. The parser bounds the depth.
fn flatten(prefix: &str, table: &DeTable<'_>, out: &mut Vec<(String, usize, Option<String>)>) {
    for (key, value) in table.iter() {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let text = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(&name, inner, out);
                continue;
            }
            DeValue::String(s) => Some(s.to_string()),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n.to_string()),
            DeValue::Boolean(b) => Some(b.to_string()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => None,
        };
        out.push((name, key.span().start, text));
    }
}
