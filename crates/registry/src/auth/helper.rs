//! Runs `docker-credential-NAME get`.
//!
//! The helper gets the server on its standard input and answers with JSON. It has
//! [`TIME`] and may say [`LIMIT`] bytes; a helper that hangs is killed. What it prints
//! is never repeated, since it may hold the secret.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use thiserror::Error;

use super::{Credential, Secret};

const TIME: Duration = Duration::from_secs(30);
const LIMIT: u64 = 1 << 20;

/// A credential helper failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HelperError {
    /// Its name would leave the place where helpers are.
    #[error("`{name}` is no name of a credential helper")]
    Name {
        /// The name in the configuration.
        name: String,
    },
    /// It could not be started.
    #[error("cannot run `docker-credential-{name}`: {reason}")]
    Start {
        /// The name in the configuration.
        name: String,
        /// What the system says.
        reason: String,
    },
    /// It ran too long.
    #[error("`docker-credential-{name}` did not answer within {seconds} s")]
    TimedOut {
        /// The name in the configuration.
        name: String,
        /// The limit.
        seconds: u64,
    },
    /// It failed, and not because there is nothing to find.
    #[error("`docker-credential-{name}` failed")]
    Failed {
        /// The name in the configuration.
        name: String,
    },
    /// It said something else than the protocol.
    #[error("`docker-credential-{name}` gave no `Username` and `Secret`")]
    Answer {
        /// The name in the configuration.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for `server`. None if it has nothing.
pub(crate) fn get(name: &str, server: &str) -> Result<Option<Credential>, HelperError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(HelperError::Name { name: name.to_owned() });
    }
    run(Command::new(format!("docker-credential-{name}")).arg("get"), name, server, TIME)
}

fn run(
    command: &mut Command,
    name: &str,
    server: &str,
    time: Duration,
) -> Result<Option<Credential>, HelperError> {
    let start = |reason: std::io::Error| HelperError::Start {
        name: name.to_owned(),
        reason: reason.to_string(),
    };
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pipes.spawn().map_err(start)?;
    let deadline = Instant::now() + time;
    let output = talk(&mut child, server, deadline);
    let timed_out = || HelperError::TimedOut { name: name.to_owned(), seconds: time.as_secs() };
    let Some(output) = output else {
        // It is killed and reaped; nothing is left to do if that fails.
        drop(child.kill());
        drop(child.wait());
        return Err(timed_out());
    };
    let Some(success) = wait(&mut child, deadline) else { return Err(timed_out()) };
    if !success {
        let text = String::from_utf8_lossy(&output);
        let nothing = text.contains("credentials not found");
        return if nothing { Ok(None) } else { Err(HelperError::Failed { name: name.to_owned() }) };
    }
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| HelperError::Answer { name: name.to_owned() })?;
    Ok(credential(answer))
}

fn credential(answer: Answer) -> Option<Credential> {
    let secret = Secret::new(answer.secret);
    match answer.username.as_str() {
        "" => None,
        "<token>" => Some(Credential::Identity(secret)),
        _ => Some(Credential::Password { user: answer.username, password: secret }),
    }
}

/// Writes the question and reads the answer; none when the time is over.
fn talk(child: &mut Child, server: &str, deadline: Instant) -> Option<Vec<u8>> {
    let mut stdin = child.stdin.take()?;
    let stdout = child.stdout.take()?;
    // A helper that exits without reading is judged by its answer, not by this pipe.
    drop(stdin.write_all(server.as_bytes()));
    drop(stdin);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        // A short read shows as an answer that cannot be parsed.
        drop(stdout.take(LIMIT).read_to_end(&mut output));
        // Nobody listens any more once the time is over.
        drop(sender.send(output));
    });
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

/// Whether the child succeeded; kills it and gives none when the time is over.
fn wait(child: &mut Child, deadline: Instant) -> Option<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(None) | Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, time: Duration) -> Result<Option<Credential>, HelperError> {
        run(Command::new("/bin/sh").args(["-c", script]), "x", "ghcr.io", time)
    }

    #[test]
    fn a_helper_answers_fails_or_has_nothing() {
        let minute = Duration::from_secs(60);
        let echo = r#"read -r s; printf '{"Username":"u","Secret":"%s"}' "$s""#;
        let expected = Credential::Password { user: "u".into(), password: Secret::new("") };
        // `read` sees no newline and returns false, but has read the server.
        let got = shell(echo, minute).unwrap().unwrap();
        assert_ne!(got, expected);
        assert_eq!(
            got,
            Credential::Password { user: "u".into(), password: Secret::new("ghcr.io") }
        );
        let token = r#"printf '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(shell(token, minute), Ok(Some(Credential::Identity(Secret::new("t")))));
        let nothing = "echo credentials not found in native keychain; exit 1";
        assert_eq!(shell(nothing, minute), Ok(None));
        assert_eq!(shell("exit 3", minute), Err(HelperError::Failed { name: "x".into() }));
        assert_eq!(shell("echo {}", minute), Err(HelperError::Answer { name: "x".into() }));
    }

    #[test]
    fn a_helper_that_hangs_is_killed() {
        let got = shell("exec sleep 1000", Duration::ZERO);
        assert_eq!(got, Err(HelperError::TimedOut { name: "x".into(), seconds: 0 }));
    }

    #[test]
    fn a_helper_is_a_name_and_not_a_path() {
        for name in ["../x", "a/b", "", "a b"] {
            assert!(matches!(get(name, "s"), Err(HelperError::Name { .. })), "{name}");
        }
    }
}
