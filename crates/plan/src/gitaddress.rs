//! Addresses of Git repositories: `https://host/repository.git#ref:folder` and its other forms.
//!
//! | Form | Is one |
//! |---|---|
//! | `https://….git`, `http://….git` | yes; without `.git` at the end of its path it is a file |
//! | `ssh://…`, `git://…` | yes |
//! | `user@host:path` | yes |
//! | `github.com/…` | as a context only ([`GitAddress::of_context`]); in a Dockerfile it is a path |
//!
//! What is wanted of the repository stands after `#`, as `ref:folder`, or after `?`, by name.

use std::collections::BTreeMap;

use thiserror::Error;

/// A repository, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitAddress {
    /// What `git` is given, without what follows `?` or `#`.
    pub remote: String,
    /// Branch, tag, commit or whole reference.
    pub reference: Option<String>,
    /// The folder that is wanted, without slashes at its ends.
    pub subdir: Option<String>,
    /// The commit that it must be, or how it begins.
    pub checksum: Option<String>,
    /// Whether `.git` is wanted too, if that is said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are wanted, if that is said.
    pub submodules: Option<bool>,
    /// Whether files are as old as the commit.
    pub commit_times: bool,
    /// Whether the checksum alone says what is fetched.
    pub fetch_by_commit: bool,
}

/// What is wrong with an address that is surely one of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GitAddressError {
    /// A name that needs a value has none.
    #[error("`{name}` of a Git address has no value")]
    NoValue {
        /// The name.
        name: String,
    },
    /// A name is there more than once.
    #[error("`{name}` of a Git address is given more than once")]
    Repeated {
        /// The name.
        name: String,
    },
    /// Nobody knows the name.
    #[error("a Git address has no `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is not one of those that are known.
    #[error("`{name}` of a Git address cannot be `{value}`")]
    BadValue {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// One thing is said in two ways.
    #[error("a Git address says both `{one}` and `{other}`")]
    Conflict {
        /// What is said first.
        one: String,
        /// What is said then.
        other: String,
    },
}

impl GitAddress {
    /// What a source of `ADD` says; none if it is no address of a repository.
    pub fn parse(text: &str) -> Result<Option<Self>, GitAddressError> {
        let (head, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = head.split_once('?').unwrap_or((head, ""));
        if !is_remote(remote) {
            return Ok(None);
        }
        let mut address = Self { remote: remote.to_owned(), ..Self::default() };
        let fragment = decoded(fragment, false);
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
        address.reference = some(reference);
        address.subdir = folder(subdir);
        address.read(&pairs(query)?)?;
        Ok(Some(address))
    }

    /// What names a build context; the same, and `github.com/…` besides.
    pub fn of_context(text: &str) -> Result<Option<Self>, GitAddressError> {
        if text.starts_with("github.com/") {
            let with_end = |path: &str| if path.ends_with(".git") { "" } else { ".git" };
            let end = text.find(['?', '#']).unwrap_or(text.len());
            let (path, rest) = text.split_at(end);
            return Self::parse(&format!("https://{path}{}{rest}", with_end(path)));
        }
        Self::parse(text)
    }

    /// The commit that is named in full; nothing that is fetched can be another one.
    pub fn is_commit(reference: &str) -> bool {
        matches!(reference.len(), 40 | 64) && reference.bytes().all(|b| b.is_ascii_hexdigit())
    }

    fn read(&mut self, pairs: &BTreeMap<String, String>) -> Result<(), GitAddressError> {
        for (name, value) in pairs {
            let may_be_bare = ["submodules", "keep-git-dir", "fetch-by-commit"];
            if value.is_empty() && !may_be_bare.contains(&name.as_str()) {
                return Err(GitAddressError::NoValue { name: name.clone() });
            }
            match name.as_str() {
                "ref" => agree(&mut self.reference, value)?,
                "subdir" => {
                    let folder = folder(value).unwrap_or_default();
                    agree(&mut self.subdir, &folder)?;
                }
                "checksum" | "commit" => self.checksum = Some(value.clone()),
                "keep-git-dir" => self.keep_git_dir = Some(truth(name, value)?),
                "submodules" => self.submodules = Some(truth(name, value)?),
                "fetch-by-commit" => self.fetch_by_commit = truth(name, value)?,
                "mtime" if value == "commit" => self.commit_times = true,
                "mtime" if value == "checkout" => {}
                "mtime" => return Err(bad(name, value)),
                // These need `ref`, wherever it stands.
                "tag" | "branch" => {}
                _ => return Err(GitAddressError::Unknown { name: name.clone() }),
            }
        }
        let (tag, branch) = (pairs.get("tag"), pairs.get("branch"));
        if let (Some(one), Some(other)) = (tag, branch) {
            return Err(GitAddressError::Conflict { one: one.clone(), other: other.clone() });
        }
        for (name, prefix) in [(tag, "refs/tags/"), (branch, "refs/heads/")] {
            let Some(name) = name else { continue };
            let whole = name.strip_prefix(prefix).unwrap_or(name);
            agree(&mut self.reference, &format!("{prefix}{whole}"))?;
        }
        Ok(())
    }
}

/// Whether a source of `ADD` is a file to download.
pub fn is_http(source: &str) -> bool {
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    is_url && !matches!(GitAddress::parse(source), Ok(Some(_)) | Err(_))
}

fn is_remote(remote: &str) -> bool {
    if let Some((scheme, rest)) = remote.split_once("://") {
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        return match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => path.ends_with(".git"),
            "ssh" | "git" => true,
            _ => false,
        };
    }
    let Some((user, (host, path))) =
        remote.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
    else {
        return false;
    };
    let plain = |text: &str, more: &[char]| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || more.contains(&c);
        !text.is_empty() && text.chars().all(fits)
    };
    plain(user, &['_']) && plain(host, &['.']) && !host.starts_with('-') && !path.is_empty()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A folder within a repository, whatever its slashes and dots.
fn folder(text: &str) -> Option<String> {
    let clean = crate::lower::clean_path(&format!("/{text}"));
    some(clean.trim_start_matches('/'))
}

/// Takes a value, unless another one is there already.
fn agree(known: &mut Option<String>, value: &str) -> Result<(), GitAddressError> {
    match known {
        Some(one) if one != value => {
            Err(GitAddressError::Conflict { one: one.clone(), other: value.to_owned() })
        }
        _ => {
            *known = some(value);
            Ok(())
        }
    }
}

fn bad(name: &str, value: &str) -> GitAddressError {
    GitAddressError::BadValue { name: name.to_owned(), value: value.to_owned() }
}

/// A truth value as Go reads it; a bare name is true.
fn truth(name: &str, value: &str) -> Result<bool, GitAddressError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(bad(name, value)),
    }
}

fn pairs(query: &str) -> Result<BTreeMap<String, String>, GitAddressError> {
    let mut pairs = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name, true);
        if pairs.insert(name.clone(), decoded(value, true)).is_some() {
            return Err(GitAddressError::Repeated { name });
        }
    }
    Ok(pairs)
}

/// Text without `%41`; what is no such code stays as it is.
pub fn decoded(text: &str, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' && plus_is_blank { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_add_are_told_apart() {
        let cases = [
            ("https://host/x.tar.gz", true, false),
            ("https://host/org/x.git", false, true),
            ("https://host/org/x.git?ref=a", false, true),
            ("https://host/org/x.git#main:sub", false, true),
            ("https://host/x?a=.git", true, false),
            ("HTTPS://host/x.git", false, true),
            ("git@host:org/x.git", false, true),
            ("git://host/x", false, true),
            ("ssh://user@host/x", false, true),
            ("file:///x.git", false, false),
            ("user@-oProxyCommand:x", false, false),
            ("github.com/org/x", false, false),
            ("./git@host:x", false, false),
            ("dir/file", false, false),
            ("a@b", false, false),
        ];
        for (source, http, git) in cases {
            let found = GitAddress::parse(source).unwrap();
            assert_eq!((is_http(source), found.is_some()), (http, git), "{source}");
        }
    }

    /// `remote ref folder checksum`, with `-` for none, and what else is said.
    fn told(text: &str) -> String {
        match GitAddress::of_context(text) {
            Err(error) => error.to_string(),
            Ok(None) => "none".to_owned(),
            Ok(Some(found)) => {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let parts = [&found.reference, &found.subdir, &found.checksum].map(or);
                let mut all = format!("{} {}", found.remote, parts.join(" "));
                for (name, value) in
                    [("keep", found.keep_git_dir), ("submodules", found.submodules)]
                {
                    all.extend(value.map(|value| format!(" {name}={value}")));
                }
                all + if found.commit_times { " commit-times" } else { "" }
            }
        }
    }

    #[test]
    fn what_is_wanted_of_a_repository_is_said_in_one_of_two_ways() {
        const ABOUT: &str = "of a Git address";
        let cases = [
            ("https://h/r.git", "https://h/r.git - - -".to_owned()),
            ("https://h/r.git#main", "https://h/r.git main - -".to_owned()),
            ("https://h/r.git#main:a/../b/", "https://h/r.git main b -".to_owned()),
            ("https://h/r.git#:b", "https://h/r.git - b -".to_owned()),
            ("https://h/r.git#a%2Fb", "https://h/r.git a/b - -".to_owned()),
            ("u@h:r.git?branch=x#:b", "u@h:r.git refs/heads/x b -".to_owned()),
            ("https://h/r.git?tag=v1", "https://h/r.git refs/tags/v1 - -".to_owned()),
            ("https://h/r.git?tag=refs/tags/v1", "https://h/r.git refs/tags/v1 - -".to_owned()),
            ("https://h/r.git?ref=v1&subdir=/b", "https://h/r.git v1 b -".to_owned()),
            ("https://h/r.git?commit=ab", "https://h/r.git - - ab".to_owned()),
            ("https://h/r.git?keep-git-dir", "https://h/r.git - - - keep=true".to_owned()),
            ("https://h/r.git?submodules=0", "https://h/r.git - - - submodules=false".to_owned()),
            ("https://h/r.git?mtime=commit", "https://h/r.git - - - commit-times".to_owned()),
            ("github.com/o/r#x", "https://github.com/o/r.git x - -".to_owned()),
            ("https://h/r.git?ref", format!("`ref` {ABOUT} has no value")),
            ("https://h/r.git?ref=a&ref=b", format!("`ref` {ABOUT} is given more than once")),
            ("https://h/r.git?submodules=x", format!("`submodules` {ABOUT} cannot be `x`")),
            ("https://h/r.git?depth=1", "a Git address has no `depth`".to_owned()),
            ("https://h/r.git?ref=a#b", "a Git address says both `b` and `a`".to_owned()),
            ("https://h/r.git?tag=a&branch=b", "a Git address says both `a` and `b`".to_owned()),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        for text in ["%", "#%", "https://h/r.git?%%%=%4", "@:", "u@h:", "://", "https://é.git#%e9:"]
        {
            drop(GitAddress::of_context(text));
            is_http(text);
        }
    }
}
