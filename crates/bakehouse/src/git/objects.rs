//! Contents of files from git's store, one process for all of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Mutex, PoisonError};

use super::{GitError, Repository};

/// The largest content that is given out.
const MAX_SIZE: u64 = 4 << 20;

/// Reads contents by their ids. Nothing is started before something is asked.
#[derive(Debug)]
pub struct Objects<'r> {
    repository: &'r Repository,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    process: Option<Process>,
    failed: Option<GitError>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl<'r> Objects<'r> {
    /// The contents in a repository.
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, state: Mutex::default() }
    }

    /// The content with that id; none if it is too large, or if it cannot be had, which
    /// [`finish`](Self::finish) tells.
    pub fn read(&self, id: &str) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.read(self.repository, id) {
            Ok(content) => content,
            Err(error) => {
                state.failed.get_or_insert(error);
                None
            }
        }
    }

    /// What could not be had, if anything.
    pub fn finish(&self) -> Result<(), GitError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl State {
    fn read(&mut self, repository: &Repository, id: &str) -> Result<Option<Vec<u8>>, GitError> {
        if self.process.is_none() {
            self.process = Some(Process::start(repository)?);
        }
        let process = self.process.as_mut().expect("started above");
        process.read(id)
    }
}

impl Process {
    fn start(repository: &Repository) -> Result<Self, GitError> {
        let mut command = repository.command(&["cat-file", "--batch"]);
        // Nobody reads what it complains of: the answer to each question says it.
        command.stderr(std::process::Stdio::null());
        let mut child = command.spawn().map_err(|source| GitError::NotInstalled { source })?;
        let asks = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { child, asks, answers })
    }

    fn read(&mut self, id: &str) -> Result<Option<Vec<u8>>, GitError> {
        let failed = |error: std::io::Error| GitError::Failed {
            doing: "read a file of a commit",
            message: error.to_string(),
        };
        writeln!(self.asks, "{id}").and_then(|()| self.asks.flush()).map_err(failed)?;
        let mut header = String::new();
        self.answers.read_line(&mut header).map_err(failed)?;
        let mut words = header.split_whitespace();
        let size = words.nth(2).and_then(|word| word.parse::<u64>().ok());
        let Some(size) = size else {
            return Err(GitError::MissingObject { object: id.to_owned() });
        };
        // What is too large has to be read all the same, to come to the next answer.
        let mut content = Vec::new();
        let kept = if size <= MAX_SIZE { size } else { 0 };
        (&mut self.answers).take(kept).read_to_end(&mut content).map_err(failed)?;
        let rest = size - kept + 1;
        let mut rest = (&mut self.answers).take(rest);
        std::io::copy(&mut rest, &mut std::io::sink()).map_err(failed)?;
        Ok((size <= MAX_SIZE).then_some(content))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself when nobody asks any more; who does not wait leaves a zombie.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
