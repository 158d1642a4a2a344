//! What is attested of an image: statements as blobs, and the manifest that has them.
//!
//! A statement tells when the image's last step ran, not when this program did: an image that
//! was found in the cache has the statements that it had, and the index keeps its digest.

use bakehouse_model::Record;
use bakehouse_model::oci::Descriptor;
use bakehouse_plan::attest;
use bakehouse_run::BackendError;
use serde_json::Value;

use super::{Finisher, Made, Plan, layout_image};
use crate::memory::{mounted, store_error};
use crate::sbom;

impl Finisher {
    /// The descriptor of the manifest of statements about `made`; none if nothing is wanted.
    pub(super) fn attestation(
        &self,
        plan: &Plan,
        made: &Made,
        record: Option<&Record>,
    ) -> Result<Option<Descriptor>, BackendError> {
        let wanted = &self.outputs(plan).attests;
        if wanted.is_empty() || !plan.named {
            return Ok(None);
        }
        let mut layers = Vec::new();
        if wanted.sbom {
            let document = self.packages(plan, made, record)?;
            layers.push(self.statement(attest::SPDX, &document, plan, made)?);
        }
        if let Some(mut predicate) = plan.provenance.clone() {
            attest::pin(&mut predicate, &self.fetched.all());
            attest::at(&mut predicate, times(plan, record), &made.manifest.digest);
            let mut kind = attest::PROVENANCE;
            if wanted.provenance.as_ref().is_some_and(|provenance| provenance.is_v02) {
                (kind, predicate) = (attest::PROVENANCE_V02, attest::as_v02(&mut predicate));
            }
            layers.push(self.statement(kind, &predicate, plan, made)?);
        }
        let config = attest::config(&layers);
        self.store.put_blob(&config).map_err(store_error)?;
        let manifest = attest::manifest(&config, layers);
        self.store.put_blob(&manifest).map_err(store_error)?;
        Ok(Some(attest::descriptor(&manifest, &made.manifest.digest)))
    }

    fn statement(
        &self,
        predicate_type: &str,
        predicate: &Value,
        plan: &Plan,
        made: &Made,
    ) -> Result<Descriptor, BackendError> {
        let names = layout_image(&plan.image, made).references;
        let subject = (&made.manifest.digest, &plan.lowered.platform);
        let bytes = attest::statement(predicate_type, predicate, subject, &names);
        let digest = self.store.put_blob(&bytes).map_err(store_error)?;
        Ok(attest::layer(predicate_type, digest, bytes.len() as u64))
    }

    fn packages(
        &self,
        plan: &Plan,
        made: &Made,
        record: Option<&Record>,
    ) -> Result<Value, BackendError> {
        let snapshot = record.map(|record| &record.snapshot).filter(|one| !one.layers.is_empty());
        let root = snapshot.map(|snapshot| mounted(&self.store, snapshot)).transpose()?;
        let contents = root.as_ref().map(sbom::look).unwrap_or_default();
        let (_, finished) = times(plan, record);
        Ok(sbom::document(&plan.image, &made.manifest.digest, &contents, finished))
    }
}

/// When an image was begun and when it was done, in milliseconds since 1970: `SOURCE_DATE_EPOCH`
/// where there is one.
fn times(plan: &Plan, record: Option<&Record>) -> (u64, u64) {
    if let Some(epoch) = plan.lowered.epoch {
        let epoch = u64::try_from(epoch).unwrap_or(0).saturating_mul(1000);
        return (epoch, epoch);
    }
    record.map_or((0, 0), |record| {
        (record.created_ms.saturating_sub(record.cost_ms), record.created_ms)
    })
}
