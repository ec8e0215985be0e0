//! DataFusion's errors as faults with a place, a reason and a remedy.
//!
//! Called wherever a DataFusion call fails. A fault of ours that travelled through DataFusion comes out as it went in. If the
//! error has no place, the first name it quotes is looked up among the statement's words.

use crate::error::{Fault, SqlErrorKind};
use crate::parser::dialect::StreamDialect;
use crate::parser::is_word;
use crate::suggest::closest;
use crate::text::SourceText;
use crate::wording::{plain, reworded, types};
use datafusion_common::{Column, DataFusionError, SchemaError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, Tokenizer};
use thalweg_engine::error::lower_first;

/// The fault that a DataFusion error is; its place may still be unknown.
pub(crate) fn of(error: DataFusionError) -> Fault {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Fault>() {
            Ok(fault) => *fault,
            Err(other) => Fault::invalid(Span::empty(), tidy(&other.to_string())),
        },
        DataFusionError::Context(_, inner) => of(*inner),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let span = diagnostic.span.map(|s| Span::new(place(s.start), place(s.end)));
            of(*inner).at(span.unwrap_or(Span::empty()))
        }
        DataFusionError::Collection(mut all) if !all.is_empty() => of(all.swap_remove(0)),
        DataFusionError::Shared(shared) => of_shared(&shared),
        DataFusionError::SchemaError(error, _) => of_schema(*error),
        DataFusionError::NotImplemented(what) => {
            let what = tidy(&what);
            if let Some(fault) = reworded(&what) {
                return Fault { kind: SqlErrorKind::Unsupported, ..fault };
            }
            Fault::new(SqlErrorKind::Unsupported, Span::empty(), what)
                .remedy("write it in another way, for instance with a view")
        }
        DataFusionError::Internal(what) => Fault::internal(tidy(&what)),
        DataFusionError::ResourcesExhausted(what) => Fault::limit(Span::empty(), tidy(&what)),
        other => of_text(&tidy(&other.strip_backtrace())),
    }
}

/// A shared error cannot be taken apart; a fault of ours inside is found by reference.
fn of_shared(error: &DataFusionError) -> Fault {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<Fault>() {
            Some(fault) => fault.clone(),
            None => of_text(&tidy(&inner.to_string())),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_shared(inner),
        DataFusionError::Shared(inner) => of_shared(inner),
        other => of_text(&tidy(&other.strip_backtrace())),
    }
}

fn place(location: datafusion_common::Location) -> Location {
    Location::new(location.line, location.column)
}

fn of_schema(error: SchemaError) -> Fault {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let span = field.spans.first().map_or(Span::empty(), |s| Span::new(place(s.start), place(s.end)));
            unknown_column(&field, &valid_fields).at(span)
        }
        SchemaError::AmbiguousReference { field } => {
            let fault = Fault::invalid(Span::empty(), format!("column `{}` may be one of several", field.name));
            fault.remedy(format!("rename one of them with AS, or write the table in front: t.`{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Fault::invalid(Span::empty(), format!("two columns are named `{name}`"))
                .remedy(format!("rename one: .. AS `{name}_2`"))
        }
    }
}

/// Most column names shown in a remedy.
const SHOWN_COLUMNS: usize = 12;

fn unknown_column(field: &Column, valid: &[Column]) -> Fault {
    let fault = Fault::invalid(Span::empty(), format!("column `{}` does not exist here", field.name));
    if let Some(near) = closest(&field.name, valid.iter().map(|c| c.name.as_str())) {
        return fault.remedy(format!("write `{near}`"));
    }
    let names: Vec<&str> = valid.iter().map(|c| c.name.as_str()).take(SHOWN_COLUMNS).collect();
    match names.is_empty() {
        true => fault.remedy("there are no columns here: write FROM with a table"),
        false => fault.remedy(format!(
            "the columns here are {}{}",
            names.join(", "),
            if valid.len() > SHOWN_COLUMNS { ", .." } else { "" }
        )),
    }
}

/// Longest reason taken from DataFusion, in characters: some errors print whole trees.
const REASON_CHARS: usize = 300;

/// The message without its prefix, on one line, with a bound.
fn tidy(message: &str) -> String {
    let mut text = message.trim();
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "type_coercion",
        "\ncaused by\n",
        "Arrow error: ",
        "Parser error: ",
        "Cast error: ",
        "Invalid argument error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = types(&plain(text));
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    lower_first(&line.trim_end_matches('.').chars().take(REASON_CHARS).collect::<String>())
}

/// What a function said about its arguments, without what DataFusion puts around it.
fn of_arguments(message: &str) -> Option<Fault> {
    let (_, said) = message.split_once("user-defined coercion failed with: ")?;
    let said = said.split(" No function matches").next().unwrap_or(said);
    let said = tidy(said.strip_prefix("External error: ").unwrap_or(said));
    if let Some(fault) = reworded(&said) {
        return Some(fault);
    }
    let (reason, remedy) = said.split_once("; ").unwrap_or((&said, "SHOW FUNCTIONS lists all functions"));
    Some(Fault::invalid(Span::empty(), reason).remedy(remedy))
}

fn of_text(message: &str) -> Fault {
    if let Some(fault) = of_arguments(message).or_else(|| reworded(message)) {
        return fault;
    }
    if let Some((reason, near)) = message.split_once(" Did you mean ") {
        let near = near.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let name = quoted(reason).into_iter().next().unwrap_or_default();
        let fault = Fault::invalid(Span::empty(), format!("function `{name}` does not exist"));
        return match closest(&name, [near]) {
            Some(near) => fault.remedy(format!("write {near}(..); SHOW FUNCTIONS lists all")),
            None => fault.remedy("SHOW FUNCTIONS lists all functions"),
        };
    }
    if let Some(name) = message.strip_prefix("field ").and_then(|m| m.strip_suffix(" not found in struct")) {
        let fault = Fault::invalid(Span::empty(), format!("the ROW has no field `{name}`"));
        return fault.remedy("write one of its fields; DESCRIBE shows them");
    }
    if let Some((_, column)) =
        message.split_once("column \"").filter(|_| message.contains("must appear in the GROUP BY"))
    {
        let column = column.split('"').next().and_then(|c| c.rsplit('.').next()).unwrap_or_default();
        let fault =
            Fault::invalid(Span::empty(), format!("column `{column}` is neither in GROUP BY nor in an aggregate"));
        return fault.remedy(format!("add it to GROUP BY, or write MAX(`{column}`)"));
    }
    // Messages of our functions.
    if let Some((reason, remedy)) = message.split_once("; ") {
        return Fault::invalid(Span::empty(), reason).remedy(remedy);
    }
    let remedy = match message {
        m if m.contains("GROUP BY") || m.contains("group by") => "put the column into GROUP BY, or into an aggregate",
        m if m.contains("coerc") || m.contains("cast") => "convert with CAST(x AS type)",
        _ => "correct the statement here",
    };
    Fault::invalid(Span::empty(), message).remedy(remedy)
}

/// Names in quotes of any kind in a message.
fn quoted(message: &str) -> Vec<String> {
    let mut names = vec![];
    for quote in ['`', '\'', '"'] {
        names.extend(message.split(quote).skip(1).step_by(2).map(str::to_owned));
    }
    names.retain(|n| !n.is_empty() && n.len() <= 256);
    names
}

/// Gives a fault a place inside a statement: what it quotes, else the statement's beginning.
pub(crate) fn locate(fault: Fault, text: &SourceText, statement: Span) -> Fault {
    if fault.span != Span::empty() {
        return fault;
    }
    let mut names = quoted(&fault.reason);
    // Dotted names are looked up by their last part.
    names.extend(names.clone().iter().filter_map(|n| n.rsplit('.').next().map(str::to_owned)));
    let kind = Kind::of(&fault.reason);
    let found = names.iter().find_map(|name| find_word(name, kind, text, statement));
    let start = statement.start;
    let first = Span::new(start, Location::new(start.line, start.column + 1));
    fault.at(found.unwrap_or(first))
}

/// What a name stands for: where to look for it first.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Table,
    Function,
    Other,
}

impl Kind {
    fn of(reason: &str) -> Kind {
        match reason {
            r if r.starts_with("table ") || r.starts_with("view ") => Kind::Table,
            r if r.starts_with("function ") => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// Whether a name between these words is of this kind.
    fn fits(self, before: Option<&Token>, after: Option<&Token>) -> bool {
        match self {
            Kind::Table => before.is_some_and(|t| ["FROM", "JOIN", "TABLE", "INTO"].iter().any(|w| is_word(t, w))),
            Kind::Function => after == Some(&Token::LParen),
            Kind::Other => true,
        }
    }
}

/// The first word of a statement that is this name; rather one of its kind.
fn find_word(name: &str, kind: Kind, text: &SourceText, statement: Span) -> Option<Span> {
    let tokens = Tokenizer::new(&StreamDialect, text.slice(statement)).tokenize_with_location().ok()?;
    let is_name = |t: &Token| match t {
        Token::Word(w) => w.value.eq_ignore_ascii_case(name),
        Token::SingleQuotedString(s) => s == name,
        _ => false,
    };
    let tokens: Vec<_> = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let token = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|t| &t.token);
    let named = || tokens.iter().enumerate().filter(|(_, t)| is_name(&t.token));
    let of_kind = named().find(|(at, _)| kind.fits(token(at.checked_sub(1)), token(Some(at + 1))));
    let span = of_kind.or_else(|| named().next())?.1.span;
    let shift = |at: Location| match at.line {
        1 => Location::new(statement.start.line, statement.start.column + at.column - 1),
        line => Location::new(statement.start.line + line - 1, at.column),
    };
    Some(Span::new(shift(span.start), shift(span.end)))
}
