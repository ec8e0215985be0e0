//! Keeps passwords and the like out of error texts, which show a line of the user's file and quote words of it.
//!
//! Called by `text` for every error. A secret is the text literal behind one whose text is the name of a secret option, with
//! nothing but blanks and `=` between the two.
//!
//! Invariants
//! - H1 hiding changes no byte offset of the text, so places in it stay what they are.

use std::ops::Range;
use thalweg_connectors::options::is_secret;

/// Shorter values are not looked for in messages: too many words would hold them. In bytes.
const SECRET_BYTES: usize = 4;

/// Where the text literals stand, without their quotes; comments and quoted names are stepped over.
fn literals(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let find = |from: usize, what: &str| text.get(from..).and_then(|t| t.find(what)).map_or(text.len(), |i| from + i);
    let (mut out, mut at) = (vec![], 0);
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'-' if bytes.get(at + 1) == Some(&b'-') => find(at, "\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => find(at + 2, "*/"),
            b'"' => find(at + 1, "\"") + 1,
            b'`' => find(at + 1, "`") + 1,
            b'\'' => {
                let mut end = find(at + 1, "'");
                while bytes.get(end + 1) == Some(&b'\'') {
                    end = find(end + 2, "'");
                }
                out.push(at + 1..end);
                end + 1
            }
            _ => at + 1,
        };
    }
    out
}

/// Where the secrets stand. A variable is none: it is its value that must not be shown.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let literals = literals(text);
    let secret = |pair: &[Range<usize>]| {
        let [name, value] = pair else { return None };
        let between = text.get(name.end + 1..value.start - 1)?;
        let belongs = between.chars().all(|c| c.is_whitespace() || c == '=');
        let shown = text.get(value.clone())?;
        let is_variable = shown.starts_with("${") && shown.ends_with('}');
        (belongs && !is_variable && is_secret(text.get(name.clone())?)).then(|| value.clone())
    };
    literals.windows(2).filter_map(secret).collect()
}

/// The text with a `*` for every byte of a secret, line ends aside.
pub(crate) fn hidden(text: &str) -> String {
    let mut out = text.to_owned();
    for place in secrets(text) {
        let shown = text.get(place.clone()).unwrap_or_default();
        let stars: String = shown.bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
        out.replace_range(place, &stars);
    }
    out
}

/// The message without the secrets of the text.
pub(crate) fn without(text: &str, mut message: String) -> String {
    for place in secrets(text) {
        let secret = text.get(place).unwrap_or_default();
        if secret.len() >= SECRET_BYTES && message.contains(secret) {
            message = message.replace(secret, "******");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_options_are_hidden_where_they_stand() {
        for (text, out) in [
            (
                "'a' = 'b', 'sasl.password' = 'hun''ter2ü', 'c' = 'd'",
                "'a' = 'b', 'sasl.password' = '***********', 'c' = 'd'",
            ),
            ("-- don't\n'token'\n=\n'two\nlines'", "-- don't\n'token'\n=\n'***\n*****'"),
            ("/* it's */ \"it's\" `it's` 'password' 'x'", "/* it's */ \"it's\" `it's` 'password' '*'"),
            ("'password', 'x'", "'password', 'x'"),
            ("'password' = '${PW}'", "'password' = '${PW}'"),
        ] {
            assert_eq!(hidden(text), out);
        }
    }

    #[test]
    fn messages_lose_what_they_quote() {
        assert_eq!(without("'password' 'hunter2'", "found 'hunter2'".into()), "found '******'");
        assert_eq!(without("'password' = ''", "found ''".into()), "found ''");
    }

    #[test]
    fn broken_texts_are_read_to_their_end() {
        let texts =
            ["", "'", "'a", "'password'='x", "'password'='", "/*", "/*/", "--", "\"", "`", "'''", "'password'", "ü'ü"];
        for text in texts {
            assert_eq!(hidden(text).len(), text.len(), "{text}");
        }
        assert_eq!(hidden("'password'='x"), "'password'='*");
    }
}
