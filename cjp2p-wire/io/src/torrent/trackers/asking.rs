//! `Trackers`: the process that asks trackers, as the one that started it sees it.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use cjp2p_torrent::tracker::{Announce, Answer, TrackerError};

use super::line::{MAX_LINE, Question, Reply};

/// The only argument of the process that asks trackers.
pub const ARGUMENT: &str = "--ask-trackers";
/// Questions that are not answered yet, at the most: those beyond fail at once.
const MAX_OPEN: usize = 1000;

/// The process that asks trackers. See the [folder](super).
#[derive(Debug)]
pub struct Trackers {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Option<ChildStdout>,
    replies: Receiver<Reply>,
    sender: Option<Sender<Reply>>,
    /// Answered here.
    failed: Vec<(u64, Result<Answer, TrackerError>)>,
    next: u64,
    open: usize,
}

impl Trackers {
    /// Starts the process. To be called before this process is confined: then it may start no other.
    ///
    /// # Errors
    ///
    /// The system starts no process.
    pub fn start() -> io::Result<Trackers> {
        Trackers::start_program(Command::new("/proc/self/exe"))
    }

    fn start_program(mut command: Command) -> io::Result<Trackers> {
        command.arg0(env::args_os().next().unwrap_or_default()).arg(ARGUMENT).current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (sender, replies) = mpsc::channel();
        let sender = Some(sender);
        Ok(Trackers { child, questions, answers, replies, sender, failed: Vec::new(), next: 0, open: 0 })
    }

    /// Listens to what is answered from now on; `notify` is called, on another thread, whenever something is. To be called once, after
    /// this process was confined.
    ///
    /// # Errors
    ///
    /// The system starts no thread.
    pub fn watch(&mut self, notify: impl Fn() + Send + 'static) -> io::Result<()> {
        if let (Some(answers), Some(sender)) = (self.answers.take(), self.sender.take()) {
            thread::Builder::new().name("trackers".into()).spawn(move || listen(answers, &sender, notify))?;
        }
        Ok(())
    }

    /// Asks the tracker of this URL; the number returned comes back with the answer. A tracker that the user named `is_trusted`: it
    /// may be in a private network, as with `allow_private` any may.
    pub fn ask(&mut self, url: &str, announce: &Announce, is_trusted: bool, allow_private: bool) -> u64 {
        let nth = self.next;
        self.next += 1;
        let question = Question::new(nth, url, announce, is_trusted || allow_private);
        let line = serde_json::to_string(&question).unwrap_or_default();
        let sent = match &mut self.questions {
            Some(questions) if self.open < MAX_OPEN && line.len() < MAX_LINE as usize => {
                writeln!(questions, "{line}").is_ok()
            }
            _ => false,
        };
        if sent {
            self.open += 1;
        } else {
            let error = TrackerError::Unreachable("trackers are not asked now".to_string());
            self.failed.push((nth, Err(error)));
        }
        nth
    }

    /// What was answered since, each with the number of its question.
    pub fn take_answers(&mut self) -> Vec<(u64, Result<Answer, TrackerError>)> {
        let mut answers = std::mem::take(&mut self.failed);
        while let Ok(reply) = self.replies.try_recv() {
            self.open = self.open.saturating_sub(1);
            answers.push((reply.nth, reply.into_answer()));
        }
        answers
    }
}

impl Drop for Trackers {
    /// The process ends by itself, and is not waited for.
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.try_wait();
    }
}

/// Passes on what the process says. It has read what trackers sent, so it is not believed to be what it should be.
fn listen(answers: ChildStdout, sender: &Sender<Reply>, notify: impl Fn()) {
    let mut lines = BufReader::new(answers);
    let mut next = || {
        let mut line = Vec::new();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice::<Reply>(&line).ok()
    };
    while let Some(reply) = next() {
        if sender.send(reply).is_err() {
            return;
        }
        notify();
    }
    log::info!("the process that asks trackers has ended");
}
