//! Packing a layer's tar: digest, compression and digest in one pass.
//!
//! The tar is cut into chunks of a fixed size, each of which becomes a whole gzip member or zstd
//! frame; both formats define a stream as any number of them. So chunks can be packed by
//! several threads at once, and the bytes depend only on the tar, the compression and the
//! level, never on how many threads there are.
//!
//! Layers are packed at the same time, and the chunks that wait are bounded for all of them
//! together: as long as there are [`WAITING`] for each thread, a layer waits for its own. A chunk's
//! buffer is used again, so that what one layer needs is not spread over the heaps of threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bakehouse_model::{Compression, DiffId, DigestWriter};
use thiserror::Error;

/// Bytes of tar in a gzip member. Part of the result: another size gives other digests.
const GZIP_CHUNK: usize = 1 << 20;

/// Bytes of tar in a zstd frame. Part of the result, too.
const ZSTD_CHUNK: usize = 4 << 20;

/// Chunks for each thread that are packed or wait for it, of all layers.
const WAITING: usize = 2;

/// Chunks that are in pools now, of all layers.
static IN_POOLS: AtomicUsize = AtomicUsize::new(0);

/// How to pack a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// What with.
    pub compression: Compression,
    /// How hard: 0 to 12 for gzip, 1 to 22 for zstd; the usual level if none.
    pub level: Option<u8>,
    /// Threads that pack. Does not change the result.
    pub threads: NonZeroUsize,
}

impl Packing {
    /// The usual level, on as many threads as there are cores.
    pub fn new(compression: Compression) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { compression, level: None, threads }
    }

    fn chunk(self) -> usize {
        match self.compression {
            Compression::Zstd => ZSTD_CHUNK,
            Compression::Gzip | Compression::Uncompressed => GZIP_CHUNK,
        }
    }
}

/// The level is none that the compression has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{compression:?} has no level {level}: it has {first} to {last}")]
pub struct LevelError {
    compression: Compression,
    level: u8,
    first: u8,
    last: u8,
}

/// What a packed layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the tar.
    pub diff_id: DiffId,
    /// The size of the tar.
    pub tar_size: u64,
}

/// Takes a layer's tar and writes it packed.
#[derive(Debug)]
pub struct LayerWriter<W> {
    tar: DigestWriter<io::Sink>,
    packing: Packing,
    /// The chunk that is being filled.
    chunk: Vec<u8>,
    packer: Packer,
    pool: Option<Pool>,
    out: W,
    empty: bool,
}

impl<W: Write> LayerWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W, packing: Packing) -> Result<Self, LevelError> {
        let packer = Packer::new(packing)?;
        let tar = DigestWriter::new(io::sink());
        Ok(Self { tar, packing, chunk: Vec::new(), packer, pool: None, out, empty: true })
    }

    /// Writes what is left, and says what the tar was.
    pub fn finish(mut self) -> io::Result<(W, Packed)> {
        if self.empty || !self.chunk.is_empty() {
            self.end_chunk(true)?;
        }
        if let Some(pool) = &mut self.pool {
            while let Some(done) = pool.take()? {
                self.out.write_all(&done.packed)?;
            }
        }
        let (_, digest, tar_size) = self.tar.finish();
        Ok((self.out, Packed { diff_id: DiffId(digest), tar_size }))
    }

    /// Packs the chunk: here if it is the only one, else on a thread.
    fn end_chunk(&mut self, last: bool) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let alone = self.pool.is_none() && (last || self.packing.threads.get() == 1);
        self.empty = false;
        if alone {
            let packed = self.packer.pack(&chunk)?;
            self.chunk = chunk;
            self.chunk.clear();
            return self.out.write_all(&packed);
        }
        let pool = match &mut self.pool {
            Some(pool) => pool,
            none => none.insert(Pool::new(self.packing)),
        };
        if pool.is_full()
            && let Some(done) = pool.take()?
        {
            self.out.write_all(&done.packed)?;
            self.chunk = done.chunk;
            self.chunk.clear();
        }
        pool.give(chunk)
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.packing.compression == Compression::Uncompressed {
            let written = self.out.write(bytes)?;
            self.tar.write_all(&bytes[..written])?;
            self.empty = false;
            return Ok(written);
        }
        let size = self.packing.chunk();
        let taken = bytes.len().min(size - self.chunk.len());
        if self.chunk.capacity() == 0 && taken < bytes.len() {
            self.chunk.reserve_exact(size);
        }
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.tar.write_all(&bytes[..taken])?;
        if self.chunk.len() == size {
            self.end_chunk(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A chunk is only packed when it is full: where others flush must not show.
        Ok(())
    }
}

/// Packs chunks, one at a time.
enum Packer {
    Plain,
    /// With room for the largest result.
    Gzip(libdeflater::Compressor, Vec<u8>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Gzip(..) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl Packer {
    fn new(packing: Packing) -> Result<Self, LevelError> {
        let (default, first, last) = match packing.compression {
            Compression::Uncompressed => return Ok(Self::Plain),
            // At this level layers are a little smaller than BuildKit's, in two thirds of the time of 6.
            Compression::Gzip => (4, 0, 12),
            Compression::Zstd => (3, 1, 22),
        };
        let level = packing.level.unwrap_or(default);
        let compression = packing.compression;
        let error = || LevelError { compression, level, first, last };
        if !(first..=last).contains(&level) {
            return Err(error());
        }
        if compression == Compression::Gzip {
            let level = libdeflater::CompressionLvl::new(level.into()).map_err(|_| error())?;
            return Ok(Self::Gzip(libdeflater::Compressor::new(level), Vec::new()));
        }
        let packer = zstd::bulk::Compressor::new(level.into()).map_err(|_| error())?;
        Ok(Self::Zstd(Box::new(packer)))
    }

    fn pack(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(chunk.to_vec()),
            Self::Gzip(packer, room) => {
                let bound = packer.gzip_compress_bound(chunk.len());
                room.resize(room.len().max(bound), 0);
                let length = packer
                    .gzip_compress(chunk, room)
                    .expect("the buffer has the size that the library asks for");
                Ok(room[..length].to_vec())
            }
            Self::Zstd(packer) => packer.compress(chunk).map(|mut packed| {
                packed.shrink_to_fit();
                packed
            }),
        }
    }
}

/// A chunk that is packed, and its buffer.
struct Done {
    packed: Vec<u8>,
    chunk: Vec<u8>,
}

type Reply = io::Result<Done>;
type Job = (Vec<u8>, SyncSender<Reply>);

/// Threads that pack chunks. What is given first is taken first.
#[derive(Debug)]
struct Pool {
    jobs: Option<SyncSender<Job>>,
    /// Replies to come, in order.
    waiting: VecDeque<Receiver<Reply>>,
    threads: Vec<JoinHandle<()>>,
    packing: Packing,
    todo: Arc<Mutex<Receiver<Job>>>,
}

impl Pool {
    fn new(packing: Packing) -> Self {
        let (jobs, todo) = sync_channel::<Job>(room(packing));
        let todo = Arc::new(Mutex::new(todo));
        Self { jobs: Some(jobs), waiting: VecDeque::new(), threads: Vec::new(), packing, todo }
    }

    /// Whether there is no room for another chunk, here or in all pools together.
    fn is_full(&self) -> bool {
        let room = room(self.packing);
        self.waiting.len() >= room || IN_POOLS.load(Ordering::Relaxed) >= room
    }

    fn give(&mut self, chunk: Vec<u8>) -> io::Result<()> {
        // As many threads as there are chunks at once, up to those that are allowed.
        if self.threads.len() < self.packing.threads.get().min(self.waiting.len() + 1) {
            let (packing, todo) = (self.packing, Arc::clone(&self.todo));
            self.threads.push(std::thread::spawn(move || work(packing, &todo)));
        }
        let (reply, packed) = sync_channel(1);
        let jobs = self.jobs.as_ref().expect("only dropping takes it");
        jobs.send((chunk, reply)).map_err(|_| gone())?;
        self.waiting.push_back(packed);
        IN_POOLS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The next packed chunk; none if all are taken.
    fn take(&mut self) -> io::Result<Option<Done>> {
        let Some(packed) = self.waiting.pop_front() else { return Ok(None) };
        let done = packed.recv();
        IN_POOLS.fetch_sub(1, Ordering::Relaxed);
        done.map_err(|_| gone())?.map(Some)
    }
}

/// How many chunks there may be.
fn room(packing: Packing) -> usize {
    packing.threads.get().saturating_mul(WAITING)
}

fn gone() -> io::Error {
    io::Error::other("a packing thread ended early")
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        IN_POOLS.fetch_sub(self.waiting.len(), Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has been noticed by whoever waited for its chunk.
            drop(thread.join());
        }
    }
}

fn work(packing: Packing, todo: &Mutex<Receiver<Job>>) {
    let Ok(mut packer) = Packer::new(packing) else {
        return;
    };
    loop {
        let job = match todo.lock() {
            Ok(todo) => todo.recv(),
            Err(_) => return,
        };
        let Ok((chunk, reply)) = job else {
            return;
        };
        // Nobody waits any more if the writer was dropped.
        drop(reply.send(packer.pack(&chunk).map(|packed| Done { packed, chunk })));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use bakehouse_model::Digest;

    use super::super::decompress;
    use super::*;

    /// Bytes that pack neither to nothing nor not at all.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 12345_u32;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
                if at % 3 == 0 { (state >> 24) as u8 } else { b'x' }
            })
            .collect()
    }

    fn pack(bytes: &[u8], packing: Packing, piece: usize) -> (Vec<u8>, Packed) {
        let mut writer = LayerWriter::new(Vec::new(), packing).unwrap();
        for piece in bytes.chunks(piece) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    fn unpack(packed: &[u8], compression: Compression) -> Vec<u8> {
        let mut bytes = Vec::new();
        decompress(packed, Some(compression), u64::MAX).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_result_depends_neither_on_threads_nor_on_how_the_bytes_come() {
        let tar = bytes(9_500_000);
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
            let packing = |threads| Packing {
                threads: NonZeroUsize::new(threads).unwrap(),
                level: (compression != Compression::Uncompressed).then_some(1),
                compression,
            };
            let (one, packed) = pack(&tar, packing(1), 1 << 20);
            assert_eq!(packed.diff_id.0, Digest::of(&tar));
            assert_eq!(packed.tar_size, tar.len() as u64);
            for (threads, piece) in [(2, 4096), (3, 999_983), (8, usize::MAX)] {
                assert_eq!(pack(&tar, packing(threads), piece), (one.clone(), packed.clone()));
            }
            assert_eq!(unpack(&one, compression), tar);
        }
    }

    #[test]
    fn an_empty_layer_and_one_of_a_whole_chunk_are_one_member() {
        for length in [0, 1024, GZIP_CHUNK] {
            let tar = vec![0; length];
            let (packed, _) = pack(&tar, Packing::new(Compression::Gzip), 1 << 16);
            assert_eq!(unpack(&packed, Compression::Gzip), tar);
            // Magic, method, no flags, no time, whatever effort, unknown system.
            assert_eq!(&packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
            assert_eq!(packed[9], 255);
            assert_eq!(packed.windows(3).filter(|at| *at == [0x1f, 0x8b, 8]).count(), 1);
        }
        let (packed, _) = pack(&[], Packing::new(Compression::Zstd), 1);
        assert_eq!(unpack(&packed, Compression::Zstd), b"");
    }

    #[test]
    fn a_level_that_is_not_there_is_an_error() {
        for (compression, level) in [(Compression::Gzip, 13), (Compression::Zstd, 0)] {
            let packing = Packing { level: Some(level), ..Packing::new(compression) };
            assert!(LayerWriter::new(io::sink(), packing).is_err());
        }
    }

    #[test]
    fn a_failing_disk_stops_the_writer_and_its_threads() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let packing = Packing {
            threads: NonZeroUsize::new(2).unwrap(),
            level: Some(1),
            compression: Compression::Gzip,
        };
        let mut writer = LayerWriter::new(Full, packing).unwrap();
        let error = writer.write_all(&bytes(8 << 20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
