//! The only door to injected faults: tests abort or fail a real process at a step that makes something durable.
//!
//! `THALWEG_TEST_FAIL` lists `POINT=ACTION` or `POINT=ACTION@N` (at the Nth time), separated by commas. The actions are
//! `abort-before`, `abort-after`, `error`, `error-after` (the step is done, and its answer lost), and `wait-before`: until the file that
//! `THALWEG_TEST_RELEASE` names is there. Without the variable a point costs one comparison.

use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The variable that arms points.
pub const VARIABLE: &str = "THALWEG_TEST_FAIL";
/// The variable that names the file to wait for.
pub const RELEASE: &str = "THALWEG_TEST_RELEASE";

/// The variable that says how many ms old an object must be to be swept.
pub const GRACE: &str = "THALWEG_TEST_GRACE_MS";

/// How old an object must be to be swept, if a test says so.
pub fn grace_ms() -> Option<i64> {
    std::env::var(GRACE).ok()?.parse().ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    AbortBefore,
    AbortAfter,
    Error,
    ErrorAfter,
    WaitBefore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Armed {
    action: Action,
    /// At which time, from 1.
    at: u64,
}

static ARMED: LazyLock<HashMap<String, Armed>> = LazyLock::new(|| given().unwrap_or_default());
static HITS: LazyLock<Mutex<HashMap<String, AtomicU64>>> = LazyLock::new(Mutex::default);

fn given() -> Result<HashMap<String, Armed>> {
    std::env::var(VARIABLE).map_or_else(|_| Ok(HashMap::new()), |text| parse(&text))
}

/// Errors: `user` if the points to arm are written so that none would be.
pub fn check() -> Result<()> {
    given().map(drop)
}

fn parse(text: &str) -> Result<HashMap<String, Armed>> {
    let one = |item: &str| {
        let (point, action) = item.trim().split_once('=')?;
        let (action, at) = action.split_once('@').unwrap_or((action, "1"));
        let action = match action {
            "abort-before" => Action::AbortBefore,
            "abort-after" => Action::AbortAfter,
            "error" => Action::Error,
            "error-after" => Action::ErrorAfter,
            "wait-before" => Action::WaitBefore,
            _ => return None,
        };
        Some((point.to_owned(), Armed { action, at: at.parse().ok()? }))
    };
    let items = text.split(',').filter(|item| !item.trim().is_empty());
    let armed = |item| one(item).ok_or_else(|| Error::user(format!("{VARIABLE}: `{item}` is no POINT=ACTION@N")));
    items.map(armed).collect()
}

/// Does `step`, which is called `point`, unless a test wants it to go wrong.
pub fn step<T>(point: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    if ARMED.is_empty() {
        return step();
    }
    match due(point) {
        None => step(),
        Some(Action::AbortBefore) => std::process::abort(),
        Some(Action::Error) => Err(Error::external(format!("fail point `{point}`"))),
        Some(Action::ErrorAfter) => {
            let _ = step();
            Err(Error::external(format!("fail point `{point}`")))
        }
        Some(Action::WaitBefore) => {
            wait();
            step()
        }
        Some(Action::AbortAfter) => {
            let _ = step();
            std::process::abort()
        }
    }
}

fn wait() {
    let Some(file) = std::env::var_os(RELEASE) else { return };
    // The door to waiting is a queue that nobody fills.
    let (_filler, quiet) = crossbeam_channel::bounded::<()>(1);
    while !std::path::Path::new(&file).exists() {
        let _ = quiet.recv_timeout(std::time::Duration::from_millis(5));
    }
}

fn due(point: &str) -> Option<Action> {
    let armed = ARMED.get(point)?;
    let mut hits = HITS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = hits.entry(point.to_owned()).or_default().fetch_add(1, Ordering::Relaxed) + 1;
    (count == armed.at).then_some(armed.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_armed_by_text_and_silent_without_it() {
        let armed = parse("record.create=abort-after@3, snapshot.put=error,").unwrap();
        assert_eq!(armed.len(), 2);
        assert_eq!(armed["record.create"], Armed { action: Action::AbortAfter, at: 3 });
        assert_eq!(armed["snapshot.put"], Armed { action: Action::Error, at: 1 });
        for wrong in ["nonsense", "x=explode", "x=error@", "x=error@-1", "x=error;y=error"] {
            let e = parse(wrong).unwrap_err();
            assert!(e.message().contains(wrong), "{e}");
        }
        assert_eq!(step("anything", || Ok(7)).unwrap(), 7);
    }
}
