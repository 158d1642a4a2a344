//! Contexts: the folders that Dockerfiles may copy from, and what else their names stand for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bakehouse_model::op::ContextSource;
use bakehouse_model::{Diagnostic, Severity};
use bakehouse_plan::dockerfile::ignore;
use bakehouse_plan::fleet::{self, ContextValue, Image};

use crate::cli::Where;
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// What a name given to `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder(ContextSource),
    /// An image in a registry.
    Image(String),
    /// An image in an OCI layout, a folder or a tar, and its name or digest there.
    Layout(PathBuf, Option<String>),
    /// A tar of a root file system.
    RootfsTar(PathBuf),
}

impl NamedContext {
    /// How it is asked for, if it is another image for each platform: no image is called so.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Folder(_) | Self::Image(_) => None,
            Self::Layout(path, None) => Some(format!("oci-layout://{}", path.display())),
            Self::Layout(path, Some(tag)) => Some(format!("oci-layout://{}:{tag}", path.display())),
            Self::RootfsTar(path) => Some(format!("rootfs-tar://{}", path.display())),
        }
    }
}

/// The one Dockerfile that the command line names, and its context.
#[derive(Debug)]
pub(super) struct Single {
    file: PathBuf,
    context: PathBuf,
}

impl Single {
    /// `--file` and `--context`.
    pub(super) fn named(place: &Where, cx: &Context) -> Option<Self> {
        let file = cx.cwd.join(super::files::dockerfile(place)?);
        let parent = || file.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        let context = place.context.as_ref().map_or_else(parent, |folder| cx.cwd.join(folder));
        Some(Self { file, context })
    }
}

/// The folders that are contexts: each is looked at once, however many images have it.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Where a folder really is, by how it is called.
    roots: BTreeMap<PathBuf, PathBuf>,
    /// What the `.dockerignore` in a folder says, for those whose image has none of its own.
    ignored: BTreeMap<PathBuf, Vec<String>>,
}

impl Folders {
    /// The context of an image below `root`.
    pub(super) fn of_image(
        &mut self,
        image: &Image,
        root: &Path,
        single: Option<&Single>,
    ) -> Result<ContextSource, Failure> {
        if let Some(Single { file, context: folder }) = single {
            return self.context(folder, file, image);
        }
        match (image.folder(), &image.unbuildable) {
            (Some(folder), _) => self.context(&root.join(folder), &root.join(&image.file), image),
            (None, Some(why)) => {
                Err(Failure::input(vec![Diagnostic { severity: Severity::Error, ..why.clone() }]))
            }
            (None, None) => {
                let (context, name) = (&image.context, &image.name);
                let what = format!("the context `{context}` of `{name}` is no folder");
                Err(Failure::new(Kind::Input, what).hint("name a folder of this repository"))
            }
        }
    }

    fn context(
        &mut self,
        folder: &Path,
        dockerfile: &Path,
        image: &Image,
    ) -> Result<ContextSource, Failure> {
        let root = match self.roots.get(folder) {
            Some(root) => root.clone(),
            None => self.resolved(folder, image)?,
        };
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        if let Some(ignore) = ignore_patterns(Path::new(&own))? {
            return source("context", &root, ignore);
        }
        if !self.ignored.contains_key(&root) {
            let ignore = ignore_patterns(&root.join(".dockerignore"))?.unwrap_or_default();
            self.ignored.insert(root.clone(), ignore);
        }
        source("context", &root, self.ignored[&root].clone())
    }

    fn resolved(&mut self, folder: &Path, image: &Image) -> Result<PathBuf, Failure> {
        let root = folder.canonicalize().map_err(|error| {
            Failure::doing(
                Kind::Input,
                format_args!("read the context `{}` of `{}`", folder.display(), image.file),
                &error,
            )
            .hint("--context names the folder that the Dockerfile may copy from")
        })?;
        self.roots.insert(folder.to_owned(), root.clone());
        Ok(root)
    }
}

/// What a context of an image's own definition is; none if it is an image that the fleet's
/// graph knows.
pub(super) fn of_definition(
    context: &fleet::NamedContext,
    root: &Path,
) -> Result<Option<NamedContext>, Failure> {
    match &context.value {
        ContextValue::Image(_) | ContextValue::Definition(_) => Ok(None),
        ContextValue::Folder(path) => named_context(&context.name, path, root).map(Some),
        ContextValue::Layout(path) => {
            named_context(&context.name, &format!("oci-layout://{path}"), root).map(Some)
        }
        ContextValue::Url(url) => Err(Failure::input(vec![Diagnostic {
            location: Some(context.location.clone()),
            severity: Severity::Error,
            code: "remote-context".to_owned(),
            message: format!(
                "the context `{}` is elsewhere: `{}`",
                context.name,
                bakehouse_plan::address::without_password(url)
            ),
            help: Some("`bakehouse build` fetches it".to_owned()),
        }])),
    }
}

fn source(name: &str, root: &Path, ignore: Vec<String>) -> Result<ContextSource, Failure> {
    let Some(text) = root.to_str() else {
        return Err(Failure::new(
            Kind::Input,
            format!("the path of the context `{}` is not UTF-8", root.display()),
        ));
    };
    Ok(ContextSource { name: name.to_owned(), root: text.to_owned(), ignore })
}

/// The patterns of an ignore file; none if there is no such file.
fn ignore_patterns(path: &Path) -> Result<Option<Vec<String>>, Failure> {
    let absent = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    if std::fs::metadata(path).is_err_and(absent) {
        return Ok(None);
    }
    // It may be somebody else's: a device or a pipe would never end.
    let bytes = crate::discovery::read(path).map_err(|why| {
        Failure::new(Kind::Input, format!("cannot read `{}`: {why}", path.display()))
    })?;
    let patterns = ignore::read_patterns(&bytes);
    if let Err(error) = ignore::Matcher::new(&patterns) {
        return Err(Failure::input(vec![Diagnostic {
            location: None,
            severity: Severity::Error,
            code: "bad-ignore-pattern".to_owned(),
            message: format!("`{}`: {error}", path.display()),
            help: Some(
                "patterns are those of Go's `filepath.Match`; quote `[` with a backslash".into(),
            ),
        }]));
    }
    Ok(Some(patterns))
}

/// What `--build-context` maps names to.
pub(super) fn named(place: &Where, root: &Path) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in &place.build_context {
        let Some((name, what)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::new(
                Kind::Usage,
                format!("--build-context `{text}` is not NAME=WHAT"),
            ));
        };
        contexts.insert(name.to_owned(), named_context(name, what, root)?);
    }
    Ok(contexts)
}

fn named_context(name: &str, what: &str, root: &Path) -> Result<NamedContext, Failure> {
    if let Some(reference) = what.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(reference.to_owned()));
    }
    if let Some(layout) = what.strip_prefix("oci-layout://") {
        let (path, tag) = split_layout(layout);
        return Ok(NamedContext::Layout(root.join(path), tag.map(str::to_owned)));
    }
    if let Some(file) = what.strip_prefix("rootfs-tar://") {
        return Ok(NamedContext::RootfsTar(root.join(file)));
    }
    if let Some((scheme, _)) = what.split_once("://") {
        return Err(Failure::new(
            Kind::Usage,
            format!("--build-context `{name}`: `{scheme}://` is not supported"),
        )
        .hint("a folder, docker-image://, oci-layout:// and rootfs-tar:// are"));
    }
    let folder = root.join(what);
    let folder = folder.canonicalize().map_err(|error| {
        Failure::doing(Kind::Input, format_args!("read the context `{name}` at `{what}`"), &error)
    })?;
    let ignore = ignore_patterns(&folder.join(".dockerignore"))?.unwrap_or_default();
    Ok(NamedContext::Folder(source(name, &folder, ignore)?))
}

/// `path[:tag]` or `path@digest`; a colon within the path's last part begins the tag.
fn split_layout(text: &str) -> (&str, Option<&str>) {
    if let Some((path, digest)) = text.split_once('@') {
        return (path, Some(digest));
    }
    let after = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[after..].find(':') {
        Some(colon) => (&text[..after + colon], Some(&text[after + colon + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_a_path_and_maybe_a_name() {
        let cases = [
            ("dir", ("dir", None)),
            ("/a/b:tag", ("/a/b", Some("tag"))),
            ("/a:b/c", ("/a:b/c", None)),
            ("x@sha256:1", ("x", Some("sha256:1"))),
        ];
        for (text, expected) in cases {
            assert_eq!(split_layout(text), expected);
        }
    }
}
