//! Images by name, what references resolved to, and which images are unpacked.

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_model::{Digest, Snapshot};
use rusqlite::{OptionalExtension as _, params};

use crate::layers::Seen;
use crate::records::{join_layers, parse_layers};
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
        let text: Option<String> = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT manifest FROM images WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })?;
        self.manifest_of_row(text)
    }

    /// Every named image, by name.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let rows: Vec<(String, String, u64)> = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT name, manifest, updated_ms FROM images ORDER BY name")?
                .query_map([], |row| row.try_into())?
                .collect()
        })?;
        let mut images = Vec::with_capacity(rows.len());
        for (name, manifest, updated_ms) in rows {
            if let Some(manifest) = self.manifest_of_row(Some(manifest))? {
                images.push(StoredImage { name, manifest, updated_ms });
            }
        }
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
        let row: Option<(String, u64)> = self.index().read(|rows, _| {
            rows.prepare_cached(
                "SELECT manifest, resolved_ms FROM resolutions
                 WHERE reference = ?1 AND platform = ?2",
            )?
            .query_row([&reference, &platform], |row| row.try_into())
            .optional()
        })?;
        let Some((manifest, resolved_ms)) = row else { return Ok(None) };
        Ok(Some(Resolution { manifest: self.digest_of_row(&manifest)?, resolved_ms }))
    }

    /// Remembers which layers the image with this manifest was unpacked to.
    pub fn put_unpacked(&self, manifest: &Digest, snapshot: &Snapshot) -> Result<(), StoreError> {
        let layers = join_layers(snapshot);
        self.index().write(|rows, _| {
            rows.prepare_cached("INSERT OR REPLACE INTO unpacked VALUES (?1, ?2)")?
                .execute([manifest.as_str(), &layers])
                .map(drop)
        })
    }

    /// The layers that the image was unpacked to, if they are all there.
    pub fn unpacked(&self, manifest: &Digest) -> Result<Option<Snapshot>, StoreError> {
        let row: Option<String> = self.index().read(|rows, _| {
            rows.prepare_cached("SELECT layers FROM unpacked WHERE manifest = ?1")?
                .query_row([manifest.as_str()], |row| row.get(0))
                .optional()
        })?;
        let Some(text) = row else { return Ok(None) };
        let snapshot =
            parse_layers(&text).ok_or_else(|| self.index().bad_row("layer ids", &text))?;
        let mut seen = Seen::default();
        let whole = self.index().read(|rows, boot| seen.all(self, rows, boot, &snapshot.layers))?;
        Ok(whole.then_some(snapshot))
    }
}

/// `linux/amd64`, and for Windows the version of the operating system too.
fn platform_name(platform: &Platform) -> String {
    match &platform.os_version {
        Some(version) => format!("{platform} {version}"),
        None => platform.to_string(),
    }
}
