//! The body of an upload: a blob of the store, read while it is sent.

use std::fs::File;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bakehouse_store::Meter;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::TransportError;

/// Large enough that the system calls do not count, small enough to keep many in memory.
const BLOCK: u64 = 256 << 10;

/// A blob to send, as often as it takes.
#[derive(Debug, Clone)]
pub(crate) struct UploadBody {
    path: Arc<std::path::Path>,
    size: u64,
    watched: Meter,
    /// What the present attempt added to `watched`.
    counted: Meter,
}

impl UploadBody {
    /// The file at `path`, which has `size` bytes. What is sent shows in `watched`.
    pub(crate) fn new(path: &std::path::Path, size: u64, watched: Meter) -> Self {
        Self { path: path.into(), size, watched, counted: Meter::default() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Opens the file for one attempt, which counts in `sent` too. What an earlier attempt
    /// sent does not count any more.
    pub(crate) fn start(&self, sent: Meter) -> Result<Sending, TransportError> {
        self.watched.take_back(self.counted.reset());
        let file = File::open(&self.path).map_err(|source| TransportError::Read { source })?;
        Ok(Sending {
            file,
            left: self.size,
            counts: [sent, self.watched.clone(), self.counted.clone()],
        })
    }
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Sending {
    file: File,
    left: u64,
    counts: [Meter; 3],
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut block = Vec::with_capacity(usize::try_from(self.left.min(BLOCK)).unwrap_or(0));
        let want = self.left.min(BLOCK);
        let got = match (&self.file).take(want).read_to_end(&mut block) {
            Ok(0) => return Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
            Ok(got) => got as u64,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.left -= got;
        self.counts.iter().for_each(|meter| meter.add(got));
        Poll::Ready(Some(Ok(Frame::data(block.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut body: Sending, frames: usize) -> Vec<u8> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut bytes = Vec::new();
        for _ in 0..frames {
            let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) else { break };
            bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
        bytes
    }

    #[test]
    fn what_a_broken_attempt_sent_does_not_count_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let content: Vec<u8> = (0..=255).cycle().take(600_000).collect();
        std::fs::write(&path, &content).unwrap();
        let watched = Meter::default();
        let body = UploadBody::new(&path, 600_000, watched.clone());
        assert_eq!(body.start(Meter::default()).unwrap().size_hint().exact(), Some(600_000));
        drain(body.start(Meter::default()).unwrap(), 2);
        assert_eq!(watched.done(), 2 * BLOCK);
        let sent = Meter::default();
        assert_eq!(drain(body.start(sent.clone()).unwrap(), 9), content);
        assert_eq!((watched.done(), sent.done()), (600_000, 600_000));
    }

    #[test]
    fn a_file_that_became_shorter_ends_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        std::fs::write(&path, "abc").unwrap();
        let mut body = UploadBody::new(&path, 5, Meter::default()).start(Meter::default()).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(Some(Err(_)))));
    }
}
