//! The document that `docker buildx bake --print` prints.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::entries::{Attest, Cache, Output, Secret, Ssh};
use crate::load::Group;
use crate::resolve::Resolved;
use crate::target::Target;

impl Resolved {
    /// What `docker buildx bake --print` prints.
    pub fn to_json(&self) -> Value {
        let mut document = Map::new();
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(|(name, group)| (name.clone(), group_json(group)));
            document.insert("group".to_owned(), Value::Object(groups.collect()));
        }
        let targets = self.targets.iter().map(|(name, target)| (name.clone(), target_json(target)));
        document.insert("target".to_owned(), Value::Object(targets.collect()));
        Value::Object(document)
    }
}

fn group_json(group: &Group) -> Value {
    let mut document = Map::new();
    if !group.description.is_empty() {
        document.insert("description".to_owned(), group.description.clone().into());
    }
    document.insert("targets".to_owned(), group.targets.clone().into());
    Value::Object(document)
}

/// Texts that would be templates if they were read again say that they are not.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn some<T: Clone + Into<Value>>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.set(name, value.clone());
        }
    }

    fn list<T: Into<Value>>(&mut self, name: &str, list: impl Iterator<Item = T>) {
        let list: Vec<Value> = list.map(Into::into).collect();
        if !list.is_empty() {
            self.set(name, list);
        }
    }

    fn map(&mut self, name: &str, entries: &BTreeMap<String, String>, show: fn(&str) -> String) {
        if !entries.is_empty() {
            let entry = |(name, value): (&String, &String)| (name.clone(), show(value).into());
            self.set(name, Value::Object(entries.iter().map(entry).collect()));
        }
    }
}

fn target_json(target: &Target) -> Value {
    let mut fields = Fields(Map::new());
    if !target.description.is_empty() {
        fields.set("description", target.description.clone());
    }
    fields.list("annotations", target.annotations.iter().flatten().map(|text| escape(text)));
    fields.list("attest", target.attest.iter().flatten().map(Attest::to_json));
    fields.some("context", target.context.as_ref());
    fields.map("contexts", &target.contexts, str::to_owned);
    fields.some("dockerfile", target.dockerfile.as_ref());
    fields.some(
        "dockerfile-inline",
        target.dockerfile_inline.as_ref().map(|text| escape(text)).as_ref(),
    );
    fields.map("args", &target.args, escape);
    fields.map("labels", &target.labels, escape);
    fields.list("tags", target.tags.iter().flatten().cloned());
    fields.list("cache-from", target.cache_from.iter().flatten().map(Cache::to_json));
    fields.list("cache-to", target.cache_to.iter().flatten().map(Cache::to_json));
    fields.some("target", target.target.as_ref());
    fields.list("secret", target.secret.iter().flatten().map(Secret::to_json));
    fields.list("ssh", target.ssh.iter().flatten().map(Ssh::to_json));
    fields.list("platforms", target.platforms.iter().flatten().cloned());
    fields.list("output", target.output.iter().flatten().map(Output::to_json));
    fields.some("pull", target.pull.as_ref());
    fields.some("no-cache", target.no_cache.as_ref());
    fields.some("network", target.network.as_ref());
    fields.list("no-cache-filter", target.no_cache_filter.iter().flatten().cloned());
    fields.some("shm-size", target.shm_size.as_ref());
    fields.list("ulimits", target.ulimits.iter().flatten().cloned());
    fields.some("call", target.call.as_ref());
    fields.list("entitlements", target.entitlements.iter().flatten().cloned());
    fields.map("extra-hosts", &target.extra_hosts, escape);
    Value::Object(fields.0)
}

fn object(attributes: &BTreeMap<String, String>, own: &[(&str, &str)]) -> Value {
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
    let attributes = attributes.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    Value::Object(attributes.chain(own).collect())
}

impl Cache {
    fn to_json(&self) -> Value {
        object(&self.attributes, &[("type", &self.kind)])
    }
}

impl Output {
    fn to_json(&self) -> Value {
        let own = [("type", self.kind.as_str()), ("dest", self.destination.as_str())];
        object(&self.attributes, if self.destination.is_empty() { &own[..1] } else { &own })
    }
}

impl Secret {
    fn to_json(&self) -> Value {
        let own =
            [("id", self.id.as_str()), ("src", self.source.as_str()), ("env", self.env.as_str())];
        let filled: Vec<_> = own.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        object(&BTreeMap::new(), &filled)
    }
}

impl Ssh {
    fn to_json(&self) -> Value {
        let mut fields = Fields(Map::new());
        if !self.id.is_empty() {
            fields.set("id", self.id.clone());
        }
        fields.list("paths", self.paths.iter().cloned());
        Value::Object(fields.0)
    }
}

impl Attest {
    fn to_json(&self) -> Value {
        let mut document = object(&self.attributes, &[("type", &self.kind)]);
        if let (true, Value::Object(fields)) = (self.disabled, &mut document) {
            fields.insert("disabled".to_owned(), true.into());
        }
        document
    }
}
