//! Secrets and SSH agents, as `--secret` and `--ssh` name them.
//!
//! A secret's bytes are read when a step needs them and are nowhere else: not in a key, an
//! event, an error or a layer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::context::Context;
use crate::failure::{Failure, Kind};

/// The largest secret: what fits a variable or a key file by far.
const MAX_SECRET: u64 = 500 * 1024;

/// Where secrets come from.
#[derive(Default, Clone)]
pub struct Secrets(BTreeMap<String, Origin>);

#[derive(Clone)]
enum Origin {
    File(PathBuf),
    Value(String),
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("secret `{id}`: cannot read `{}`", path.display())]
    Read {
        /// Which one.
        id: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("secret `{id}` is larger than {MAX_SECRET} bytes")]
    Large {
        /// Which one.
        id: String,
    },
}

impl Secrets {
    /// From `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`.
    pub fn parse(specs: &[String], cx: &Context) -> Result<Self, Failure> {
        let mut secrets = BTreeMap::new();
        for spec in specs {
            let (id, origin) = parse(spec, cx)?;
            secrets.insert(id, origin);
        }
        Ok(Self(secrets))
    }

    /// The bytes of a secret; none if there is no such secret.
    pub fn read(&self, id: &str) -> Result<Option<Vec<u8>>, SecretError> {
        match self.0.get(id) {
            None => Ok(None),
            Some(Origin::Value(value)) => Ok(Some(value.clone().into_bytes())),
            Some(Origin::File(path)) => {
                let failed =
                    |source| SecretError::Read { id: id.to_owned(), path: path.clone(), source };
                if std::fs::metadata(path).map_err(failed)?.len() > MAX_SECRET {
                    return Err(SecretError::Large { id: id.to_owned() });
                }
                std::fs::read(path).map(Some).map_err(failed)
            }
        }
    }
}

fn parse(spec: &str, cx: &Context) -> Result<(String, Origin), Failure> {
    let (mut id, mut src, mut env, mut kind) = (None, None, None, None);
    for field in spec.split(',') {
        let (key, value) = field.split_once('=').unwrap_or(("", field));
        match key {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => src = Some(value.to_owned()),
            "env" => env = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
            _ => {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--secret `{spec}`: `{field}` is not known"),
                )
                .hint("id=NAME, src=FILE and env=VARIABLE are"));
            }
        }
    }
    let id = id.or_else(|| src.clone()).or_else(|| env.clone());
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(Failure::new(Kind::Usage, format!("--secret `{spec}` has no id")));
    };
    let from_env = kind.as_deref() == Some("env") && env.is_none();
    let name = env.or_else(|| if from_env { src.clone() } else { None });
    let plain = src.is_none() && kind.as_deref() != Some("file") && cx.env.contains_key(&id);
    let variable = name.or_else(|| plain.then(|| id.clone()));
    let origin = match variable {
        Some(variable) => match cx.env.get(&variable) {
            Some(value) => Origin::Value(value.clone()),
            None => {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--secret `{id}`: the variable `{variable}` is not set"),
                ));
            }
        },
        None => Origin::File(cx.cwd.join(src.unwrap_or_else(|| id.clone()))),
    };
    if let Origin::File(path) = &origin
        && !path.is_file()
    {
        return Err(Failure::new(
            Kind::Usage,
            format!("--secret `{id}`: there is no file `{}`", path.display()),
        ));
    }
    Ok((id, origin))
}

/// The sockets of SSH agents, by id.
#[derive(Debug, Default, Clone)]
pub struct SshAgents(BTreeMap<String, PathBuf>);

impl SshAgents {
    /// From `default` or `ID[=SOCKET]`; without a socket it is `SSH_AUTH_SOCK`'s.
    pub fn parse(specs: &[String], cx: &Context) -> Result<Self, Failure> {
        let mut agents = BTreeMap::new();
        for spec in specs {
            let (id, socket) = match spec.split_once('=') {
                Some((id, socket)) => (id, Some(cx.cwd.join(socket))),
                None => (spec.as_str(), cx.var("SSH_AUTH_SOCK").map(PathBuf::from)),
            };
            let Some(socket) = socket else {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--ssh `{spec}`: SSH_AUTH_SOCK is not set"),
                )
                .hint("start an agent, or name its socket: `--ssh default=/path/to/socket`"));
            };
            use std::os::unix::fs::FileTypeExt as _;
            if !std::fs::metadata(&socket).is_ok_and(|meta| meta.file_type().is_socket()) {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--ssh `{spec}`: `{}` is no socket", socket.display()),
                ));
            }
            agents.insert(id.to_owned(), socket);
        }
        Ok(Self(agents))
    }

    /// The socket of an agent.
    pub fn socket(&self, id: &str) -> Option<&PathBuf> {
        self.0.get(id)
    }
}
