//! CREATE TABLE and CREATE VIEW: the part of the grammar that sqlparser does not know.

use super::statement::{Column, ColumnKind, CreateTable, CreateView, StatementKind, TableOption, WatermarkClause};
use super::types::{parse_nullable, parse_type};
use super::{StatementParser, fault_at};
use crate::error::{Fault, Result};
use datafusion_sql::sqlparser::ast::Ident;
use datafusion_sql::sqlparser::tokenizer::{Span, Token};

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<StatementKind> {
        self.expect_words(&["CREATE"])?;
        let or_replace = self.p.peek_token().span;
        if self.peek_words(&["OR", "REPLACE"]) {
            return Err(Fault::unsupported(or_replace, "CREATE OR REPLACE").remedy("drop it first"));
        }
        // There is no other kind of catalog that would outlive the text.
        self.skip_words(&["TEMPORARY"]);
        if self.skip_words(&["TABLE"]) {
            return self.create_table();
        }
        if self.skip_words(&["VIEW"]) {
            return self.create_view();
        }
        let next = self.p.peek_token();
        Err(Fault::unsupported(next.span, format!("CREATE {}", next.token)).remedy("write CREATE TABLE or CREATE VIEW"))
    }

    fn create_view(&mut self) -> Result<StatementKind> {
        let if_not_exists = self.skip_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let columns = if self.p.peek_token().token == Token::LParen { self.column_list()? } else { vec![] };
        self.comment()?;
        self.expect_words(&["AS"])?;
        let query = self.query()?;
        Ok(StatementKind::CreateView(CreateView { name, if_not_exists, columns, query }))
    }

    fn create_table(&mut self) -> Result<StatementKind> {
        let if_not_exists = self.skip_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let mut table = CreateTable {
            name,
            if_not_exists,
            columns: vec![],
            watermark: None,
            primary_key: vec![],
            partitioned_by: vec![],
            options: vec![],
            like: None,
            like_options: true,
        };
        if self.p.consume_token(&Token::LParen) && !self.p.consume_token(&Token::RParen) {
            self.table_elements(&mut table)?;
        }
        self.comment()?;
        if self.skip_words(&["PARTITIONED", "BY"]) {
            table.partitioned_by = self.column_list()?;
        }
        if self.skip_words(&["WITH"]) {
            table.options = self.options()?;
        }
        if self.skip_words(&["LIKE"]) {
            table.like = Some(self.name()?);
            if self.p.peek_token().token == Token::LParen {
                table.like_options = self.like_options()?;
            }
        }
        if self.peek_words(&["AS"]) {
            let fault = Fault::unsupported(self.p.peek_token().span, "CREATE TABLE .. AS");
            return Err(fault.remedy("write CREATE TABLE with columns, then INSERT INTO"));
        }
        Ok(StatementKind::CreateTable(Box::new(table)))
    }

    /// `(INCLUDING ALL)`, `(EXCLUDING OPTIONS)`: whether LIKE takes over the options.
    fn like_options(&mut self) -> Result<bool> {
        let span = self.p.peek_token().span;
        self.expect_token(&Token::LParen)?;
        let includes = match () {
            () if self.skip_words(&["EXCLUDING", "OPTIONS"]) => Some(false),
            () if self.skip_words(&["INCLUDING", "ALL"]) || self.skip_words(&["INCLUDING", "OPTIONS"]) => Some(true),
            () if self.skip_words(&["OVERWRITING", "OPTIONS"]) => Some(true),
            () => None,
        };
        match includes.filter(|_| self.p.consume_token(&Token::RParen)) {
            Some(includes) => Ok(includes),
            None => Err(Fault::unsupported(span, "this list of what LIKE takes over")
                .remedy("write LIKE name, which takes everything, or LIKE name (EXCLUDING OPTIONS)")),
        }
    }

    /// Columns, WATERMARK and PRIMARY KEY, in any order, up to the closing bracket.
    fn table_elements(&mut self, table: &mut CreateTable) -> Result<()> {
        loop {
            let span = self.p.peek_token().span;
            if self.peek_words(&["WATERMARK", "FOR"]) {
                self.skip_words(&["WATERMARK", "FOR"]);
                if table.watermark.is_some() {
                    return Err(Fault::invalid(span, "a table has one WATERMARK").remedy("keep one of them"));
                }
                table.watermark = Some(self.watermark()?);
            } else if self.peek_words(&["PRIMARY", "KEY"]) || self.peek_words(&["CONSTRAINT"]) {
                if self.skip_words(&["CONSTRAINT"]) {
                    self.identifier()?;
                }
                self.expect_words(&["PRIMARY", "KEY"])?;
                let key = self.column_list()?;
                self.not_enforced()?;
                set_key(table, key, span)?;
            } else if self.peek_words(&["UNIQUE"]) && self.p.peek_nth_token(1).token == Token::LParen {
                return Err(Fault::unsupported(span, "UNIQUE").remedy("write PRIMARY KEY (..) NOT ENFORCED"));
            } else {
                let column = self.column(table)?;
                if table.columns.iter().any(|c| c.name.value == column.name.value) {
                    return Err(Fault::invalid(
                        column.name.span,
                        format!("column `{}` is defined twice", column.name.value),
                    ));
                }
                table.columns.push(column);
            }
            if !self.p.consume_token(&Token::Comma) {
                return self.expect_token(&Token::RParen);
            }
        }
    }

    /// A nested field cannot be the rowtime, so the column is one name.
    fn watermark(&mut self) -> Result<WatermarkClause> {
        let column = self.identifier()?;
        if self.p.peek_token().token == Token::Period {
            let fault = Fault::invalid(self.p.peek_token().span, "a WATERMARK column is a column, not a field of one");
            return Err(fault
                .remedy(format!("add a computed column: ts AS `{}`.<field>, WATERMARK FOR ts AS ts", column.value)));
        }
        self.expect_words(&["AS"])?;
        let expr = self.p.parse_expr().map_err(|e| fault_at(e, &self.p))?;
        Ok(WatermarkClause { column, expr })
    }

    fn column(&mut self, table: &mut CreateTable) -> Result<Column> {
        let name = self.identifier()?;
        if self.skip_words(&["AS"]) {
            let expr = self.p.parse_expr().map_err(|e| fault_at(e, &self.p))?;
            self.comment()?;
            return Ok(Column { name, kind: ColumnKind::Computed { expr: Box::new(expr) } });
        }
        let data_type = parse_type(&mut self.p)?;
        let mut nullable = parse_nullable(&mut self.p);
        let mut kind = None;
        if self.skip_words(&["METADATA"]) {
            let from = self.skip_words(&["FROM"]);
            let key = if from { self.string("write METADATA FROM 'name'")? } else { name.value.clone() };
            let is_virtual = self.skip_words(&["VIRTUAL"]);
            nullable &= parse_nullable(&mut self.p);
            kind = Some(ColumnKind::Metadata { data_type: data_type.clone(), nullable, key, is_virtual });
        }
        let span = self.p.peek_token().span;
        if self.skip_words(&["PRIMARY", "KEY"]) {
            self.not_enforced()?;
            set_key(table, vec![name.clone()], span)?;
            nullable = false;
        }
        if self.peek_words(&["DEFAULT"]) || self.peek_words(&["GENERATED"]) || self.peek_words(&["CHECK"]) {
            let word = self.p.peek_token();
            let fault = Fault::unsupported(word.span, format!("{} of a column", word.token));
            return Err(fault.remedy("write a computed column: name AS expression"));
        }
        self.comment()?;
        Ok(Column { name, kind: kind.unwrap_or(ColumnKind::Physical { data_type, nullable }) })
    }

    fn not_enforced(&mut self) -> Result<()> {
        if self.skip_words(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        let fault = Fault::invalid(self.p.get_current_token().span, "a PRIMARY KEY cannot be enforced on a stream");
        Err(fault.remedy("write NOT ENFORCED after it"))
    }

    /// A comment stays in the statement's text, which SHOW CREATE TABLE shows.
    fn comment(&mut self) -> Result<()> {
        if self.skip_words(&["COMMENT"]) {
            self.string("write COMMENT 'text'")?;
        }
        Ok(())
    }

    /// `('key' = 'value', ..)`.
    fn options(&mut self) -> Result<Vec<TableOption>> {
        self.expect_token(&Token::LParen)?;
        let mut options: Vec<TableOption> = vec![];
        let how = "write 'key' = 'value', both in single quotes";
        loop {
            let span = self.p.peek_token().span;
            let key = self.string(how)?;
            self.expect_token(&Token::Eq)?;
            let value = self.string(how)?;
            if options.iter().any(|o| o.key == key) {
                return Err(Fault::invalid(span, format!("option '{key}' stands twice")).remedy("keep one of them"));
            }
            options.push(TableOption { key, value, span });
            if !self.p.consume_token(&Token::Comma) {
                self.expect_token(&Token::RParen)?;
                return Ok(options);
            }
        }
    }
}

fn set_key(table: &mut CreateTable, key: Vec<Ident>, span: Span) -> Result<()> {
    if !table.primary_key.is_empty() {
        return Err(
            Fault::invalid(span, "a table has one PRIMARY KEY").remedy("list all its columns in one PRIMARY KEY (..)")
        );
    }
    table.primary_key = key;
    Ok(())
}
