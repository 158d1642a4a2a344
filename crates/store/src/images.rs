//! Images by name, what references resolved to, and which images are unpacked.

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::{Digest, Snapshot};
use rusqlite::{OptionalExtension as _, Row, params};

use crate::layers::{Stacks, stack_to_row};
use crate::records::digest_of_row;
use crate::store::{Store, StoreError, now_ms};

/// A named image: a root that everything it needs hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its name.
    pub name: String,
    /// Its manifest or index.
    pub manifest: Digest,
    /// When it got this name.
    pub updated_ms: u64,
}

/// What a reference meant when a registry was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The platform's manifest. May not be in the store.
    pub manifest: Digest,
    /// When that was.
    pub resolved_ms: u64,
}

impl Store {
    /// Names the image with this manifest. What else it needs must be in the store already.
    pub fn put_image(&self, name: &str, manifest: &Digest) -> Result<(), StoreError> {
        self.index().write(|rows, _| {
            rows.prepare_cached("INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3)")?
                .execute(params![name, manifest.as_str(), now_ms()])
                .map(drop)
        })
    }

    /// The manifest of the image with this name, if it is in the store.
    pub fn image(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let found = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT manifest FROM images WHERE name = ?1")?
                .query_row([name], digest_of_row)
                .optional()
        })?;
        Ok(self.if_there(found))
    }

    /// Every named image, by name.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let mut images: Vec<StoredImage> = self.index().read(|rows, _| {
            let image = |row: &Row<'_>| {
                let manifest = digest_of_row(row)?;
                Ok(StoredImage { name: row.get(1)?, manifest, updated_ms: row.get(2)? })
            };
            rows.prepare_cached("SELECT manifest, name, updated_ms FROM images ORDER BY name")?
                .query_map([], image)?
                .collect()
        })?;
        images.retain(|image| self.blob_size(&image.manifest).is_some());
        Ok(images)
    }

    /// Remembers what a registry said that the reference means.
    pub fn put_resolution(
        &self,
        reference: &Reference,
        platform: &Platform,
        manifest: &Digest,
    ) -> Result<(), StoreError> {
        let (reference, platform) = (reference.to_string(), platform_name(platform));
        self.index().write(|rows, _| {
            rows.prepare_cached("INSERT OR REPLACE INTO resolutions VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![reference, platform, manifest.as_str(), now_ms()])
                .map(drop)
        })
    }

    /// What the reference meant when a registry was last asked.
    pub fn resolution(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Resolution>, StoreError> {
        let (reference, platform) = (reference.to_string(), platform_name(platform));
        self.index().read(|rows, _| {
            let resolution = |row: &Row<'_>| {
                Ok(Resolution { manifest: digest_of_row(row)?, resolved_ms: row.get(1)? })
            };
            rows.prepare_cached(
                "SELECT manifest, resolved_ms FROM resolutions
                 WHERE reference = ?1 AND platform = ?2",
            )?
            .query_row([&reference, &platform], resolution)
            .optional()
        })
    }

    /// Remembers which layers the image with this manifest was unpacked to. They must be in
    /// the store, or this is not remembered.
    pub fn put_unpacked(&self, manifest: &Digest, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.index().write(|rows, _| {
            let Some(layers) = stack_to_row(rows, snapshot)? else { return Ok(()) };
            rows.prepare_cached("INSERT OR REPLACE INTO unpacked VALUES (?1, ?2)")?
                .execute([manifest.as_str(), &layers])
                .map(drop)
        })
    }

    /// The layers that the image was unpacked to, if they are all there.
    pub fn unpacked(&self, manifest: &Digest) -> Result<Option<Snapshot>, StoreError> {
        self.index().read(|rows, boot| {
            let mut stacks = Stacks::new(self, rows, boot)?;
            let found = rows
                .prepare_cached("SELECT layers FROM unpacked WHERE manifest = ?1")?
                .query_row([manifest.as_str()], |row| stacks.read(row.get_ref(0)?.as_str()?))
                .optional()?;
            Ok(found.flatten())
        })
    }
}

/// `linux/amd64`, and for Windows the version of the operating system too.
fn platform_name(platform: &Platform) -> String {
    match &platform.os_version {
        Some(version) => format!("{platform} {version}"),
        None => platform.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerMeta;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn a_name_moves_and_an_image_without_its_manifest_is_none() {
        let (_folder, store) = store();
        let (one, two) = (store.put_blob(b"one").unwrap(), store.put_blob(b"two").unwrap());
        store.put_image("b", &one).unwrap();
        store.put_image("a", &one).unwrap();
        store.put_image("b", &two).unwrap();
        let names = || -> Vec<_> {
            store.images().unwrap().into_iter().map(|it| (it.name, it.manifest)).collect()
        };
        assert_eq!(names(), [("a".to_owned(), one.clone()), ("b".to_owned(), two.clone())]);
        assert_eq!(store.image("b").unwrap(), Some(two.clone()));
        std::fs::remove_file(store.blob_path(&two)).unwrap();
        assert_eq!(store.image("b").unwrap(), None);
        assert_eq!(names(), [("a".to_owned(), one)]);
    }

    #[test]
    fn a_resolution_is_of_one_reference_and_one_platform() {
        let (_folder, store) = store();
        let debian: Reference = "debian:12".parse().unwrap();
        let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|it| it.parse().unwrap());
        let manifest = Digest::of("manifest");
        store.put_resolution(&debian, &amd64, &manifest).unwrap();
        let found = store.resolution(&debian, &amd64).unwrap().unwrap();
        assert!(found.manifest == manifest && found.resolved_ms > 0);
        assert_eq!(store.resolution(&debian, &arm64).unwrap(), None);
        assert_eq!(store.resolution(&debian.with_tag("13"), &amd64).unwrap(), None);
    }

    #[test]
    fn an_image_is_unpacked_only_while_all_its_layers_are_there() {
        let (_folder, store) = store();
        let manifest = Digest::of("manifest");
        let ids = ["l-1", "l-2"].map(|id| id.parse().unwrap());
        for id in &ids {
            store.stage_layer().unwrap().commit(id, LayerMeta::default()).unwrap();
        }
        let snapshot = Snapshot { layers: ids.to_vec() };
        store.put_unpacked(&manifest, &snapshot).unwrap();
        assert_eq!(store.unpacked(&manifest).unwrap(), Some(snapshot));
        crate::remove_tree(&store.layer_path(&ids[1])).unwrap();
        assert_eq!(store.unpacked(&manifest).unwrap(), None);
        assert_eq!(store.unpacked(&Digest::of("other")).unwrap(), None);
    }
}
