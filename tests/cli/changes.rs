//! Results that change: what is shown after any epoch is the answer for one prefix of the input, whatever ways it took through the job.

use crate::binary::{SqlFile, ended};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use thalweg_engine::rng::Rng;

const ACCOUNTS: u64 = 50;
const TRANSFERS: usize = 100_000;

/// Transfers between accounts in files of their own splits; the totals by account.
fn transfers(sql: &SqlFile) -> BTreeMap<i64, (i64, i64)> {
    let mut rng = Rng::new(3);
    let mut balances = BTreeMap::new();
    std::fs::create_dir(sql.file("in")).unwrap();
    for part in 0..4 {
        let mut text = String::new();
        for _ in 0..TRANSFERS / 4 {
            let (from, to) = (rng.below(ACCOUNTS) as i64, rng.below(ACCOUNTS) as i64);
            let amount = rng.below(1000) as i64;
            writeln!(text, "{{\"sender\":{from},\"receiver\":{to},\"amount\":{amount}}}").unwrap();
            for (account, change) in [(from, -amount), (to, amount)] {
                let of: &mut (i64, i64) = balances.entry(account).or_default();
                *of = (of.0 + 1, of.1 + change);
            }
        }
        std::fs::write(sql.file("in").join(format!("{part}.json")), text).unwrap();
    }
    balances
}

/// What a query over the accounts shows, line by line, at a parallelism, with as many epochs as the machine can.
fn shown(query: &str, parallelism: &str) -> (Vec<Value>, BTreeMap<i64, (i64, i64)>) {
    let sql = SqlFile::new("");
    let balances = transfers(&sql);
    let text = format!(
        "CREATE TABLE transfers (sender BIGINT, receiver BIGINT, amount BIGINT)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE VIEW moves AS SELECT receiver AS account, amount FROM transfers
         UNION ALL SELECT sender AS account, -amount AS amount FROM transfers;
         CREATE VIEW balances AS SELECT account, count(*) AS n, sum(amount) AS balance FROM moves GROUP BY account;
         {query};",
        sql.file("in").display()
    );
    let file = SqlFile::new(&text);
    let settings = [
        "--set",
        "epoch.max-bytes=64KiB",
        "--set",
        "epoch.interval=1ms",
        "--set",
        "batch.rows=64",
        "--parallelism",
        parallelism,
        "--json",
    ];
    let path = file.path();
    let arguments: Vec<&str> = ["run", path.as_str()].into_iter().chain(settings).collect();
    let out = ended(&arguments);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let rows: Vec<Value> = out.rows().into_iter().filter(|row| row.get("$weight").is_some()).collect();
    (rows, balances)
}

fn int(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("`{name}` of {row}"))
}

#[test]
fn no_total_is_ever_shown_that_the_transfers_do_not_add_up_to() {
    // The same money by four ways: all balances; the transfers themselves; a join of the balances with themselves; an outer join of
    // what came with what went.
    let query = "SELECT t.n, b.moves, b.total, s.doubled, o.total AS other
        FROM (SELECT count(*) AS n FROM transfers) AS t
        CROSS JOIN (SELECT sum(n) AS moves, sum(balance) AS total FROM balances) AS b
        CROSS JOIN (SELECT sum(x.balance + y.balance) AS doubled FROM balances AS x JOIN balances AS y ON x.account = y.account) AS s
        CROSS JOIN (SELECT sum(coalesce(c.amount, 0) - coalesce(w.amount, 0)) AS total
            FROM (SELECT receiver AS account, sum(amount) AS amount FROM transfers GROUP BY receiver) AS c
            FULL JOIN (SELECT sender AS account, sum(amount) AS amount FROM transfers GROUP BY sender) AS w
            ON c.account = w.account) AS o";
    let (rows, _) = shown(query, "3");
    let come: Vec<&Value> = rows.iter().filter(|row| int(row, "$weight") == 1).collect();
    assert!(come.len() > 10, "{} epochs: too few to say anything", come.len());
    let mut last = 0;
    for row in &come {
        let n = row["n"].as_i64().unwrap_or(0);
        assert!(n >= last, "never back: {row}");
        last = n;
        if n > 0 {
            assert_eq!(int(row, "moves"), 2 * n, "{row}");
            assert_eq!([int(row, "total"), int(row, "doubled"), int(row, "other")], [0, 0, 0], "{row}");
        }
    }
    assert_eq!(last, TRANSFERS as i64);
}

#[test]
fn balances_add_up_after_every_epoch() {
    let (rows, wanted) = shown("SELECT account, n, balance FROM balances", "2");
    let mut there: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut epochs = 0;
    let mut gone = false;
    for row in &rows {
        let (account, value) = (int(row, "account"), (int(row, "n"), int(row, "balance")));
        let goes = int(row, "$weight") == -1;
        // An epoch shows what goes first: where that begins again, all that was shown before is one prefix of the transfers.
        if goes && !gone {
            epochs += 1;
            assert_eq!(there.values().map(|v| v.1).sum::<i64>(), 0, "after epoch {epochs}");
            assert_eq!(there.values().map(|v| v.0).sum::<i64>() % 2, 0);
        }
        gone = goes;
        match goes {
            true => assert_eq!(there.remove(&account), Some(value), "what goes was there: {row}"),
            false => assert_eq!(there.insert(account, value), None, "one row per account: {row}"),
        }
    }
    assert_eq!(there, wanted);
    assert!(epochs > 10, "{epochs}");
}
