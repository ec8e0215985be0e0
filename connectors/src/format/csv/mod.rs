//! CSV as RFC 4180 has it: one record to one row by position, and back.
//!
//! Cut files with [`LineSplitter::quoted`](super::lines::LineSplitter::quoted), since quoted fields may hold line ends. An empty
//! field without quotes is NULL in every column but strings, where it is the empty string unless that is the NULL literal.

mod decoder;
mod encoder;

pub use decoder::CsvDecoder;
pub use encoder::CsvEncoder;

use thalweg_engine::error::{Error, Result};

/// How CSV is written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between two fields (`csv.field-delimiter`, `,`).
    pub delimiter: u8,
    /// Around fields that hold delimiters, quotes or line ends (`csv.quote-character`, `"`); `None` switches quoting off.
    pub quote: Option<u8>,
    /// What stands for NULL (`csv.null-literal`, none).
    pub null_literal: Option<String>,
    /// Whether the first record of a file names the columns (`csv.header`, false).
    pub header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', quote: Some(b'"'), null_literal: None, header: false }
    }
}

impl CsvOptions {
    /// Checks that delimiter and quote can be told apart from each other and from line ends.
    ///
    /// # Errors
    /// `user`, if they cannot.
    pub fn validate(&self) -> Result<()> {
        for (option, byte) in [("csv.field-delimiter", Some(self.delimiter)), ("csv.quote-character", self.quote)] {
            if let Some(byte) = byte.filter(|byte| !byte.is_ascii() || matches!(byte, b'\n' | b'\r' | 0)) {
                return Err(Error::user(format!("option `{option}`: `{}` cannot be used", byte.escape_ascii())));
            }
        }
        if self.quote == Some(self.delimiter) {
            let text = "options `csv.field-delimiter` and `csv.quote-character` are the same character";
            return Err(Error::user(text));
        }
        Ok(())
    }
}
