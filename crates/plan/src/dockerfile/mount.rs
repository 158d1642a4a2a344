//! `RUN --mount` and `RUN --device`.
//!
//! The values of a mount may hold variables, so it is read twice: once with the file, when
//! only its form and its `from` are checked, and once by the planner with [`parse_mount`].

use bakehouse_model::op::Sharing;
use thiserror::Error;

use super::ast::Device;
use super::go_lower;
use super::problem::Problem;
use super::units::parse_size;
use super::words::WordError;

/// A mount of a `RUN`, all defaults of its kind settled that do not depend on the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What it is.
    pub kind: MountType,
    /// `from`: a stage, a named context or an image; the build context if none.
    pub from: Option<String>,
    /// `source`; empty if not given.
    pub source: String,
    /// `target`; empty if not given.
    pub target: String,
    /// Whether writes are refused. Not so for `cache` and `tmpfs` unless asked.
    pub readonly: bool,
    /// `size` of a `tmpfs` in bytes; 0 for no limit.
    pub size: i64,
    /// `id`, if given and not empty.
    pub id: Option<String>,
    /// `sharing` of a `cache`, if given.
    pub sharing: Option<Sharing>,
    /// Whether a `secret` or `ssh` must be there.
    pub required: bool,
    /// `env` of a `secret`: the variable it is put in; `Some("")` means «named like the secret».
    pub env: Option<String>,
    /// `mode`, if given.
    pub mode: Option<u32>,
    /// `uid`, if given.
    pub uid: Option<u32>,
    /// `gid`, if given.
    pub gid: Option<u32>,
}

/// The kinds of mount a `RUN` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountType {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the step.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// A socket to an SSH agent.
    Ssh,
}

impl MountType {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// A mount cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountError {
    /// Not a line of comma-separated fields.
    #[error("failed to parse csv mounts: {0}")]
    Csv(&'static str),
    /// A variable in it cannot be expanded.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A field without a value that needs one.
    #[error("invalid field `{0}` must be a key=value pair")]
    NeedsValue(String),
    /// A key nobody knows.
    #[error("unexpected key `{key}` in `{field}`")]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
    },
    /// A key that this kind of mount does not have.
    #[error("unexpected key `{key}` for mount type `{kind}`")]
    KeyOfOtherType {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {0:?}")]
    UnknownType(String),
    /// A sharing mode that does not exist.
    #[error("unsupported sharing value {0:?}")]
    UnknownSharing(String),
    /// A value that is not what its key takes.
    #[error("invalid value for {key}: {value}")]
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `from` with a variable.
    #[error("`from` doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// Owner or mode of something that has none.
    #[error("{key} not allowed for {kind:?} type mounts")]
    NoFileInfo {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// `from` of a secret.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// `sharing` of a secret.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretNameless,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretTwoNames,
    /// `sharing` of what is not a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingOfOther(&'static str),
}

const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];
const TYPES: &[&str] = &["bind", "cache", "secret", "ssh", "tmpfs"];
const SHARINGS: &[&str] = &["locked", "private", "shared"];

/// Expands one value: [`Lexer::expand`](super::words::Lexer::expand) with the environment of
/// the instruction.
pub type Expander<'a> = dyn FnMut(&str) -> Result<String, WordError> + 'a;

/// Reads one `--mount`; every value goes through `expander` first.
pub fn parse_mount(csv: &str, expander: &mut Expander<'_>) -> Result<Mount, MountError> {
    let mut builder = Builder::default();
    for field in csv_fields(csv).map_err(MountError::Csv)? {
        match field.split_once('=') {
            None => builder.bare(&field)?,
            Some((key, value)) => {
                let value = expander(value)?;
                builder.set(&go_lower(key), value, &field)?;
            }
        }
    }
    builder.finish()
}

/// The `from` of a mount as the file says it, which is how a stage is found that a `RUN`
/// depends on before any variable is known.
pub fn mount_from(csv: &str) -> Option<String> {
    let fields = csv_fields(csv).ok()?;
    let mut named = fields.iter().filter_map(|field| field.split_once('='));
    let from = named.rfind(|(key, _)| go_lower(key) == "from");
    from.map(|(_, value)| value.to_owned()).filter(|from| !from.is_empty())
}

/// Checks what BuildKit checks in every stage, needed or not.
pub(crate) fn check_mount(csv: &str) -> Result<(), Problem> {
    for field in csv_fields(csv).map_err(MountError::Csv)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        if go_lower(key) == "from" && value.find('$').is_some_and(|at| at + 1 != value.len()) {
            return Err(MountError::VariableInFrom.into());
        }
    }
    Ok(())
}

impl From<MountError> for Problem {
    fn from(error: MountError) -> Self {
        let problem = Self::new("bad-mount", error.to_string());
        match &error {
            MountError::UnknownKey { key, .. } => problem.suggest(key, KEYS, false),
            MountError::UnknownType(name) => problem.suggest(name, TYPES, false),
            MountError::UnknownSharing(name) => problem.suggest(name, SHARINGS, false),
            _ => problem,
        }
    }
}

struct Builder {
    mount: Mount,
    readonly: Option<bool>,
}

impl Default for Builder {
    fn default() -> Self {
        let mount = Mount {
            kind: MountType::Bind,
            from: None,
            source: String::new(),
            target: String::new(),
            readonly: false,
            size: 0,
            id: None,
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        Self { mount, readonly: None }
    }
}

impl Builder {
    /// A field without `=`.
    fn bare(&mut self, field: &str) -> Result<(), MountError> {
        match go_lower(field).as_str() {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            "required" => {
                self.only("required", &[MountType::Secret, MountType::Ssh])?;
                self.mount.required = true;
            }
            _ => return Err(MountError::NeedsValue(field.to_owned())),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        match key {
            "type" => self.mount.kind = parse_type(value)?,
            "from" => self.mount.from = Some(value).filter(|from| !from.is_empty()),
            "source" | "src" => self.mount.source = value,
            "target" | "dst" | "destination" => self.mount.target = value,
            "readonly" | "ro" => self.readonly = Some(parse_bool(key, value)?),
            "readwrite" | "rw" => self.readonly = Some(!parse_bool(key, value)?),
            "required" => {
                self.only("required", &[MountType::Secret, MountType::Ssh])?;
                self.mount.required = parse_bool(key, value)?;
            }
            "size" => {
                self.only("size", &[MountType::Tmpfs])?;
                self.mount.size = parse_size(&value).ok_or_else(|| bad(key, value))?;
            }
            "id" => self.mount.id = Some(value).filter(|id| !id.is_empty()),
            "sharing" => self.mount.sharing = Some(parse_sharing(value)?),
            "mode" => self.mount.mode = Some(parse_number(key, value, 8)?),
            "uid" => self.mount.uid = Some(parse_number(key, value, 10)?),
            "gid" => self.mount.gid = Some(parse_number(key, value, 10)?),
            "env" => self.mount.env = Some(value),
            _ => {
                let (key, field) = (key.to_owned(), field.to_owned());
                return Err(MountError::UnknownKey { key, field });
            }
        }
        Ok(())
    }

    /// The order of fields matters: `type` comes before what only that type has.
    fn only(&self, key: &'static str, kinds: &[MountType]) -> Result<(), MountError> {
        if kinds.contains(&self.mount.kind) {
            return Ok(());
        }
        Err(MountError::KeyOfOtherType { key, kind: self.mount.kind.name() })
    }

    fn finish(self) -> Result<Mount, MountError> {
        let mut mount = self.mount;
        let kind = mount.kind.name();
        let given = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)].into_iter();
        if matches!(mount.kind, MountType::Bind | MountType::Tmpfs)
            && let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some())
        {
            return Err(MountError::NoFileInfo { key, kind });
        }
        let writable = matches!(mount.kind, MountType::Cache | MountType::Tmpfs);
        mount.readonly = self.readonly.unwrap_or(!writable);
        if mount.kind == MountType::Secret {
            check_secret(&mount)?;
        }
        if mount.sharing.is_some() && mount.kind != MountType::Cache {
            return Err(MountError::SharingOfOther(kind));
        }
        Ok(mount)
    }
}

fn check_secret(mount: &Mount) -> Result<(), MountError> {
    if mount.from.is_some() {
        return Err(MountError::SecretFrom);
    }
    if mount.sharing.is_some() {
        return Err(MountError::SecretSharing);
    }
    if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_none() {
        return Err(MountError::SecretNameless);
    }
    if !mount.source.is_empty() && mount.id.is_some() {
        return Err(MountError::SecretTwoNames);
    }
    Ok(())
}

fn bad(key: &str, value: String) -> MountError {
    MountError::BadValue { key: key.to_owned(), value }
}

fn parse_type(value: String) -> Result<MountType, MountError> {
    Ok(match go_lower(&value).as_str() {
        "bind" => MountType::Bind,
        "cache" => MountType::Cache,
        "tmpfs" => MountType::Tmpfs,
        "secret" => MountType::Secret,
        "ssh" => MountType::Ssh,
        _ => return Err(MountError::UnknownType(value)),
    })
}

fn parse_sharing(value: String) -> Result<Sharing, MountError> {
    Ok(match go_lower(&value).as_str() {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        _ => return Err(MountError::UnknownSharing(value)),
    })
}

fn parse_bool(key: &str, value: String) -> Result<bool, MountError> {
    match value.as_str() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(bad(key, value)),
    }
}

fn parse_number(key: &str, value: String, radix: u32) -> Result<u32, MountError> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { u32::from_str_radix(&value, radix).ok() } else { None };
    number.ok_or_else(|| bad(key, value))
}

/// Reads one `--device`.
pub(crate) fn parse_device(csv: &str) -> Result<Device, Problem> {
    let wrong = |message: String| Problem::new("bad-device", message);
    let mut device = Device { name: String::new(), required: false };
    let fields =
        csv_fields(csv).map_err(|error| wrong(format!("failed to parse csv devices: {error}")))?;
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (go_lower(key), Some(value)),
            None => (go_lower(&field), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                device.required = parse_bool("required", value.to_owned())
                    .map_err(|error| wrong(error.to_string()))?;
            }
            ("name", Some(value)) if device.name.is_empty() => value.clone_into(&mut device.name),
            ("name", Some(_)) => {
                return Err(wrong(format!("device name already set to {}", device.name)));
            }
            _ if device.name.is_empty() => device.name = field,
            (_, None) => {
                return Err(wrong(format!("invalid field `{field}` must be a key=value pair")));
            }
            (key, Some(_)) => {
                return Err(wrong(format!("unexpected key `{key}` in `{field}`")).suggest(
                    key,
                    &["name", "required"],
                    false,
                ));
            }
        }
    }
    Ok(device)
}

/// Splits one line of comma-separated values.
fn csv_fields(line: &str) -> Result<Vec<String>, &'static str> {
    if line.is_empty() {
        return Err("EOF");
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err("bare \" in non-quoted field");
            }
            fields.push(field.to_owned());
            let Some(after) = after else { return Ok(fields) };
            rest = after;
            continue;
        };
        let (field, after) = quoted_field(quoted)?;
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err("extraneous or missing \" in quoted-field"),
        }
    }
}

/// The content of a field whose first quote is gone, and what follows its last one.
fn quoted_field(mut rest: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    loop {
        let (part, after) =
            rest.split_once('"').ok_or("extraneous or missing \" in quoted-field")?;
        field.push_str(part);
        let Some(more) = after.strip_prefix('"') else { return Ok((field, after)) };
        field.push('"');
        rest = more;
    }
}
