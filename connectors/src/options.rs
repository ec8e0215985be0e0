//! The options of a `WITH (..)` clause: text in, typed values with units out, every mistake named with its key and its remedy.
//!
//! Called by the registry and by connectors when a table is declared or planned; nothing here does I/O. A connector lists what it
//! knows as [`OptionSpec`]s: the list is its documentation, its defaults and its check at once.
//!
//! Invariants
//! - O1 an option that nobody knows is an error, never ignored.
//! - O2 the value of a secret appears in no text made here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use thalweg_engine::error::Error;

/// A result of reading options.
pub type OptionResult<T> = std::result::Result<T, OptionError>;

/// What is wrong with a table's options. The key lets the caller point at the option's line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    /// The option that is meant, if one is.
    pub key: Option<String>,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl OptionError {
    /// A mistake that is in no single option.
    pub fn new(message: impl Into<String>) -> OptionError {
        OptionError { key: None, message: message.into(), remedy: None }
    }

    /// A mistake in this option.
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> OptionError {
        OptionError { key: Some(key.into()), message: message.into(), remedy: None }
    }

    /// Adds what to write instead.
    pub fn remedy(self, remedy: impl Into<String>) -> OptionError {
        OptionError { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key.as_ref().filter(|_| !self.message.starts_with("option `")) {
            write!(f, "option `{key}`: ")?;
        }
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OptionError {}

impl From<OptionError> for Error {
    fn from(e: OptionError) -> Error {
        Error::user(e.to_string())
    }
}

impl From<Error> for OptionError {
    /// A text that opens with ``option `name` `` is about that option.
    fn from(e: Error) -> OptionError {
        let named = e.message().strip_prefix("option `").and_then(|rest| rest.split_once('`'));
        match named {
            Some((key, rest)) => OptionError::at(key, rest.strip_prefix(": ").unwrap_or(e.message())),
            None => OptionError::new(e.message()),
        }
    }
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text that is not empty.
    Text,
    /// Any text, blanks and the empty one included.
    Raw,
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Float,
    /// A time span: `500 ms`, `10 s`, `1 min`, `2 h`, `1 d`; without a unit milliseconds.
    Duration,
    /// A size in memory: `64 kb`, `128MB`, `1 gb` (powers of 1024); without a unit bytes.
    Bytes,
    /// One of these words; case does not matter.
    OneOf(&'static [&'static str]),
}

/// An option that a connector knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name. `#` stands for the name of a column, a `*` at the end for any rest.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ValueKind,
    /// What holds if it is not given.
    pub default: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
}

impl OptionSpec {
    /// An option without a default.
    pub const fn new(name: &'static str, kind: ValueKind, doc: &'static str) -> OptionSpec {
        OptionSpec { name, kind, default: None, doc }
    }

    /// An option with a default.
    pub const fn with_default(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        doc: &'static str,
    ) -> OptionSpec {
        OptionSpec { name, kind, default: Some(default), doc }
    }

    /// Whether this is the option of that name.
    pub fn matches(&self, key: &str) -> bool {
        if let Some(prefix) = self.name.strip_suffix('*') {
            return key.len() > prefix.len() && key.starts_with(prefix);
        }
        match self.name.split_once('#') {
            Some((before, after)) => {
                let middle = key.strip_prefix(before).and_then(|k| k.strip_suffix(after));
                middle.is_some_and(|m| !m.is_empty())
            }
            None => self.name == key,
        }
    }
}

/// The options of one table, as written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Takes the pairs of a WITH clause. Errors: a key that is given twice.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> OptionResult<Options> {
        let mut options = Options::default();
        for (key, value) in pairs {
            let key = key.into();
            if options.0.contains_key(&key) {
                return Err(OptionError::at(key, "given twice").remedy("keep one of them"));
            }
            options.0.insert(key, value.into());
        }
        Ok(options)
    }

    /// The value as written, if the option is given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All options by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The options whose name starts with `prefix`, without it.
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let stripped = self.0.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone())));
        stripped.collect()
    }

    /// The options as a map.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Checks names and values against what `owner` knows, and gives typed access. Errors: an unknown option, with the nearest
    /// known one; a value of the wrong kind.
    pub fn check<'a>(&'a self, owner: &str, known: &'a [OptionSpec]) -> OptionResult<TypedOptions<'a>> {
        let typed = TypedOptions { options: self, known };
        for (key, value) in &self.0 {
            let Some(spec) = known.iter().find(|s| s.matches(key)) else {
                return Err(unknown(owner, key, known));
            };
            check_value(key, value.trim(), spec.kind)?;
        }
        Ok(typed)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(k, v)| (k, shown(k, v)))).finish()
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (k, v)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}'{k}' = '{}'", shown(k, v))?;
        }
        Ok(())
    }
}

/// Whether the value of this option must not be shown.
pub fn is_secret(key: &str) -> bool {
    // `pasw`: a misspelled name is refused with its line, and the value in it is still a secret.
    const WORDS: [&str; 8] = ["pass", "pasw", "pwd", "secret", "token", "credential", "jaas.config", "private.key"];
    let key = key.to_ascii_lowercase();
    key.ends_with("ssl.key.pem") || WORDS.iter().any(|w| key.contains(w))
}

/// The value as it may be shown.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "******" } else { value }
}

/// The known name nearest to `name`, if so few letters have to change (one of three, four in all) that it may have been meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    // Distance is quadratic in length: nobody means a name of a kilobyte.
    if wanted.len() > 128 {
        return None;
    }
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let near = |k: &'a str| {
        let distance = strsim::damerau_levenshtein(&wanted, &k.to_lowercase());
        (k.len() <= 256 && distance <= allowed).then_some((distance, k))
    };
    known.into_iter().filter_map(near).min().map(|(_, k)| k)
}

fn unknown(owner: &str, key: &str, known: &[OptionSpec]) -> OptionError {
    let mut names: Vec<&str> = known.iter().map(|s| s.name).collect();
    names.sort_unstable();
    let remedy = match nearest(key, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? {owner} knows {}", names.join(", ")),
        None => format!("{owner} knows {}", names.join(", ")),
    };
    OptionError::at(key, format!("unknown to {owner}")).remedy(remedy)
}

fn check_value(key: &str, value: &str, kind: ValueKind) -> OptionResult<()> {
    match kind {
        ValueKind::Text if value.is_empty() => Err(OptionError::at(key, "is empty")),
        ValueKind::Text | ValueKind::Raw => Ok(()),
        ValueKind::Bool => parse_bool(key, value).map(drop),
        ValueKind::Integer => parse_integer(key, value).map(drop),
        ValueKind::Float => parse_float(key, value).map(drop),
        ValueKind::Duration => parse_duration(key, value).map(drop),
        ValueKind::Bytes => parse_bytes(key, value).map(drop),
        ValueKind::OneOf(words) => parse_word(key, value, words).map(drop),
    }
}

fn invalid(key: &str, value: &str, expected: &str) -> OptionError {
    OptionError::at(key, format!("'{}' is not {expected}", shown(key, value)))
}

fn parse_bool(key: &str, value: &str) -> OptionResult<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(key, value, "'true' or 'false'")),
    }
}

fn parse_integer(key: &str, value: &str) -> OptionResult<i64> {
    value.parse().map_err(|_| invalid(key, value, "a whole number of 64 bits"))
}

fn parse_float(key: &str, value: &str) -> OptionResult<f64> {
    let number = value.parse::<f64>().ok().filter(|f| f.is_finite());
    number.ok_or_else(|| invalid(key, value, "a number"))
}

fn parse_word(key: &str, value: &str, words: &'static [&'static str]) -> OptionResult<&'static str> {
    let found = words.iter().find(|w| w.eq_ignore_ascii_case(value));
    found.copied().ok_or_else(|| {
        let all: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
        let near = nearest(value, words.iter().copied()).map(|w| format!("did you mean '{w}'?"));
        let error = invalid(key, value, &format!("one of {}", all.join(", ")));
        OptionError { remedy: near, ..error }
    })
}

/// Number and unit; a number alone has the empty unit.
fn number_and_unit(value: &str) -> Option<(u64, String)> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number = value.get(..end)?.parse().ok()?;
    Some((number, value.get(end..)?.trim().to_ascii_lowercase()))
}

/// A time span from text, as [`ValueKind::Duration`] describes it. Errors name `key`.
pub fn parse_duration(key: &str, value: &str) -> OptionResult<Duration> {
    let wrong = || invalid(key, value, "a duration").remedy("write a whole number and ms, s, min, h or d: '10 s'");
    let (number, unit) = number_and_unit(value).ok_or_else(wrong)?;
    let nanos: u64 = match unit.as_str() {
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "us" | "\u{b5}s" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return Err(wrong()),
    };
    let long = || invalid(key, value, "a duration that fits (at most about 292 years)");
    let nanos = number.checked_mul(nanos).filter(|n| i64::try_from(*n).is_ok()).ok_or_else(long)?;
    Ok(Duration::from_nanos(nanos))
}

/// A size in bytes from text, as [`ValueKind::Bytes`] describes it. Errors name `key`.
pub fn parse_bytes(key: &str, value: &str) -> OptionResult<u64> {
    let wrong = || invalid(key, value, "a size").remedy("write a whole number and b, kb, mb, gb or tb: '128MB'");
    let (number, unit) = number_and_unit(value).ok_or_else(wrong)?;
    let shift = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => 0,
        "k" | "kb" | "kib" | "kibibytes" => 10,
        "m" | "mb" | "mib" | "mebibytes" => 20,
        "g" | "gb" | "gib" | "gibibytes" => 30,
        "t" | "tb" | "tib" | "tebibytes" => 40,
        _ => return Err(wrong()),
    };
    let bytes = number.checked_mul(1 << shift).filter(|n| i64::try_from(*n).is_ok());
    bytes.ok_or_else(|| invalid(key, value, "a size that fits (below 8 million tb)"))
}

/// Typed access to checked options. What is not given is the default of its [`OptionSpec`].
#[derive(Clone, Copy, Debug)]
pub struct TypedOptions<'a> {
    options: &'a Options,
    known: &'a [OptionSpec],
}

impl<'a> TypedOptions<'a> {
    /// The options as written.
    pub fn options(&self) -> &'a Options {
        self.options
    }

    /// Whether the option is written.
    pub fn is_given(&self, key: &str) -> bool {
        self.options.get(key).is_some()
    }

    /// The value or the default, trimmed.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let default = || self.known.iter().find(|s| s.matches(key)).and_then(|s| s.default);
        self.options.get(key).map(str::trim).or_else(default)
    }

    /// The value as written, blanks included (a delimiter may be one), or the default.
    pub fn raw(&self, key: &str) -> Option<&'a str> {
        self.options.get(key).or_else(|| self.text(key))
    }

    /// The value; an error that says what is missing.
    pub fn required(&self, key: &str) -> OptionResult<&'a str> {
        let missing = || {
            let doc = self.known.iter().find(|s| s.matches(key)).map_or("", |s| s.doc);
            OptionError::new(format!("option `{key}` is missing")).remedy(format!("add '{key}' = '..': {doc}"))
        };
        self.text(key).ok_or_else(missing)
    }

    /// A flag; false if there is neither value nor default.
    pub fn flag(&self, key: &str) -> OptionResult<bool> {
        self.text(key).map_or(Ok(false), |v| parse_bool(key, v))
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> OptionResult<Option<i64>> {
        self.text(key).map(|v| parse_integer(key, v)).transpose()
    }

    /// A whole number within limits.
    pub fn integer_within(&self, key: &str, min: i64, max: i64) -> OptionResult<Option<i64>> {
        let Some(number) = self.integer(key)? else { return Ok(None) };
        if (min..=max).contains(&number) {
            return Ok(Some(number));
        }
        Err(OptionError::at(key, format!("{number} is not within {min} and {max}")))
    }

    /// A number.
    pub fn float(&self, key: &str) -> OptionResult<Option<f64>> {
        self.text(key).map(|v| parse_float(key, v)).transpose()
    }

    /// A time span.
    pub fn duration(&self, key: &str) -> OptionResult<Option<Duration>> {
        self.text(key).map(|v| parse_duration(key, v)).transpose()
    }

    /// A size in bytes.
    pub fn bytes(&self, key: &str) -> OptionResult<Option<u64>> {
        self.text(key).map(|v| parse_bytes(key, v)).transpose()
    }

    /// The value of an option that is one of a few words. Errors: a word that is none of them.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> OptionResult<Option<T>> {
        let Some(value) = self.text(key) else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)).map(|(_, choice)| *choice);
        let words = || choices.iter().map(|(w, _)| format!("'{w}'")).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| invalid(key, value, &format!("one of {}", words())))
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
