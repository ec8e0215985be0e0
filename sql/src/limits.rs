//! What a text may cost before anything recursive sees it: size, tokens, nesting and the length of one expression.
//!
//! Called on the raw text and on its tokens, before the parser. Every recursive descent consumes at least one token, so a bound on
//! the tokens of one expression, those around it included, bounds the depth of every tree made from it. Together with the large
//! stack of [`compile`](crate::compile) this is why no text can abort the process.
//!
//! Invariants
//! - L1 a text that passes has no expression deeper than [`EXPRESSION_TOKENS`].
//! - L2 the checks are linear in the text and use a stack no deeper than [`NESTING`].

use crate::error::{Fault, Result};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// Largest text, in bytes, before and after variables are replaced.
pub const TEXT_BYTES: usize = 1 << 20;
/// Most tokens in a text, white space excluded.
pub const TOKENS: usize = 200_000;
/// Deepest nesting of brackets and CASE.
pub const NESTING: usize = 64;
/// Most tokens between two separators (commas, clauses), with all that encloses them.
pub const EXPRESSION_TOKENS: usize = 4_000;
/// Longest dotted name.
pub const NAME_PARTS: usize = 32;
/// Most UNION, INTERSECT and EXCEPT in one statement.
pub const SET_OPERATIONS: usize = 200;
/// Most relations joined in one statement.
pub const JOINS: usize = 64;
/// Most operators in a plan after views and subqueries are put in.
pub const PLAN_NODES: usize = 5_000;
/// Deepest plan after views and subqueries are put in.
pub const PLAN_DEPTH: usize = 500;
/// Most terms of one expression after views and subqueries are put in.
pub const EXPRESSION_TERMS: u64 = 20_000;
/// Stack of the planning thread, in bytes; reserved, not touched.
pub const STACK_BYTES: usize = 256 << 20;
/// Deepest recursion of the parser; brackets, NOT, unary signs and subqueries count.
pub(crate) const PARSER_RECURSION: usize = 400;

/// Checks the size of a text.
pub(crate) fn check_text(len: usize) -> Result<()> {
    if len <= TEXT_BYTES {
        return Ok(());
    }
    let reason = format!("the text has {len} bytes, the limit is {TEXT_BYTES}");
    Err(Fault::limit(Span::empty(), reason).remedy("split it into several files"))
}

/// Checks a text's tokens.
pub(crate) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut scan = Scan { levels: vec![Level::default()], ..Scan::default() };
    for token in tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))) {
        scan.take(token)?;
    }
    Ok(())
}

/// One open bracket: what stands in it since the last separator.
#[derive(Default)]
struct Level {
    tokens: usize,
    /// The deepest closed bracket since the last separator.
    deepest: usize,
}

#[derive(Default)]
struct Scan {
    levels: Vec<Level>,
    /// Sum of `tokens` over the levels around the current one.
    around: usize,
    tokens: usize,
    name_parts: usize,
    set_operations: usize,
    joins: usize,
}

impl Scan {
    fn take(&mut self, token: &TokenWithSpan) -> Result<()> {
        self.tokens += 1;
        if self.tokens > TOKENS {
            let fault = Fault::limit(token.span, format!("more than {TOKENS} words in one text"));
            return Err(fault.remedy("split it into several files"));
        }
        self.count_name_parts(token)?;
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => self.open(token)?,
            Token::RParen | Token::RBracket | Token::RBrace => self.close(),
            Token::Comma => self.separate(),
            Token::SemiColon => self.end_statement(),
            Token::Word(w) if w.quote_style.is_none() => self.word(w.keyword, token)?,
            _ => {}
        }
        self.grow(token)
    }

    fn word(&mut self, word: Keyword, token: &TokenWithSpan) -> Result<()> {
        match word {
            Keyword::CASE => self.open(token)?,
            Keyword::END => self.close(),
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                self.set_operations += 1;
                if self.set_operations > SET_OPERATIONS {
                    return Err(too_many(token, SET_OPERATIONS, "set operations", "write several INSERT statements"));
                }
            }
            Keyword::JOIN => {
                self.joins += 1;
                if self.joins > JOINS {
                    return Err(too_many(token, JOINS, "joins", "join in several statements"));
                }
            }
            _ => {}
        }
        if separates(word) {
            self.separate();
        }
        Ok(())
    }

    fn count_name_parts(&mut self, token: &TokenWithSpan) -> Result<()> {
        match token.token {
            Token::Period => self.name_parts += 1,
            Token::Word(_) => {}
            _ => self.name_parts = 0,
        }
        if self.name_parts < NAME_PARTS {
            return Ok(());
        }
        Err(Fault::limit(token.span, format!("a name has more than {NAME_PARTS} parts")).remedy("shorten it"))
    }

    fn open(&mut self, token: &TokenWithSpan) -> Result<()> {
        if self.levels.len() > NESTING {
            let fault = Fault::limit(token.span, format!("brackets and CASE are nested more than {NESTING} deep"));
            return Err(fault.remedy("move inner parts into a view"));
        }
        self.around += self.levels.last().map_or(0, |l| l.tokens);
        self.levels.push(Level::default());
        Ok(())
    }

    /// An unbalanced bracket is the parser's to report.
    fn close(&mut self) {
        if self.levels.len() < 2 {
            return;
        }
        let inner = self.levels.pop().map_or(0, |l| l.tokens + l.deepest);
        if let Some(level) = self.levels.last_mut() {
            self.around -= level.tokens;
            level.deepest = level.deepest.max(inner);
        }
    }

    fn separate(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            *level = Level { tokens: 0, deepest: 0 };
        }
    }

    fn end_statement(&mut self) {
        self.levels.truncate(1);
        self.separate();
        (self.around, self.set_operations, self.joins) = (0, 0, 0);
    }

    fn grow(&mut self, token: &TokenWithSpan) -> Result<()> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        level.tokens += 1;
        if self.around + level.tokens + level.deepest <= EXPRESSION_TOKENS {
            return Ok(());
        }
        let fault = Fault::limit(token.span, format!("an expression has more than {EXPRESSION_TOKENS} words"));
        Err(fault.remedy("split it with a view or a subquery"))
    }
}

/// Words that start something that is no deeper than what stood before.
fn separates(word: Keyword) -> bool {
    use Keyword as K;
    matches!(
        word,
        K::SELECT
            | K::FROM
            | K::WHERE
            | K::GROUP
            | K::HAVING
            | K::ORDER
            | K::WHEN
            | K::THEN
            | K::ELSE
            | K::ON
            | K::VALUES
    )
}

fn too_many(token: &TokenWithSpan, limit: usize, what: &str, remedy: &str) -> Fault {
    Fault::limit(token.span, format!("more than {limit} {what} in one statement")).remedy(remedy)
}
