//! Images made of nothing, small and the same every time.

use std::io::Write as _;

use bakehouse_model::oci::{
    Descriptor, ImageConfig, Index, Manifest, Platform, RootFs, media_type,
};
use bakehouse_model::{DiffId, Digest};

/// An image as bytes, as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestImage {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The layers' bytes, packed, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl TestImage {
    /// The manifest's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Describes the manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type, self.digest(), self.manifest.len() as u64)
    }

    /// The configuration and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.config).chain(&self.layers).map(Vec::as_slice)
    }
}

/// An image for `platform` whose layers hold these tars, which are packed with gzip.
pub fn image(platform: &Platform, tars: &[Vec<u8>]) -> TestImage {
    let config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        rootfs: RootFs {
            diff_ids: tars.iter().map(|tar| DiffId(Digest::of(tar))).collect(),
            ..RootFs::default()
        },
        ..ImageConfig::default()
    };
    let config = json(&config);
    let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
    let describe = |media_type: &str, bytes: &[u8]| {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        config: describe(media_type::CONFIG, &config),
        layers: layers.iter().map(|layer| describe(media_type::LAYER_GZIP, layer)).collect(),
        annotations: Default::default(),
        extra: Default::default(),
    };
    TestImage { manifest: json(&manifest), media_type: media_type::MANIFEST, config, layers }
}

/// An image of `layers` layers with one file of `size` bytes each that do not compress.
/// The same seed gives the same image.
pub fn random_image(seed: u64, layers: usize, size: usize) -> TestImage {
    let tars: Vec<Vec<u8>> = (0..layers as u64)
        .map(|at| {
            let name = format!("file-{at}");
            tar(&[(name.as_str(), random_bytes(seed.wrapping_mul(31).wrapping_add(at), size))])
        })
        .collect();
    image(&Platform::linux("amd64"), &tars)
}

/// An index of images for platforms.
pub fn index(images: &[(&TestImage, &Platform)]) -> Vec<u8> {
    let manifests = images.iter().map(|(image, platform)| Descriptor {
        platform: Some((*platform).clone()),
        ..image.descriptor()
    });
    json(&Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests: manifests.collect(),
        annotations: Default::default(),
        extra: Default::default(),
    })
}

/// A tar with these regular files, without times and owners.
pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, path, content.as_slice()).expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}

/// `bytes`, packed.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// `count` bytes that look random and follow from the seed.
pub fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // xorshift64*, from a state that is never 0 for long.
        state = state.max(1);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents of the model are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_image_and_another_another() {
        assert_eq!(random_image(1, 2, 100), random_image(1, 2, 100));
        assert_ne!(random_image(1, 2, 100), random_image(2, 2, 100));
        let image = random_image(1, 2, 5000);
        let manifest: Manifest = serde_json::from_slice(&image.manifest).unwrap();
        let sizes: Vec<u64> = manifest.layers.iter().map(|layer| layer.size).collect();
        assert_eq!(sizes, image.layers.iter().map(|layer| layer.len() as u64).collect::<Vec<_>>());
        assert!(sizes.iter().all(|size| *size > 5000));
    }
}
