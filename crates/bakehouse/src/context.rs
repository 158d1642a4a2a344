//! What the outside is to a command: its output, its environment, its clock.
//!
//! Made once in `main`; tests make their own.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bakehouse_render::{Size, Style};
use bakehouse_run::Cancel;

/// The outside.
pub struct Context {
    /// Results go here.
    pub out: Box<dyn Write + Send>,
    /// The environment's variables.
    pub env: BTreeMap<String, String>,
    /// The current folder.
    pub cwd: PathBuf,
    /// Whether the place that progress goes to is a terminal.
    pub is_terminal: bool,
    /// When the program started.
    pub started: Instant,
    /// Stops what runs.
    pub cancel: Cancel,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

impl Context {
    /// The real one.
    pub fn of_process(cwd: PathBuf) -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            out: Box::new(std::io::stdout()),
            env: env.collect(),
            cwd,
            is_terminal: std::io::stderr().is_terminal(),
            started: Instant::now(),
            cancel: Cancel::default(),
        }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The folder of the store: `BAKEHOUSE_HOME`, else in the XDG data folder.
    pub fn home(&self) -> PathBuf {
        if let Some(home) = self.var("BAKEHOUSE_HOME") {
            return self.cwd.join(home);
        }
        if let Some(data) = self.var("XDG_DATA_HOME").filter(|data| data.starts_with('/')) {
            return PathBuf::from(data).join("bakehouse");
        }
        let home = self.var("HOME").unwrap_or("/root");
        PathBuf::from(home).join(".local/share/bakehouse")
    }

    /// How texts may look: `NO_COLOR`, dumb terminals and the locale are respected.
    pub fn style(&self) -> Style {
        let dumb = self.var("TERM").is_none_or(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| self.var(name));
        let utf8 = locale.is_some_and(|l| l.to_ascii_lowercase().replace('-', "").contains("utf8"));
        Style { colour: self.is_terminal && !dumb && self.var("NO_COLOR").is_none(), unicode: utf8 }
    }

    /// The width of what results are printed on.
    pub fn width(&self) -> usize {
        let given = self.var("COLUMNS").and_then(|columns| columns.parse().ok());
        given.unwrap_or_else(|| terminal_size().columns)
    }

    /// Milliseconds since the program started.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The size of the terminal, or of an ordinary one.
pub fn terminal_size() -> Size {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        _ => Size { columns: 120, rows: 40 },
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
