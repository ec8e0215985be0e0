//! Every Nexmark query file plans, and reads no more than it must.

use super::compiled_with;

const SOURCE: &str = include_str!("../../../benches/nexmark/queries/source.sql");

fn plan(query: &str) -> String {
    let defines = [
        ("SOURCE", "'connector' = 'nexmark'"),
        ("SINK", "'connector' = 'blackhole'"),
        ("FILES", "'connector' = 'filesystem'"),
    ];
    let program = compiled_with(&format!("{SOURCE}{query}"), &defines).unwrap_or_else(|e| panic!("{query}\n{e}"));
    let jobs: Vec<_> = program.jobs().collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].graph.unread(), [], "{}", jobs[0].explain);
    jobs[0].explain.clone()
}

macro_rules! query {
    ($name:ident, $file:literal, $reads:literal, $($shows:literal),*) => {
        #[test]
        fn $name() {
            let shown = plan(include_str!(concat!("../../../benches/nexmark/queries/", $file, ".sql")));
            assert!(shown.contains(concat!("source nexmark (", $reads, ")")), "{shown}");
            $(assert!(shown.contains($shows), "{}\n{shown}", $shows);)*
        }
    };
}

query!(
    q0,
    "q0",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3), `extra` STRING>",
    "calc filter"
);
query!(
    q1,
    "q1",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3), `extra` STRING>",
    "0.908"
);
query!(
    q2,
    "q2",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3)>",
    "123"
);
query!(
    q1_decimal,
    "q1-decimal",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3), `extra` STRING>",
    "DECIMAL(23, 3)"
);
query!(
    q5,
    "q5",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `dateTime` TIMESTAMP(3)>",
    "hop 10000 ms every 2000 ms",
    "keys (auction)",
    "count(*)"
);
query!(
    q7,
    "q7",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`price` BIGINT, `dateTime` TIMESTAMP(3)>",
    "tumble 10000 ms",
    "max(price)"
);
query!(
    q8,
    "q8",
    "event_type INT, person ROW<`id` BIGINT, `name` STRING, `dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3), `seller` BIGINT>, bid ROW<`dateTime` TIMESTAMP(3)>",
    "keys (id, name)",
    "keys (seller)"
);
query!(
    q10,
    "q10",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3), `extra` STRING>",
    "date_format"
);
query!(
    q12,
    "q12",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`bidder` BIGINT, `dateTime` TIMESTAMP(3)>",
    "by processing time",
    "keys (bidder)"
);
query!(
    q14,
    "q14",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `dateTime` TIMESTAMP(3), `extra` STRING>",
    "dayTime"
);
query!(
    q21,
    "q21",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `channel` STRING, `url` STRING, `dateTime` TIMESTAMP(3)>",
    "channel_id"
);
query!(
    q22,
    "q22",
    "event_type INT, person ROW<`dateTime` TIMESTAMP(3)>, auction ROW<`dateTime` TIMESTAMP(3)>, bid ROW<`auction` BIGINT, `bidder` BIGINT, `price` BIGINT, `channel` STRING, `url` STRING, `dateTime` TIMESTAMP(3)>",
    "split_index"
);
