//! Runs one hostile case: the real binary in a fresh folder, watched from outside.

use super::{Case, ROWS};
use crate::binary::thalweg;
use std::fs::{self, File};
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use thalweg::engine::clock::Clock;

/// A case that takes longer hangs.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Memory of the process at most, in bytes: what a limit of the product allows, far from what the input asks for.
const MEMORY_MAX: i64 = 1 << 30;

/// How a child ended: its wait status and the most memory it had.
struct Ended {
    status: i32,
    memory_bytes: i64,
}

/// Waits, for [`TIME_MAX`] at most.
fn wait(child: &mut Child) -> Result<Ended, String> {
    let clock = Clock::system();
    loop {
        // SAFETY: both out parameters are plain data that the call fills.
        let (pid, status, usage) = unsafe {
            let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
            let pid = libc::wait4(child.id() as libc::pid_t, &mut status, libc::WNOHANG, &mut usage);
            (pid, status, usage)
        };
        if pid != 0 {
            return Ok(Ended { status, memory_bytes: usage.ru_maxrss * 1024 });
        }
        if clock.now() > TIME_MAX {
            child.kill().map_err(|e| e.to_string())?;
            let _ = child.wait();
            return Err(format!("it runs for more than {TIME_MAX:?}"));
        }
        // SAFETY: a poll of nothing; it only waits 5 ms.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 5) };
    }
}

/// Files below `dir` that a reader would take for results.
fn visible(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut out = vec![];
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            out.extend(visible(&entry.path()));
        } else if !name.starts_with(['.', '_']) {
            out.push(name);
        }
    }
    out
}

/// Runs the case; an error says what is wrong with the answer.
pub fn check(case: &Case) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("job.sql"), &case.sql).unwrap();
    if !case.files.iter().any(|(path, _)| path.starts_with("in")) {
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("in/rows.json"), ROWS).unwrap();
    }
    for (path, bytes) in &case.files {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), bytes).unwrap();
    }
    let define = format!("DIR={}", root.display());
    let mut arguments = vec!["run", "job.sql", "--define", &define];
    arguments.extend(case.arguments.iter().map(String::as_str));
    let mut command = thalweg(&arguments);
    command.current_dir(root).envs(case.environment);
    let stdout = case.stdout.map(Path::new).unwrap_or(Path::new("stdout"));
    command.stdout(File::options().create(true).write(true).truncate(false).open(root.join(stdout)).unwrap());
    command.stderr(File::create(root.join("stderr")).unwrap());
    let clock = Clock::system();
    let ended = wait(&mut command.spawn().unwrap());
    let stderr = String::from_utf8_lossy(&fs::read(root.join("stderr")).unwrap()).into_owned();
    println!("=== {} ({:?})\n{}", case.name, clock.now(), clip(&stderr));
    let faults = match &ended {
        Err(e) => vec![e.clone()],
        Ok(ended) => faults(case, ended, &stderr, &visible(&root.join("out"))),
    };
    if faults.is_empty() { Ok(()) } else { Err(format!("{}\n  {}\n{}", case.name, faults.join("\n  "), clip(&stderr))) }
}

fn faults(case: &Case, ended: &Ended, stderr: &str, visible: &[String]) -> Vec<String> {
    let mut faults = vec![];
    if libc::WIFSIGNALED(ended.status) {
        faults.push(format!("died of signal {}", libc::WTERMSIG(ended.status)));
    } else if libc::WEXITSTATUS(ended.status) != case.status {
        faults.push(format!("status {} instead of {}", libc::WEXITSTATUS(ended.status), case.status));
    }
    if ended.memory_bytes > MEMORY_MAX {
        faults.push(format!("took {} MiB", ended.memory_bytes >> 20));
    }
    if stderr.contains("panicked") || stderr.contains("internal error") {
        faults.push("panicked".into());
    }
    if case.status != 0 && stderr.lines().filter(|l| l.starts_with("error: ")).count() != 1 {
        faults.push("wants one line that begins with `error: `".into());
    }
    if stderr.len() > 4096 {
        faults.push(format!("says {} bytes", stderr.len()));
    }
    faults.extend(case.says.iter().filter(|s| !stderr.contains(**s)).map(|s| format!("lacks `{s}`")));
    faults.extend(case.hides.filter(|s| stderr.contains(s)).map(|s| format!("shows `{s}`")));
    if case.status != 0 && !visible.is_empty() {
        faults.push(format!("left {visible:?}"));
    }
    faults
}

/// The text for people who look at a failure.
fn clip(text: &str) -> String {
    let clipped: String = text.chars().take(1_500).collect();
    clipped.trim_end().to_owned()
}
