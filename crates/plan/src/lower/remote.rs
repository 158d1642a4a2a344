//! What `ADD` takes from elsewhere: files behind URLs and Git repositories.

use bakehouse_model::Digest;
use bakehouse_model::op::{GitSource, HttpSource, Op, Source};

use super::copy::Job;
use super::stages::Lowering;
use super::{LowerFailure, path, wrong, wrong_with_help};
use crate::address::without_password;
use crate::dockerfile::Span;
use crate::gitaddress::{GitAddress, is_http};
use crate::graph::{NewStep, Origin, StepIndex};

/// A source of `ADD` that is elsewhere.
pub(super) enum Remote {
    File(String),
    Repository(Box<GitAddress>),
}

impl Lowering<'_> {
    /// What a source of `ADD` or `COPY` is, if it is elsewhere.
    pub(super) fn remote(&self, source: &str, span: Span) -> Result<Option<Remote>, LowerFailure> {
        match GitAddress::parse(source) {
            Ok(Some(address)) => Ok(Some(Remote::Repository(Box::new(address)))),
            Ok(None) if is_http(source) => Ok(Some(Remote::File(source.to_owned()))),
            Ok(None) => Ok(None),
            Err(error) => Err(wrong(self.place(span), "bad-git-address", error.to_string())),
        }
    }

    /// The step that downloads `url`, and the name of the file it makes.
    pub(super) fn http(
        &mut self,
        at: usize,
        job: &Job,
        url: &str,
    ) -> Result<(StepIndex, String), LowerFailure> {
        let without_query = url.split(['?', '#']).next().unwrap_or(url);
        let after_host = without_query.splitn(4, '/').nth(3).unwrap_or("");
        let file_name = match path::base(after_host) {
            "." | "/" | ".." => "__unnamed__".to_owned(),
            name => name.to_owned(),
        };
        let checksum =
            match &job.checksum {
                None => None,
                Some(text) => Some(text.parse::<Digest>().map_err(|error| {
                    wrong(self.place(job.span), "bad-checksum", error.to_string())
                })?),
            };
        let source = HttpSource { url: url.to_owned(), checksum, file_name: file_name.clone() };
        let op = Op::Source(Source::Http(source));
        Ok((self.fetch(at, op, format!("download {}", without_password(url)), job.span), file_name))
    }

    /// The step that checks a repository out.
    pub(super) fn git(
        &mut self,
        at: usize,
        job: &Job,
        src: &str,
        address: &GitAddress,
    ) -> Result<StepIndex, LowerFailure> {
        let differ = |one: &str, other: &str| {
            let src = without_password(src);
            let message = format!("`{src}` says `{one}`, and the flag of ADD says `{other}`");
            wrong_with_help(self.place(job.span), "bad-git-address", message, "say it once")
        };
        if let (Some(one), Some(flag)) = (address.keep_git_dir, job.keep_git_dir)
            && one != flag
        {
            return Err(differ(&format!("keep-git-dir={one}"), &format!("--keep-git-dir={flag}")));
        }
        if let (Some(one), Some(flag)) = (&address.checksum, &job.checksum)
            && one != flag
        {
            return Err(differ(&format!("checksum={one}"), &format!("--checksum={flag}")));
        }
        let keep_git_dir = address.keep_git_dir.or(job.keep_git_dir);
        let checksum = address.checksum.clone().or_else(|| job.checksum.clone());
        if let Some(text) = checksum.as_deref().filter(|text| !is_hex(text)) {
            let message = format!("`{text}` is no commit of Git");
            return Err(wrong(self.place(job.span), "bad-checksum", message));
        }
        let mut source = git_source(address);
        source.keep_git_dir = keep_git_dir.unwrap_or(false);
        if address.fetch_by_commit && !is_whole_commit(source.reference.as_deref()) {
            if !is_whole_commit(checksum.as_deref()) {
                let message = "`fetch-by-commit` needs a whole commit as its checksum";
                return Err(wrong(self.place(job.span), "bad-git-address", message));
            }
            source.reference.clone_from(&checksum);
        }
        source.checksum = checksum;
        let op = Op::Source(Source::Git(source));
        Ok(self.fetch(at, op, format!("fetch {}", without_password(src)), job.span))
    }

    fn fetch(&mut self, at: usize, op: Op, name: String, span: Span) -> StepIndex {
        let origin = Origin {
            name,
            image: self.request.image.to_owned(),
            stage: self.states[at].name.clone(),
            position: (0, 0),
            location: self.place(span),
        };
        let platform = self.request.settings.build_platform.clone();
        self.graph.add(NewStep { op, inputs: Vec::new(), platform, no_cache: false, origin })
    }
}

/// What is to be checked out for an address.
pub fn git_source(address: &GitAddress) -> GitSource {
    GitSource {
        remote: address.remote.clone(),
        reference: address.reference.clone(),
        subdir: address.subdir.clone(),
        keep_git_dir: address.keep_git_dir.unwrap_or(false),
        submodules: address.submodules.unwrap_or(true),
        commit_times: address.commit_times,
        checksum: address.checksum.clone(),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_whole_commit(text: Option<&str>) -> bool {
    text.is_some_and(GitAddress::is_commit)
}
