//! Loads images into a Docker Engine: its `POST /images/load`, over its own socket.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use bakehouse_run::BackendError;
use bakehouse_store::Store;
use bakehouse_store::layout::{LayoutImage, write_docker_tar};

use crate::context::Context;

/// The most that is read of an engine's answer.
const MAX_ANSWER: u64 = 1 << 20;
/// The size of a chunk of the archive.
const CHUNK: usize = 256 * 1024;

/// Where the engine is: `DOCKER_HOST`, else the usual socket.
pub fn engine_address(cx: &Context) -> String {
    cx.var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock").to_owned()
}

/// Loads one image.
pub(super) fn load(store: &Store, address: &str, image: &LayoutImage) -> Result<(), BackendError> {
    let failed = |source: io::Error| BackendError::Environment {
        doing: format!("load the image into the Docker Engine at `{address}`"),
        source: Box::new(source),
        hints: vec!["DOCKER_HOST says where the engine is (unix:// or tcp://)".to_owned()],
    };
    let stream = connect(address).map_err(failed)?;
    let mut chunks = Chunks { out: stream, buffer: Vec::with_capacity(CHUNK) };
    let head = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    chunks.out.write_all(head.as_bytes()).map_err(failed)?;
    write_docker_tar(store, std::slice::from_ref(image), &mut chunks)
        .map_err(|error| BackendError::environment("send the image to the Docker Engine", error))?;
    let mut stream = chunks.finish().map_err(failed)?;
    let answer = read_answer(&mut stream).map_err(failed)?;
    match answer {
        (200..=299, body) if !body.contains("\"error\"") => Ok(()),
        (status, body) => {
            let said = bakehouse_render::clean(body.trim());
            Err(failed(io::Error::other(format!("the engine answered {status}: {said}"))))
        }
    }
}

/// A connection to an engine.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: &str) -> io::Result<Box<dyn Stream>> {
    if let Some(path) = address.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path)?));
    }
    if let Some(host) = address.strip_prefix("tcp://") {
        return Ok(Box::new(TcpStream::connect(host.trim_end_matches('/'))?));
    }
    Err(io::Error::other("only unix:// and tcp:// addresses can be used"))
}

/// Writes chunks, as HTTP/1.1 has them.
struct Chunks {
    out: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            write!(self.out, "{:x}\r\n", self.buffer.len())?;
            self.out.write_all(&self.buffer)?;
            self.out.write_all(b"\r\n")?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Box<dyn Stream>> {
        self.send()?;
        self.out.write_all(b"0\r\n\r\n")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.out.flush()
    }
}

fn read_answer(stream: &mut dyn Read) -> io::Result<(u16, String)> {
    let mut reader = BufReader::new(stream.take(MAX_ANSWER));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no HTTP answer"))?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = text.split_once("\r\n\r\n").map_or(text.as_str(), |(_, body)| body);
    Ok((status, body.to_owned()))
}
