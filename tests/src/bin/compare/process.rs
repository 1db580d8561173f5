//! Programs while they are measured: how long they run, the processor time and the memory they take.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cjp2p_tests::lab::Error;
use cjp2p_tests::real::server::peak_memory;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::net::{End, Net};

/// How often the memory of a program is looked at. The system keeps the peak: only that of the last moment is missed.
const LOOK: Duration = Duration::from_millis(10);
/// Programs have started when all of them were seen to wait so often in a row.
const LOOKS_ASLEEP: usize = 5;
/// How long they may take for that.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// What it took to do something once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// From the start of the program to its end, in seconds.
    pub(crate) seconds: f64,
    /// Processor time of all who took part, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that one of the programs had resident, in bytes.
    pub(crate) peak: u64,
    /// When half of the programs had ended, in seconds.
    pub(crate) median: f64,
}

/// A program to run.
pub(crate) struct Program {
    pub(crate) command: Command,
    /// What it is given on standard input, once all programs have started and wait for that.
    pub(crate) told: Option<String>,
}

impl From<Command> for Program {
    fn from(command: Command) -> Program {
        Program { command, told: None }
    }
}

/// Runs programs side by side until all have ended well; what they say goes to files in `folder`. The clock runs from their start,
/// or from when they are told what to do, where they wait for that.
///
/// # Errors
///
/// Where one cannot be started, or fails.
pub(crate) fn run(
    net: &Net,
    end: End,
    programs: Vec<impl Into<Program>>,
    folder: &Path,
) -> Result<Sample, Error> {
    let spent = processor_time_of_ended()?;
    let mut begun = Instant::now();
    let mut running = Vec::new();
    let mut told = Vec::new();
    for program in programs {
        let Program { mut command, told: text } = program.into();
        let said = folder.join(format!("stderr-{}", running.len()));
        command.stderr(File::create(&said)?);
        if text.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = net.spawn(end, command)?;
        told.extend(child.stdin.take().zip(text));
        running.push(Running { child, said });
    }
    let pids: Vec<u32> = running.iter().map(|program| program.child.id()).collect();
    let watch = Watch::start(pids.clone());
    if !told.is_empty() {
        wait_until_asleep(&pids)?;
        begun = Instant::now();
        for (mut stdin, text) in told {
            stdin.write_all(text.as_bytes())?;
        }
    }
    let ends = finish(running, begun)?;
    let [seconds, median] = [ends.len() - 1, ends.len() / 2].map(|nth| ends[nth]);
    Ok(Sample { seconds, cpu: processor_time_of_ended()? - spent, peak: watch.peak()?, median })
}

/// Waits until all of them have ended well; says when each did, in seconds, in order.
fn finish(mut running: Vec<Running>, begun: Instant) -> Result<Vec<f64>, Error> {
    let mut ends = Vec::new();
    if let [program] = &mut running[..] {
        program.finish()?;
        return Ok(vec![begun.elapsed().as_secs_f64()]);
    }
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(1) + Duration::from_micros(10) * running.len() as u32);
        let mut left = Vec::new();
        for mut program in running {
            if program.child.try_wait()?.is_none() {
                left.push(program);
                continue;
            }
            program.finish()?;
            ends.push(begun.elapsed().as_secs_f64());
        }
        running = left;
    }
    Ok(ends)
}

/// Waits until none of these programs has had anything to do for a while.
fn wait_until_asleep(pids: &[u32]) -> Result<(), Error> {
    let begun = Instant::now();
    let is_asleep = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('S'))
    };
    let mut looks = 0;
    while looks < LOOKS_ASLEEP {
        std::thread::sleep(LOOK * 10);
        looks = if pids.iter().all(is_asleep) { looks + 1 } else { 0 };
        if begun.elapsed() > START_TIMEOUT {
            return Err("not all programs have started".into());
        }
    }
    Ok(())
}

/// A program that is to end by itself. Killed where it is dropped before.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn finish(&mut self) -> Result<(), Error> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        Err(format!("{status}: {}", said.trim().lines().last().unwrap_or_default()).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of the programs that this one started and that have ended, in seconds.
fn processor_time_of_ended() -> Result<f64, Error> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}

/// Looks at the memory of programs until it is told to stop.
struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn start(pids: Vec<u32>) -> Watch {
        let (stop, stopped) = mpsc::channel();
        // Looking at many must not take from them what they are measured by.
        let pause = LOOK * pids.len() as u32;
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = pids.iter().map(|pid| peak_memory(*pid)).max().unwrap_or(0).max(peak);
                if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return peak;
                }
            }
        });
        Watch { stop, thread }
    }

    fn peak(self) -> Result<u64, Error> {
        drop(self.stop);
        self.thread.join().map_err(|_| "a thread panicked".into())
    }
}

/// A program that serves until it is dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn new(child: Child) -> Server {
        Server { child }
    }

    /// Processor time that it has taken so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64, Error> {
        self.ticks(2)
    }

    /// The same, with that of the processes that it started and that have ended.
    pub(crate) fn cpu_with_ended(&self) -> Result<f64, Error> {
        self.ticks(4)
    }

    /// The sum of so many of the four times that the system counts: its own in user space and in the kernel, then those of its children.
    fn ticks(&self, count: usize) -> Result<f64, Error> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name, which may hold blanks, ends with a parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(count).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The most memory it ever had resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        peak_memory(self.child.id())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into()?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_word_of_a_program_that_fails_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let commands = vec![shell("exit 0"), shell("echo first >&2; echo last >&2; exit 3")];
        let why = run(&Net::Loopback, End::Getter, commands, folder.path()).unwrap_err().to_string();
        assert!(why.contains("3: last"), "{why}");
    }

    #[test]
    fn processor_time_and_memory_of_programs_that_end_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let busy = || shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
        let sample = run(&Net::Loopback, End::Getter, vec![busy(), busy()], folder.path()).unwrap();
        assert!(sample.cpu > 0.01 && sample.peak > 1 << 18, "{sample:?}");
    }

    #[test]
    fn programs_that_wait_are_told_together_and_the_clock_runs_from_then() {
        let folder = tempfile::tempdir().unwrap();
        let program = |seconds: &str| Program {
            command: shell("sleep 0.2; read pause; exec sleep \"$pause\""),
            told: Some(format!("{seconds}\n")),
        };
        let programs = vec![program("0.6"), program("0.1"), program("0.1")];
        let begun = Instant::now();
        let sample = run(&Net::Loopback, End::Getter, programs, folder.path()).unwrap();
        let all = begun.elapsed().as_secs_f64();
        assert!(sample.seconds >= 0.6 && sample.seconds + 0.2 < all, "{sample:?} of {all}");
        assert!(sample.median >= 0.1 && sample.median <= sample.seconds, "{sample:?}");
    }

    #[test]
    fn processor_time_of_a_program_that_runs_is_counted() {
        let server = Server::new(shell("while :; do :; done").spawn().unwrap());
        let begun = Instant::now();
        while server.cpu().unwrap() < 0.05 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it takes no processor time");
            std::thread::sleep(LOOK);
        }
        assert!(server.peak() > 0);
    }
}
