//! The only door to threads. Each has a name and a guard: a panic becomes an error that names the thread, never silence.

use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Runs `body` on a thread of its own and hands its result to `done`, also if it panics.
/// Errors: `external` if the system gives no thread.
#[expect(clippy::disallowed_methods, reason = "this file is the door to threads")]
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> Result<T> + Send + 'static,
    done: impl FnOnce(Result<T>) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let label = name.to_owned();
    let run = move || {
        let result = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => result.map_err(|e| e.in_task(&label)),
            Err(panic) => {
                // What made it panic may be gone at the next attempt.
                let text = format!("panicked: {}", panic_text(&*panic));
                Err(Error::internal(text).with_retry(true).in_task(&label))
            }
        };
        done(result);
    };
    let failed = |e| Error::external(format!("start thread `{name}`: {e}"));
    // Linux shows 15 bytes of a thread's name.
    let short: String = name.chars().filter(char::is_ascii).take(15).collect();
    Builder::new().name(short).spawn(run).map_err(failed)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn a_panic_comes_back_as_an_error_with_the_threads_name() {
        let (tx, rx) = bounded(1);
        let body = || -> Result<()> { panic!("boom {}", 7) };
        spawn("count/1", body, move |r| tx.send(r).unwrap()).unwrap().join().unwrap();
        let e = rx.recv().unwrap().unwrap_err();
        assert_eq!(e.to_string(), "task `count/1`: panicked: boom 7");
    }
}
