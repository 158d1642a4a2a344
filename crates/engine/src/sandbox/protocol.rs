//! What the engine and its helper say to each other.
//!
//! A conversation has phases: the engine asks for one step (`Run`) and may then ask to
//! kill it (`Kill`); the helper answers each `Run` once (`Ended` or `Failed`), and is idle
//! again. A message out of phase is an error. A frame is its length in four bytes and
//! JSON; the descriptors that it names by index travel with the length.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Spec;
use super::failure::Failure;

/// The most descriptors that one message carries; the kernel's limit.
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// The longest message: arguments, environment and secrets of one step.
const MAX_FRAME: usize = 64 << 20;

/// What the engine says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Run a step.
    Run(Box<Run>),
    /// Kill the step that runs.
    Kill,
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The step's command ended.
    Ended(Ended),
    /// The step's command was never started.
    Failed(Failure),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ended {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

/// A step to run.
///
/// Descriptors: the root, standard output, standard error, one directory per cgroup,
/// then what the mounts name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) spec: Spec,
    pub(super) cgroups: CgroupKind,
    pub(super) mounts: Vec<WireMount>,
}

/// Which cgroups the descriptors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CgroupKind {
    /// There are none.
    None,
    /// Directories of this many controllers.
    V1(usize),
    /// One directory.
    V2,
}

impl CgroupKind {
    pub(super) fn descriptors(self) -> usize {
        match self {
            Self::None => 0,
            Self::V1(controllers) => controllers,
            Self::V2 => 1,
        }
    }
}

/// A mount, with descriptors by index.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireMount {
    pub(super) dest: String,
    pub(super) kind: WireKind,
}

/// The kinds of mount.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WireKind {
    /// A detached mount, or what has this name in it.
    Bind { descriptor: usize, name: Option<String>, readonly: bool },
    /// Memory.
    Tmpfs { size: u64 },
    /// A file with these bytes.
    File { bytes: Vec<u8>, uid: u32, gid: u32, mode: u32 },
}

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Says something.
    pub(super) fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        if descriptors.len() > MAX_DESCRIPTORS || body.len() > MAX_FRAME {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = u32::try_from(body.len()).expect("a frame is below 64 MiB").to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = rustix::io::retry_on_intr(|| {
            let flags = SendFlags::NOSIGNAL;
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(&length)], &mut ancillary, flags)
        })?;
        self.stream.write_all(&length[sent..])?;
        self.stream.write_all(&body)
    }

    /// Hears something; none if the other side is gone.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut length = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut length)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&self.stream, &mut parts, &mut ancillary, flags)
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        self.stream.read_exact(&mut length[received.bytes..])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, descriptors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_with_their_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Channel::new(left), Channel::new(right));
        let null = std::fs::File::open("/dev/null").unwrap();
        left.send(&Answer::Ended(Ended::Exited(3)), &[null.as_fd(), null.as_fd()]).unwrap();
        left.send(&Answer::Ended(Ended::Killed(9)), &[]).unwrap();
        let (answer, descriptors) = right.receive::<Answer>().unwrap().unwrap();
        assert!(matches!(answer, Answer::Ended(Ended::Exited(3))));
        assert_eq!(descriptors.len(), 2);
        let (answer, descriptors) = right.receive::<Answer>().unwrap().unwrap();
        assert!(matches!(answer, Answer::Ended(Ended::Killed(9))));
        assert!(descriptors.is_empty());
        drop(left);
        assert!(right.receive::<Answer>().unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused() {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(&u32::MAX.to_le_bytes()).unwrap();
        let error = Channel::new(right).receive::<Order>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
