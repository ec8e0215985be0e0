//! The words and signs of our SQL, told to sqlparser: its generic dialect with Flink's switches.
//!
//! Used by the [`parser`](super). `TABLE t` and `TABLE (query)` as arguments of a window function have no place in sqlparser's
//! tree, so they become a call of [`TABLE_ARGUMENT`], which the relation planner takes apart again; no user can write that name.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    WindowSpec, WindowType,
};
use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;
use std::any::TypeId;

/// The name under which `TABLE t` travels as an expression.
pub(crate) const TABLE_ARGUMENT: &str = "$table_argument";

/// Flink-flavoured SQL. It answers with the generic dialect's identity, because sqlparser asks for that in places.
#[derive(Debug, Default)]
pub(crate) struct StreamDialect;

impl Dialect for StreamDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }
    fn supports_table_versioning(&self) -> bool {
        true
    }
    fn supports_match_recognize(&self) -> bool {
        true
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let is_map = parser.peek_keyword(Keyword::MAP) && parser.peek_nth_token(1).token == Token::LBracket;
        if is_map {
            let at = parser.peek_token().span.start;
            let reason = format!("MAP[..] is not supported yet at Line: {}, Column: {}", at.line, at.column);
            return Some(Err(ParserError::ParserError(reason)));
        }
        parser.peek_keyword(Keyword::TABLE).then(|| table_argument(parser))
    }
}

/// `TABLE t`, `TABLE (query)`, each with an optional PARTITION BY.
fn table_argument(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::TABLE)?;
    let args = if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        FunctionArguments::Subquery(query)
    } else {
        let name = parser.parse_object_name(false)?;
        let table = Expr::CompoundIdentifier(name.0.iter().filter_map(|part| part.as_ident().cloned()).collect());
        let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(table))];
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] })
    };
    let mut partition_by = vec![];
    if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        partition_by = match parser.consume_token(&Token::LParen) {
            true => {
                let keys = parser.parse_comma_separated(Parser::parse_expr)?;
                parser.expect_token(&Token::RParen)?;
                keys
            }
            false => vec![parser.parse_expr()?],
        };
    }
    let spec = WindowSpec { window_name: None, partition_by, order_by: vec![], window_frame: None };
    Ok(Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(TABLE_ARGUMENT)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args,
        filter: None,
        null_treatment: None,
        over: Some(WindowType::WindowSpec(spec)),
        within_group: vec![],
    }))
}
