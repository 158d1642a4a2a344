//! Unpacking a layer's blob.

use std::io::{self, BufReader, Read};

use bakehouse_model::Compression;
use thiserror::Error;

/// Largest window that a zstd frame may ask for, as a power of two: what `zstd -19` needs,
/// and `--long` of 128 MiB, but not the format's gigabytes.
const MAX_WINDOW_LOG: u32 = 27;

/// More comes out of a blob than is allowed. Inside an `io::Error`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unpacks to more than {limit} bytes")]
pub struct TooMuchError {
    /// The limit.
    pub limit: u64,
}

/// The tar in `packed`, at most `limit` bytes of it: the next byte is an error with a
/// [`TooMuchError`]. Without a compression, the first bytes tell it.
pub fn decompress<'a>(
    packed: impl Read + Send + 'a,
    compression: Option<Compression>,
    limit: u64,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let (start, packed) = peek(packed)?;
    let compression = compression.unwrap_or_else(|| detect(&start));
    let source = BufReader::with_capacity(1 << 17, io::Cursor::new(start).chain(packed));
    let tar: Box<dyn Read + Send + 'a> = match compression {
        Compression::Uncompressed => Box::new(source),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Limited { tar, limit, left: limit }))
}

/// What the first bytes of a blob say.
pub fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::Uncompressed,
    }
}

fn peek<R: Read>(mut packed: R) -> io::Result<(Vec<u8>, R)> {
    let mut start = Vec::with_capacity(4);
    packed.by_ref().take(4).read_to_end(&mut start)?;
    Ok((start, packed))
}

struct Limited<R> {
    tar: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than is left, so that a tar of exactly the limit passes.
        let most = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX);
        let want = buffer.len().min(most);
        let read = self.tar.read(&mut buffer[..want])?;
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Err(io::Error::other(TooMuchError { limit: self.limit }));
        };
        self.left = left;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::{LayerWriter, Packing};
    use super::*;

    fn pack(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut writer = LayerWriter::new(Vec::new(), Packing::new(compression)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap().0
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        let tar = vec![b'a'; 3_000_000];
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
            let packed = pack(&tar, compression);
            assert_eq!(detect(&packed), compression);
            let mut out = Vec::new();
            decompress(&*packed, None, u64::MAX).unwrap().read_to_end(&mut out).unwrap();
            assert!(out == tar, "{compression:?}");
        }
        let mut out = Vec::new();
        decompress(&b""[..], None, 0).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, b"");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let tar = vec![0; 5_000_000];
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
            let packed = pack(&tar, compression);
            let unpack = |limit| {
                let mut tar = decompress(&*packed, Some(compression), limit).unwrap();
                io::copy(&mut tar, &mut io::sink())
            };
            assert_eq!(unpack(5_000_000).unwrap(), 5_000_000);
            let error = unpack(4_999_999).unwrap_err();
            assert_eq!(error.to_string(), "unpacks to more than 4999999 bytes");
        }
    }

    #[test]
    fn a_cut_or_damaged_blob_is_an_error() {
        let tar: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = pack(&tar, compression);
            let mut damaged = packed.clone();
            damaged[packed.len() / 2] ^= 1;
            for bytes in [&packed[..packed.len() - 9], &damaged] {
                let mut out = Vec::new();
                let result =
                    decompress(bytes, None, u64::MAX).and_then(|mut tar| tar.read_to_end(&mut out));
                // Frames of zstd have no checksum unless asked for; the diff id has.
                assert!(result.is_err() || out != tar, "{compression:?}");
            }
        }
    }
}
