//! Caches that are in a service: GitHub's, or a bucket of S3.

use std::collections::BTreeMap;

use bakehouse_model::Secret;

use super::{Fields, SpecError};
use crate::dockerfile::units::parse_duration;

/// What a cache is called where nobody says.
const NAME: &str = "buildkit";

/// A cache in GitHub's service. What is not said is in the environment of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions {
    /// What tells it apart from others.
    pub scope: Option<String>,
    /// Where the service is, in its first version.
    pub url: Option<String>,
    /// Where it is, in its second version.
    pub url_v2: Option<String>,
    /// The token of the workflow.
    pub token: Option<Secret>,
    /// The version that it has to be.
    pub version: Option<u8>,
    /// How long one answer may take, in milliseconds.
    pub timeout_ms: u64,
}

/// A cache in a bucket of S3. What is not said is in the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub bucket: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// What all names begin with.
    pub prefix: String,
    /// What names of blobs have after that.
    pub blobs_prefix: String,
    /// What names of documents have after that.
    pub manifests_prefix: String,
    /// What the document is called; several names are written, the first one is read.
    pub names: Vec<String>,
    /// How old a blob may be before it is written again, in milliseconds.
    pub touch_refresh_ms: u64,
    /// Where it is, if not at Amazon.
    pub endpoint_url: Option<String>,
    /// Whether the bucket is in the path of addresses.
    pub use_path_style: bool,
    /// The id of a key.
    pub access_key_id: Option<String>,
    /// The key.
    pub secret_access_key: Option<Secret>,
    /// The token of a session.
    pub session_token: Option<Secret>,
    /// Transfers at once.
    pub parallel: usize,
    /// What the environment says of it (`AWS_…`).
    pub environment: BTreeMap<String, Secret>,
}

impl Actions {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, SpecError> {
        // What only the listing of all keys needs.
        fields.take("repository");
        fields.take("ghtoken");
        Ok(Self {
            scope: fields.take("scope"),
            url: fields.take("url"),
            url_v2: fields.take("url_v2"),
            token: fields.take("token").map(Secret::new),
            version: fields.one_of("version", &[("1", 1), ("2", 2)])?,
            timeout_ms: fields.duration("timeout")?.unwrap_or(10 * 60 * 1000),
        })
    }

    /// The same with what the environment has, as buildx takes it; none outside of a workflow.
    #[must_use]
    pub fn within(mut self, var: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let second = var("ACTIONS_CACHE_SERVICE_V2").is_some_and(|it| it == "true" || it == "1");
        self.token = self.token.or_else(|| var("ACTIONS_RUNTIME_TOKEN").map(Secret::new));
        if self.url_v2.is_none() && (self.version == Some(2) || (self.version.is_none() && second))
        {
            self.url_v2 = var("ACTIONS_RESULTS_URL");
        }
        if self.url.is_none() {
            self.url = var("ACTIONS_CACHE_URL").or_else(|| var("ACTIONS_RESULTS_URL"));
        }
        let there = self.token.is_some() && (self.url.is_some() || self.url_v2.is_some());
        there.then_some(self)
    }

    /// Where the service is, and whether it is of the second version.
    pub fn address(&self) -> Option<(&str, bool)> {
        let second = self.url_v2.as_deref().filter(|_| self.version != Some(1));
        match (second, self.url.as_deref()) {
            (Some(url), _) => Some((url, true)),
            (None, Some(url)) => {
                let known = url.contains("results-receiver.actions.githubusercontent.com");
                Some((url, self.version.map_or(known, |version| version == 2)))
            }
            (None, None) => None,
        }
    }

    /// What tells it apart from others.
    pub fn name(&self) -> &str {
        self.scope.as_deref().unwrap_or(NAME)
    }
}

impl Bucket {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, SpecError> {
        // Headers that one proxy needs left out are never sent here.
        fields.take("disable_accept_encoding");
        fields.take("retry_mode");
        fields.take("retry_max_attempts");
        let names = fields.take("name").unwrap_or_default();
        let names = names.split(';').map(str::trim).filter(|name| !name.is_empty());
        let prefix = |text: Option<String>, usual: &str| text.unwrap_or_else(|| usual.to_owned());
        Ok(Self {
            bucket: fields.take("bucket"),
            region: fields.take("region"),
            prefix: prefix(fields.take("prefix"), ""),
            blobs_prefix: prefix(fields.take("blobs_prefix"), "blobs/"),
            manifests_prefix: prefix(fields.take("manifests_prefix"), "manifests/"),
            names: names.map(str::to_owned).collect(),
            touch_refresh_ms: fields.duration("touch_refresh")?.unwrap_or(24 * 60 * 60 * 1000),
            endpoint_url: fields.take("endpoint_url"),
            use_path_style: fields.flag("use_path_style")?.unwrap_or(false),
            access_key_id: fields.take("access_key_id"),
            secret_access_key: fields.take("secret_access_key").map(Secret::new),
            session_token: fields.take("session_token").map(Secret::new),
            parallel: fields.number("upload_parallelism", 64)?.unwrap_or(4),
            environment: BTreeMap::new(),
        })
    }

    /// The same with what the environment has.
    pub fn within(mut self, vars: &BTreeMap<String, String>) -> Result<Self, SpecError> {
        let var = |name: &str| vars.get(name).filter(|value| !value.is_empty()).cloned();
        let missing = |field| SpecError::Missing { kind: "s3".to_owned(), field };
        self.bucket = self.bucket.or_else(|| var("AWS_BUCKET"));
        self.region =
            self.region.or_else(|| var("AWS_REGION")).or_else(|| var("AWS_DEFAULT_REGION"));
        let endpoint = || var("AWS_ENDPOINT_URL_S3").or_else(|| var("AWS_ENDPOINT_URL"));
        self.endpoint_url = self.endpoint_url.or_else(endpoint);
        self.bucket.as_ref().ok_or_else(|| missing("bucket"))?;
        self.region.as_ref().ok_or_else(|| missing("region"))?;
        let own = vars.iter().filter(|(name, _)| name.starts_with("AWS_"));
        self.environment = own.map(|(name, it)| (name.clone(), Secret::new(it))).collect();
        Ok(self)
    }

    /// What the document is called; at least one name.
    pub fn names(&self) -> Vec<String> {
        if self.names.is_empty() { vec![NAME.to_owned()] } else { self.names.clone() }
    }

    /// Where the documents are, without what is secret.
    pub fn addresses(&self) -> impl Iterator<Item = String> {
        let bucket = self.bucket.clone().unwrap_or_default();
        let at = self.endpoint_url.as_deref().map(|url| url.trim_end_matches('/'));
        let at = at.map_or(format!("s3://{bucket}"), |url| format!("{url}/{bucket}"));
        let before = format!("{at}/{}{}", self.prefix, self.manifests_prefix);
        self.names().into_iter().map(move |name| format!("{before}{name}"))
    }
}

impl Fields {
    fn duration(&mut self, field: &str) -> Result<Option<u64>, SpecError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let ms =
            parse_duration(&value).ok().and_then(|nanos| u64::try_from(nanos / 1_000_000).ok());
        ms.map(Some).ok_or_else(|| SpecError::Value {
            field: field.to_owned(),
            value,
            expected: "times such as `10m` and `24h`",
        })
    }

    fn number(&mut self, field: &str, most: usize) -> Result<Option<usize>, SpecError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| (1..=most).contains(number));
        number.map(Some).ok_or_else(|| SpecError::Value {
            field: field.to_owned(),
            value,
            expected: "the numbers from 1 to 64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Place, Way, parse};
    use super::*;

    fn actions(text: &str, vars: &[(&str, &str)]) -> Option<Actions> {
        let Place::Actions(actions) = parse(text, Way::To).unwrap().place else { panic!("{text}") };
        let var = |name: &str| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        actions.within(&var)
    }

    #[test]
    fn the_service_is_where_the_workflow_says() {
        let token = ("ACTIONS_RUNTIME_TOKEN", "t");
        let first = ("ACTIONS_CACHE_URL", "http://one/");
        let results = ("ACTIONS_RESULTS_URL", "http://two/");
        let second = ("ACTIONS_CACHE_SERVICE_V2", "true");
        let known =
            ("ACTIONS_RESULTS_URL", "https://results-receiver.actions.githubusercontent.com/");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(&'a str, bool)>);
        let table: [Case<'_>; 9] = [
            ("type=gha", &[], None),
            ("type=gha", &[token], None),
            ("type=gha", &[first], None),
            ("type=gha", &[token, first], Some(("http://one/", false))),
            ("type=gha", &[token, first, results, second], Some(("http://two/", true))),
            ("type=gha,version=1", &[token, first, results, second], Some(("http://one/", false))),
            ("type=gha,version=2", &[token, first, results], Some(("http://two/", true))),
            ("type=gha", &[token, known], Some((known.1, true))),
            ("type=gha,token=x,url=http://own", &[], Some(("http://own", false))),
        ];
        for (text, vars, expected) in table {
            let found = actions(text, vars);
            assert_eq!(found.as_ref().and_then(Actions::address), expected, "{text} {vars:?}");
        }
    }

    #[test]
    fn a_bucket_has_what_buildkit_gives_it() {
        let bucket = |text: &str, vars: &[(&str, &str)]| {
            let Place::Bucket(bucket) = parse(text, Way::To).unwrap().place else {
                panic!("{text}")
            };
            let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            bucket.within(&vars.collect())
        };
        let plain = bucket("type=s3", &[("AWS_BUCKET", "b"), ("AWS_REGION", "r")]).unwrap();
        assert_eq!(plain.addresses().collect::<Vec<_>>(), ["s3://b/manifests/buildkit"]);
        assert_eq!((plain.touch_refresh_ms, plain.parallel), (86_400_000, 4));
        let text = "type=s3,bucket=b,region=r,prefix=p/,name=x;y,endpoint_url=http://h:1/";
        let named: Vec<String> = bucket(text, &[]).unwrap().addresses().collect();
        assert_eq!(named, ["http://h:1/b/p/manifests/x", "http://h:1/b/p/manifests/y"]);
        let error = bucket("type=s3,bucket=b", &[]).unwrap_err();
        assert_eq!(error.to_string(), "a cache of type `s3` needs `region=`");
    }

    #[test]
    fn nothing_secret_is_in_what_is_shown() {
        let texts = [
            "type=gha,scope=x,token=hunter2,url=http://h",
            "type=s3,bucket=b,region=r,access_key_id=i,secret_access_key=hunter2,session_token=hunter2",
        ];
        for text in texts {
            let spec = parse(text, Way::To).unwrap();
            let shown = format!("{} {spec:?}", spec.place);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
