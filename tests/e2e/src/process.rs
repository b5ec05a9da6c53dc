//! Other programs: run to their end, or followed line by line.

use crate::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Where cargo builds.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// Runs a command to its end with `input`; a command that does not end is killed, and fails.
pub fn output(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
    let pid = pid(&child);
    let mut stdin = child.stdin.take().expect("standard input");
    let input = input.to_vec();
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A program that reads nothing may be gone.
        stdin.write_all(&input).ok();
        drop(stdin);
        sender.send(child.wait_with_output()).ok();
    });
    match done.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("the output"),
        Err(_) => {
            kill_process(pid, Signal::KILL).ok();
            panic!("{command:?} did not end");
        }
    }
}

/// A program that runs, its output followed.
pub struct Process {
    child: Child,
    what: String,
    lines: Arc<Lines>,
}

#[derive(Default)]
struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// How many streams are still open.
    open: u32,
}

impl Process {
    /// Starts a command and follows its standard output and standard error.
    pub fn start(command: &mut Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to run {what}: {error}"));
        let lines = Arc::<Lines>::default();
        lines.lock().open = 2;
        follow(&lines, child.stdout.take().expect("standard output"));
        follow(&lines, child.stderr.take().expect("standard error"));
        Process { child, what, lines }
    }

    /// How many lines there are: where to look for what happens next.
    pub fn mark(&self) -> usize {
        self.lines.lock().lines.len()
    }

    /// The lines from `start` on.
    pub fn lines(&self, start: usize) -> Vec<String> {
        self.lines.lock().lines[start..].to_vec()
    }

    /// Waits for a line from `start` on that is wanted.
    pub fn wait_for<T>(&self, start: usize, wanted: &str, mut is_it: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut next = start;
        let mut state = self.lines.lock();
        loop {
            while let Some(line) = state.lines.get(next) {
                next += 1;
                if let Some(found) = is_it(line) {
                    return found;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open == 0 {
                panic!("{}\ndid not print {wanted}, but:\n{}", self.what, state.lines.join("\n"));
            }
            state = self.lines.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until there are `count` lines.
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let mut seen = 0;
        self.wait_for(0, &format!("{count} lines"), |_| {
            seen += 1;
            (seen >= count).then_some(())
        });
        self.lines(0)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal");
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lines.lock();
        // Its streams close with it; then it is about to end, or has ended.
        while state.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                panic!("{}\ndid not end, and printed:\n{}", self.what, state.lines.join("\n"));
            }
            state = self.lines.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.child.wait().expect("the exit status")
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        pid(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Lines {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn follow(lines: &Arc<Lines>, stream: impl Read + Send + 'static) {
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            lines.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
            lines.changed.notify_all();
        }
        lines.lock().open -= 1;
        lines.changed.notify_all();
    });
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
