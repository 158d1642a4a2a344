//! Resource limits of a step's process.

use bakehouse_model::op::Ulimit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::{Doing as _, Failure, kernel};

/// Open files, soft and hard, of a step that says nothing: what most programs expect, and
/// not the daemon-sized limit of whoever started the build.
const OPEN_FILES: (u64, u64) = (1024, 1_048_576);

const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Sets this process's limits.
pub(super) fn set(ulimits: &[Ulimit]) -> Result<(), Failure> {
    if !ulimits.iter().any(|ulimit| ulimit.name == "nofile") {
        let hard = getrlimit(Resource::Nofile).maximum;
        let (soft, wanted) = OPEN_FILES;
        // Who may not raise the limit keeps what there is.
        let raised = Rlimit { current: Some(soft), maximum: Some(wanted) };
        if setrlimit(Resource::Nofile, raised).is_err() {
            let soft = hard.map_or(soft, |hard| hard.min(soft));
            setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard })
                .doing_at("set the limit", "nofile")?;
        }
    }
    for ulimit in ulimits {
        let resource = NAMES.iter().find(|(name, _)| *name == ulimit.name);
        let Some((_, resource)) = resource else {
            let error = std::io::Error::from_raw_os_error(libc::EINVAL);
            return Err(kernel("set the limit", Some(&ulimit.name), error, None));
        };
        let limit = |value: i64| u64::try_from(value).ok();
        let limits = Rlimit { current: limit(ulimit.soft), maximum: limit(ulimit.hard) };
        setrlimit(*resource, limits).doing_at("set the limit", &ulimit.name)?;
    }
    Ok(())
}
