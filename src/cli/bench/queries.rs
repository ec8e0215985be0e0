//! The Nexmark queries that can be run, as the SQL files of `benches/nexmark/queries` say them.

/// The source table and its views; every query follows it.
pub(crate) const SOURCE: &str = include_str!("../../../benches/nexmark/queries/source.sql");

/// One query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// Whether it is the windowed part of a larger query.
    pub(crate) part: bool,
}

macro_rules! query {
    ($name:literal, $part:literal) => {
        Query {
            name: $name,
            sql: include_str!(concat!("../../../benches/nexmark/queries/", $name, ".sql")),
            part: $part,
        }
    };
}

/// All of them.
pub(crate) const QUERIES: &[Query] = &[
    query!("q0", false),
    query!("q1", false),
    query!("q1-decimal", false),
    query!("q2", false),
    query!("q5", true),
    query!("q7", true),
    query!("q8", true),
    query!("q10", false),
    query!("q12", false),
    query!("q14", false),
    query!("q21", false),
    query!("q22", false),
];
