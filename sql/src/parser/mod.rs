//! Text to statements: our own statements first, queries and expressions through sqlparser.
//!
//! Called by [`compile`](crate::compile) with the expanded text. One tokenizer run covers the whole text, so every span in every tree
//! is a place in it, and an error of one statement can point into a view made by another.
//!
//! Invariants
//! - P1 tokens are checked against [`limits`](crate::limits) before anything recursive sees them.
//! - P2 every statement consumed ends at `;` or at the end of the text; nothing is skipped.

mod create;
pub(crate) mod dialect;
pub(crate) mod statement;
#[cfg(test)]
mod tests;
pub(crate) mod types;

use crate::error::{Fault, Result};
use crate::limits;
use datafusion_sql::sqlparser::ast::Ident;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word};
use dialect::StreamDialect;
use statement::{Insert, Statement, StatementKind};
use thalweg_engine::error::lower_first;

/// sqlparser's parser: the reader of tokens that everything here shares.
pub(crate) type Tokens<'a> = Parser<'a>;

/// Parses a text of statements separated by `;`. Errors are one fault, at the first place that cannot be read.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>> {
    let dialect = StreamDialect;
    let mut tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|e| {
        let fault = Fault::syntax(point(e.location), lower_first(&e.message));
        fault.remedy("close every quote and comment, and quote names with backticks")
    })?;
    tokens.iter().try_for_each(refused)?;
    tokens = rewrite(tokens);
    limits::check_tokens(&tokens)?;
    let end = tokens.last().map_or(Span::empty(), |t| point(t.span.end));
    let mut parser = StatementParser {
        p: Parser::new(&dialect).with_recursion_limit(limits::PARSER_RECURSION).with_tokens_with_locations(tokens),
    };
    // The end of the text has no place of its own in sqlparser: it is where the last word ends.
    parser.statements().map_err(|fault| fault.at(end))
}

/// Refuses what sqlparser would skip, and what it would misread: hints, and quotes that are none.
fn refused(token: &TokenWithSpan) -> Result<()> {
    match &token.token {
        Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with('+') => {
            let start = token.span.start;
            let span = Span::new(start, Location::new(start.line, start.column + 3));
            Err(Fault::unsupported(span, "a hint, `/*+ .. */`,")
                .remedy("put its options into WITH (..) of CREATE TABLE, or leave it out; an ordinary comment begins with `/* `"))
        }
        Token::Char(quote @ ('‘' | '’' | '“' | '”' | '´')) => {
            Err(Fault::syntax(token.span, format!("`{quote}` is no quote of SQL"))
                .remedy("write 'text' in straight single quotes, and names in backticks"))
        }
        _ => Ok(()),
    }
}

/// Reads statements; one per text.
struct StatementParser<'a> {
    p: Tokens<'a>,
}

impl StatementParser<'_> {
    fn statements(&mut self) -> Result<Vec<Statement>> {
        let mut statements = vec![];
        loop {
            while self.p.consume_token(&Token::SemiColon) {}
            if self.p.peek_token().token == Token::EOF {
                return Ok(statements);
            }
            statements.push(self.statement()?);
            self.end_of_statement()?;
        }
    }

    fn end_of_statement(&mut self) -> Result<()> {
        let next = self.p.peek_token();
        if matches!(next.token, Token::EOF | Token::SemiColon) {
            return Ok(());
        }
        let reason = format!("`{}` does not belong to the statement before it", next.token);
        Err(Fault::syntax(next.span, reason)
            .remedy("write `;` between statements, or quote a reserved word with backticks"))
    }

    fn statement(&mut self) -> Result<Statement> {
        let start = self.p.peek_token().span.start;
        let kind = self.kind()?;
        let end = self.p.get_current_token().span.end;
        Ok(Statement { span: Span::new(start, end), kind })
    }

    fn kind(&mut self) -> Result<StatementKind> {
        let first = self.p.peek_token();
        let Token::Word(word) = &first.token else {
            return match first.token {
                Token::LParen => Ok(StatementKind::Query(self.query()?)),
                _ => Err(self.not_a_statement()),
            };
        };
        match word.value.to_ascii_uppercase().as_str() {
            "SELECT" | "WITH" | "VALUES" => Ok(StatementKind::Query(self.query()?)),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "INSERT" => Ok(StatementKind::StatementSet(vec![self.insert()?])),
            "EXECUTE" | "BEGIN" | "STATEMENT" => self.statement_set(),
            "EXPLAIN" => self.explain(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => {
                self.p.next_token();
                self.skip_words(&["EXTENDED"]);
                Ok(StatementKind::Describe(self.name()?))
            }
            _ => Err(self.not_a_statement()),
        }
    }

    fn not_a_statement(&self) -> Fault {
        let first = self.p.peek_token();
        let word = first.token.to_string().to_ascii_uppercase();
        let later = [
            "ALTER", "DELETE", "UPDATE", "MERGE", "TRUNCATE", "USE", "LOAD", "UNLOAD", "ADD", "REMOVE", "ANALYZE",
            "CALL",
        ];
        if later.contains(&word.as_str()) {
            return Fault::unsupported(first.span, &word)
                .remedy("write CREATE TABLE, CREATE VIEW, INSERT INTO, SET, EXPLAIN, SHOW, DESCRIBE or SELECT");
        }
        Fault::syntax(first.span, format!("no statement begins with `{}`", first.token))
            .remedy("begin with CREATE TABLE, CREATE VIEW, DROP, INSERT INTO, EXECUTE STATEMENT SET, SET, EXPLAIN, SHOW, DESCRIBE or SELECT")
    }

    fn query(&mut self) -> Result<Box<datafusion_sql::sqlparser::ast::Query>> {
        self.p.parse_query().map_err(|e| fault_at(e, &self.p))
    }

    /// `INSERT INTO t [(columns)] query`.
    fn insert(&mut self) -> Result<Insert> {
        let start = self.p.peek_token().span.start;
        self.expect_words(&["INSERT"])?;
        if self.peek_words(&["OVERWRITE"]) {
            return Err(Fault::unsupported(self.p.peek_token().span, "INSERT OVERWRITE").remedy("write INSERT INTO"));
        }
        self.expect_words(&["INTO"])?;
        let table = self.name()?;
        if self.peek_words(&["PARTITION"]) {
            let fault = Fault::unsupported(self.p.peek_token().span, "INSERT INTO .. PARTITION (..)");
            return Err(fault.remedy("select the partition columns as ordinary columns"));
        }
        let starts_query = |t: Token| ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(&t, w)) || t == Token::LParen;
        let mut columns = vec![];
        if self.p.peek_token().token == Token::LParen && !starts_query(self.p.peek_nth_token(1).token) {
            columns = self.column_list()?;
        }
        let query = self.query()?;
        let end = self.p.get_current_token().span.end;
        Ok(Insert { span: Span::new(start, end), table, columns, query })
    }

    /// `EXECUTE STATEMENT SET BEGIN insert; ..; END`, and Flink's older `BEGIN STATEMENT SET; ..; END`.
    fn statement_set(&mut self) -> Result<StatementKind> {
        if self.skip_words(&["EXECUTE"]) && self.peek_words(&["INSERT"]) {
            return Ok(StatementKind::StatementSet(vec![self.insert()?]));
        }
        match self.skip_words(&["BEGIN", "STATEMENT", "SET"]) {
            true => self.expect_token(&Token::SemiColon)?,
            false => self.expect_words(&["STATEMENT", "SET", "BEGIN"])?,
        }
        let mut inserts = vec![];
        loop {
            while self.p.consume_token(&Token::SemiColon) {}
            if self.skip_words(&["END"]) {
                break;
            }
            if !self.peek_words(&["INSERT"]) {
                let next = self.p.peek_token();
                let fault = Fault::syntax(next.span, format!("`{}` stands in a statement set", next.token));
                return Err(
                    fault.remedy("a statement set holds INSERT INTO statements, each with `;`, and ends with END")
                );
            }
            inserts.push(self.insert()?);
            if !self.peek_words(&["END"]) {
                self.expect_token(&Token::SemiColon)?;
            }
        }
        match inserts.is_empty() {
            false => Ok(StatementKind::StatementSet(inserts)),
            true => Err(Fault::syntax(self.p.get_current_token().span, "the statement set is empty")
                .remedy("write INSERT INTO statements between BEGIN and END")),
        }
    }

    fn explain(&mut self) -> Result<StatementKind> {
        self.expect_words(&["EXPLAIN"])?;
        self.skip_words(&["PLAN", "FOR"]);
        if self.peek_words(&["STATEMENT", "SET"]) || self.peek_words(&["EXECUTE"]) || self.peek_words(&["INSERT"]) {
            return Ok(StatementKind::Explain(Box::new(self.statement()?)));
        }
        let next = self.p.peek_token();
        let starts_query =
            next.token == Token::LParen || ["SELECT", "WITH", "VALUES"].iter().any(|w| is_word(&next.token, w));
        match starts_query {
            true => Ok(StatementKind::Explain(Box::new(self.statement()?))),
            false => Err(Fault::syntax(next.span, format!("EXPLAIN cannot explain `{}`", next.token))
                .remedy("write EXPLAIN followed by SELECT, INSERT INTO or EXECUTE STATEMENT SET")),
        }
    }

    /// `SET 'key' = 'value'`.
    fn set(&mut self) -> Result<StatementKind> {
        self.expect_words(&["SET"])?;
        let how = "write SET 'key' = 'value', both in single quotes";
        let key = self.string(how)?;
        self.expect_token(&Token::Eq)?;
        let value = self.string(how)?;
        Ok(StatementKind::Set { key, value })
    }

    fn reset(&mut self) -> Result<StatementKind> {
        self.expect_words(&["RESET"])?;
        let ends = matches!(self.p.peek_token().token, Token::SemiColon | Token::EOF);
        let key = if ends { None } else { Some(self.string("write RESET 'key', or RESET alone for all")?) };
        Ok(StatementKind::Reset { key })
    }

    fn show(&mut self) -> Result<StatementKind> {
        self.expect_words(&["SHOW"])?;
        for (word, kind) in [
            ("TABLES", StatementKind::ShowTables),
            ("VIEWS", StatementKind::ShowViews),
            ("FUNCTIONS", StatementKind::ShowFunctions),
        ] {
            if self.skip_words(&[word]) {
                return Ok(kind);
            }
        }
        if self.skip_words(&["CREATE", "TABLE"]) || self.skip_words(&["CREATE", "VIEW"]) {
            return Ok(StatementKind::ShowCreate(self.name()?));
        }
        let next = self.p.peek_token();
        Err(Fault::syntax(next.span, format!("SHOW {} is not known", next.token))
            .remedy("write SHOW TABLES, SHOW VIEWS, SHOW FUNCTIONS or SHOW CREATE TABLE name"))
    }

    fn drop(&mut self) -> Result<StatementKind> {
        self.expect_words(&["DROP"])?;
        self.skip_words(&["TEMPORARY"]);
        let view = self.skip_words(&["VIEW"]);
        if !view && !self.skip_words(&["TABLE"]) {
            let next = self.p.peek_token();
            return Err(
                Fault::unsupported(next.span, format!("DROP {}", next.token)).remedy("write DROP TABLE or DROP VIEW")
            );
        }
        let if_exists = self.skip_words(&["IF", "EXISTS"]);
        let name = self.name()?;
        Ok(if view {
            StatementKind::DropView { name, if_exists }
        } else {
            StatementKind::DropTable { name, if_exists }
        })
    }

    /// A table's or view's name: one part, because there is one database.
    fn name(&mut self) -> Result<Ident> {
        let name = self.identifier()?;
        if self.p.peek_token().token == Token::Period {
            let fault = Fault::unsupported(self.p.peek_token().span, "a database or catalog in front of a name");
            return Err(fault.remedy("write the table's name alone"));
        }
        Ok(name)
    }

    fn identifier(&mut self) -> Result<Ident> {
        self.p.parse_identifier().map_err(|e| fault_at(e, &self.p))
    }

    /// `(a, b, c)`.
    fn column_list(&mut self) -> Result<Vec<Ident>> {
        self.expect_token(&Token::LParen)?;
        let mut columns: Vec<Ident> = vec![];
        loop {
            let column = self.identifier()?;
            if columns.iter().any(|c| c.value == column.value) {
                return Err(Fault::invalid(column.span, format!("column `{}` stands twice in the list", column.value)));
            }
            columns.push(column);
            if !self.p.consume_token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                return Ok(columns);
            }
        }
    }

    fn string(&mut self, remedy: &str) -> Result<String> {
        let next = self.p.next_token();
        match next.token {
            Token::SingleQuotedString(s) => Ok(s),
            other => {
                Err(Fault::syntax(next.span, format!("expected a string in single quotes, found `{other}`"))
                    .remedy(remedy))
            }
        }
    }

    fn peek_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| is_word(&self.p.peek_nth_token(i).token, w))
    }

    fn skip_words(&mut self, words: &[&str]) -> bool {
        let found = self.peek_words(words);
        for _ in words.iter().filter(|_| found) {
            self.p.next_token();
        }
        found
    }

    fn expect_words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.skip_words(&[word]) {
                let next = self.p.peek_token();
                return Err(Fault::syntax(next.span, format!("expected {word}, found `{}`", next.token))
                    .remedy(format!("write {}", words.join(" "))));
            }
        }
        Ok(())
    }

    fn expect_token(&mut self, token: &Token) -> Result<()> {
        self.p.expect_token(token).map(|_| ()).map_err(|e| fault_at(e, &self.p))
    }
}

/// Whether a token is this unquoted word, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// An empty place that still has a line and a column.
fn point(location: Location) -> Span {
    Span::new(location, Location::new(location.line, location.column + 1))
}

/// sqlparser's error with its place: it ends in ` at Line: 1, Column: 2`; if not, the parser's current token is the place.
pub(crate) fn fault_at(error: ParserError, p: &Tokens<'_>) -> Fault {
    let here = p.get_current_token().span;
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            let reason = format!("the text is nested more than {} levels deep", limits::PARSER_RECURSION);
            return Fault::limit(here, reason).remedy("move inner parts into a view");
        }
        ParserError::TokenizerError(m) | ParserError::ParserError(m) => m,
    };
    let Some((reason, line, column)) = split_place(&message) else {
        return syntax_fault(here, &message);
    };
    let found = p.peek_token();
    let span = [found.span, here].into_iter().find(|s| s.start == Location::new(line, column));
    syntax_fault(span.unwrap_or(point(Location::new(line, column))), reason)
}

fn split_place(message: &str) -> Option<(&str, u64, u64)> {
    let (reason, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((reason, line.trim().parse().ok()?, column.trim().parse().ok()?))
}

fn syntax_fault(span: Span, message: &str) -> Fault {
    let reason = lower_first(message);
    let fault = Fault::syntax(span, reason.replacen("expected: ", "expected ", 1).replacen(", found: ", ", found ", 1));
    if message.starts_with("MAP[") {
        return fault.remedy("write STR_TO_MAP('a=1,b=2'), which gives MAP<STRING, STRING>");
    }
    match message.ends_with("found: EOF") {
        true => fault.remedy("the statement is not complete: look for a missing `)` or word before this place"),
        false => fault.remedy("correct the text here; a reserved word used as a name stands in backticks"),
    }
}

/// What sqlparser cannot read, put into words that it can: `ROW<` becomes `STRUCT<`, `>>` becomes two closing brackets, and
/// `TIMESTAMP(3) WITH LOCAL TIME ZONE` becomes `TIMESTAMP_LTZ(3)`.
fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        match &token.token {
            Token::Lt if out.last().is_some_and(|t| is_word(&t.token, "ROW")) => {
                if let Some(last) = out.last_mut() {
                    last.token =
                        Token::Word(Word { value: "STRUCT".into(), quote_style: None, keyword: Keyword::STRUCT });
                }
                out.push(token);
            }
            Token::ShiftRight => {
                let TokenWithSpan { span, .. } = token;
                let middle = Location::new(span.start.line, span.start.column + 1);
                out.push(TokenWithSpan::new(Token::Gt, Span::new(span.start, middle)));
                out.push(TokenWithSpan::new(Token::Gt, Span::new(middle, span.end)));
            }
            t if is_word(t, "ZONE") => local_zone(&mut out, token),
            _ => out.push(token),
        }
    }
    out
}

/// `out` ends in what stood before `ZONE`.
fn local_zone(out: &mut Vec<TokenWithSpan>, zone: TokenWithSpan) {
    let ends = |words: &[&str]| {
        out.len() >= words.len() && out[out.len() - words.len()..].iter().zip(words).all(|(t, w)| is_word(&t.token, w))
    };
    if !ends(&["WITH", "LOCAL", "TIME"]) {
        out.push(zone);
        return;
    }
    let before = out.len() - 3;
    // Either `TIMESTAMP` or `TIMESTAMP ( n )` stands there.
    let at = [1, 4].into_iter().filter_map(|n| before.checked_sub(n)).find(|i| is_word(&out[*i].token, "TIMESTAMP"));
    match at {
        Some(at) => {
            out.truncate(before);
            let name = Word { value: "TIMESTAMP_LTZ".into(), quote_style: None, keyword: Keyword::NoKeyword };
            out[at].token = Token::Word(name);
        }
        None => out.push(zone),
    }
}
