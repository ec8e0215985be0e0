//! Keeps passwords and the like out of error texts, which show a line of the user's file and quote words of it, and out of SHOW CREATE.
//!
//! Called by `text` for every error. A secret is the text literal behind one whose text is the name of a secret option, with
//! nothing but blanks and `=` between the two. In a text that cannot be read (a quote too few takes all literals behind it out of step)
//! it is also every word on the line behind such a name, and what the next quotes hold.
//!
//! Invariants
//! - H1 every secret is shown as [`STARS`], whatever its length; the caret is moved along, places in the file stay what they are.

use std::ops::Range;
use thalweg_connectors::options::is_secret;

/// What stands in the place of a secret.
const STARS: &str = "******";
/// Shorter values are not looked for in messages: too many words would hold them. In bytes.
const SECRET_BYTES: usize = 4;

/// Where the text literals stand, without their quotes, and whether all quotes and comments are closed. Comments and quoted names are
/// stepped over.
fn literals(text: &str) -> (Vec<Range<usize>>, bool) {
    let bytes = text.as_bytes();
    let find = |from: usize, what: &str| text.get(from..).and_then(|t| t.find(what)).map_or(text.len(), |i| from + i);
    let (mut out, mut at, mut closed) = (vec![], 0, true);
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'-' if bytes.get(at + 1) == Some(&b'-') => find(at, "\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = find(at + 2, "*/");
                closed &= end < text.len();
                end
            }
            b'"' | b'`' => {
                let end = find(at + 1, if *byte == b'"' { "\"" } else { "`" });
                closed &= end < text.len();
                end + 1
            }
            b'\'' => {
                let end = end_of_literal(text, at + 1);
                closed &= end < text.len();
                out.push(at + 1..end);
                end + 1
            }
            _ => at + 1,
        };
    }
    (out, closed)
}

/// Where the literal ends that begins at `from`; `''` does not end it.
fn end_of_literal(text: &str, from: usize) -> usize {
    let find = |from: usize| text.get(from..).and_then(|t| t.find('\'')).map_or(text.len(), |i| from + i);
    let mut end = find(from);
    while text.as_bytes().get(end + 1) == Some(&b'\'') {
        end = find(end + 2);
    }
    end
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// Where the secrets stand, in order, none over another. `readable` says that the text has a meaning.
fn secrets(text: &str, readable: bool) -> Vec<Range<usize>> {
    let (literals, closed) = literals(text);
    let mut out = vec![];
    for pair in literals.windows(2) {
        let [name, value] = pair else { continue };
        let part = |place: Range<usize>| text.get(place).unwrap_or_default();
        let belongs = part(name.end + 1..value.start - 1).chars().all(|c| c.is_whitespace() || c == '=');
        if belongs && part(name.clone()).chars().all(is_name) && is_secret(part(name.clone())) {
            // A variable is none: it is its value that must not be shown.
            let is_variable = part(value.clone()).starts_with("${") && part(value.clone()).ends_with('}');
            out.extend((!is_variable && !value.is_empty()).then(|| value.clone()));
        }
    }
    if !(readable && closed) {
        for name in words(text, 0..text.len(), is_name) {
            if is_option(text, &name) {
                out.extend(words(text, behind(text, name.end), |c| !matches!(c, '\'' | '"' | '`' | '=' | ',')));
            }
        }
        out = merged(out);
    }
    out
}

/// Runs of characters for which `is_part` holds, none of them blank.
fn words(text: &str, within: Range<usize>, is_part: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = vec![];
    for (i, c) in text.get(within.clone()).unwrap_or_default().char_indices() {
        let at = within.start + i;
        match out.last_mut().filter(|last| last.end == at) {
            _ if c.is_whitespace() || !is_part(c) => {}
            Some(last) => last.end += c.len_utf8(),
            None => out.push(at..at + c.len_utf8()),
        }
    }
    out
}

/// Whether a word of a text that cannot be read may be the name of a secret option: a quote is near, or `=`.
fn is_option(text: &str, name: &Range<usize>) -> bool {
    let before = text.get(..name.start).and_then(|t| t.chars().next_back());
    let after = text.get(name.end..).and_then(|t| t.chars().find(|c| !c.is_whitespace()));
    let near = before == Some('\'') || matches!(after, Some('\'' | '"' | '`' | '='));
    near && text.get(name.clone()).is_some_and(is_secret)
}

/// The rest of the line, and what stands up to the next quote if the value begins on a line below or goes on there.
fn behind(text: &str, from: usize) -> Range<usize> {
    let rest = text.get(from..).unwrap_or_default();
    let line = rest.find('\n').map_or(text.len(), |i| from + i);
    let value = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | '\''));
    from..line.max(end_of_literal(text, text.len() - value.len()))
}

fn merged(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_by_key(|p| (p.start, p.end));
    let mut out: Vec<Range<usize>> = vec![];
    for place in places {
        match out.last_mut().filter(|last| place.start < last.end) {
            Some(last) => last.end = last.end.max(place.end),
            None => out.push(place),
        }
    }
    out
}

/// A part of the text with its secrets hidden.
fn covered(text: &str, part: Range<usize>, secrets: &[Range<usize>]) -> String {
    let mut out = String::new();
    let mut at = part.start;
    for secret in secrets.iter().filter(|s| s.end > part.start && s.start < part.end) {
        out.push_str(text.get(at..secret.start).unwrap_or_default());
        out.push_str(STARS);
        at = secret.end;
    }
    out.push_str(text.get(at..part.end).unwrap_or_default());
    out
}

/// The text of a statement that was read, without its secrets.
pub(crate) fn hidden(text: &str) -> String {
    covered(text, 0..text.len(), &secrets(text, true))
}

/// A line as it may be shown, with what is meant in it: characters before, characters of it.
pub(crate) fn line(text: &str, at: Range<usize>, readable: bool) -> (String, usize, usize) {
    let start = text.get(..at.start).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
    let end = start + text.get(start..).and_then(|t| t.lines().next()).unwrap_or_default().len();
    let secrets = secrets(text, readable);
    let from = secrets.iter().find(|s| s.contains(&at.start)).map_or(at.start, |s| s.start.max(start));
    let count = |part: Range<usize>| covered(text, part, &secrets).chars().count();
    (covered(text, start..end, &secrets), count(start..from), count(from..at.end.max(from)))
}

/// The message without the secrets of the text.
pub(crate) fn without(text: &str, mut message: String, readable: bool) -> String {
    for place in secrets(text, readable) {
        let secret = text.get(place).unwrap_or_default();
        if secret.len() >= SECRET_BYTES && message.contains(secret) {
            message = message.replace(secret, STARS);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_options_are_hidden_whatever_their_length() {
        for (text, out) in [
            (
                "'a' = 'b', 'sasl.password' = 'hun''ter2ü', 'c' = 'd'",
                "'a' = 'b', 'sasl.password' = '******', 'c' = 'd'",
            ),
            ("-- don't\n'token'\n=\n'two\nlines'", "-- don't\n'token'\n=\n'******'"),
            ("/* it's */ \"it's\" `it's` 'password' 'x'", "/* it's */ \"it's\" `it's` 'password' '******'"),
            ("'password', 'x'", "'password', 'x'"),
            ("'password' = ''", "'password' = ''"),
            ("'password' = '${PW}'", "'password' = '${PW}'"),
            ("SELECT password FROM t WHERE token = 'x'", "SELECT password FROM t WHERE token = 'x'"),
        ] {
            assert_eq!(hidden(text), out);
        }
    }

    #[test]
    fn a_quote_too_few_hides_what_stands_behind_every_secret_name() {
        for (text, out) in [
            ("'password' = 'hunter2', 'topic' = 'x", "'password' = '******', '******' = '******"),
            ("'password' = 'hun'ter2', 'a' = 'b'", "'password' = '******'******', '******' = '******'"),
            ("'topic' = 'x,\n'password' = 'hunter2',\n'a' = 'b'", "'topic' = 'x,\n'password' = '******',\n'a' = 'b'"),
            ("'topic = 'x', 'password' = 'hunter2'", "'topic = 'x', 'password' = '******'"),
            ("'password = 'hunter2',\n'a' = 'b'", "'password = '******',\n'a' = 'b'"),
            ("'password' = 'hunter2,\n'a' = 'b'", "'password' = '******'a' = 'b'"),
            ("'password' = hunter2',\n'a' = 'b'", "'password' = ******',\n'a' = 'b'"),
            (
                "'x, 'a.password' = 'one two', 'b.token' = 'hunter2'",
                "'x, 'a.password' = '****** ******', '******' = '******'",
            ),
            ("'x, 'password' =\n 'hunter2' )\nc", "'x, 'password' =\n '******' )\nc"),
            (
                "'x, 'ssl.key.pem' = 'one\ntwo\nthree', 'a' = 'b'",
                "'x, 'ssl.key.pem' = '******\n******\n******', 'a' = 'b'",
            ),
            ("'x, 'password\n'hunter2'", "'x, 'password\n'******'"),
            ("SELECT passenger, a FROM t WHERE s = 'x", "SELECT passenger, a FROM t WHERE s = 'x"),
            ("\"x, 'password' = 'hunter2'", "\"x, 'password' = '******'"),
        ] {
            assert_eq!(covered(text, 0..text.len(), &secrets(text, false)), out);
        }
        assert_eq!(hidden("'x, 'token' = 'hunter2'"), "'x, 'token' = '******'", "an open literal says it too");
        let two = "'a = 'b', 'password = 'hunter2'";
        assert_eq!(line(two, 0..1, true).0, two, "even quotes: all in step, as far as one can see");
        assert_eq!(line(two, 0..1, false).0, "'a = 'b', 'password = '******'");
    }

    #[test]
    fn the_caret_follows_the_text() {
        let text = "x\n'password' = 'ü', nope 'token' = 'hunter2'";
        let nope = text.find("nope").unwrap();
        let expected = "'password' = '******', nope 'token' = '******'";
        assert_eq!(line(text, nope..nope + 4, true), (expected.into(), expected.find("nope").unwrap(), 4));
        let inside = text.find("unter2").unwrap();
        assert_eq!(line(text, inside..inside + 3, true).1, expected.rfind('*').unwrap() - 5);
        assert_eq!(line(text, text.len()..text.len(), true).1, expected.len());
    }

    #[test]
    fn messages_lose_what_they_quote() {
        assert_eq!(without("'password' 'hunter2'", "found 'hunter2'".into(), true), "found '******'");
        assert_eq!(without("'password' = ''", "found ''".into(), true), "found ''");
        let broken = "'x, 'password' = 'hunter2'";
        assert_eq!(without(broken, "found `hunter2`".into(), true), "found `******`");
    }

    #[test]
    fn broken_texts_are_read_to_their_end() {
        let texts = [
            "",
            "'",
            "'a",
            "'password'='x",
            "'password'='",
            "/*",
            "/*/",
            "--",
            "\"",
            "`",
            "'''",
            "'password'",
            "ü'ü",
            "'password",
            "'token'ü",
        ];
        for text in texts {
            for readable in [true, false] {
                line(text, 0..0, readable);
                line(text, text.len()..text.len(), readable);
            }
        }
        assert_eq!(hidden("'password'='x"), "'password'='******");
    }
}
