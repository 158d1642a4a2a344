//! Lowering a Dockerfile in a test: a few known bases, and what came out in words.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::{History, ImageConfig, Platform, RunConfig};
use bakehouse_model::op::{ContextSource, Exec, FileAction, ImageSource, Op, Source};
use bakehouse_model::{ChainId, Digest, Severity};
use bakehouse_plan::dockerfile::parse;
use bakehouse_plan::graph::{Graph, Step};
use bakehouse_plan::lower::{
    Base, BaseImage, Bases, LowerFailure, Lowered, Request, Settings, lower,
};

/// A build to be: what the command line says, and which images there are.
pub(crate) struct Build {
    pub(crate) settings: Settings,
    pub(crate) target: Option<&'static str>,
    pub(crate) images: BTreeMap<String, Base>,
    pub(crate) named: BTreeMap<String, Base>,
    asked: RefCell<BTreeSet<String>>,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) graph: Graph,
    pub(crate) lowered: Lowered,
    /// Images that were asked for: `name platform`.
    pub(crate) asked: Vec<String>,
}

/// An image with a configuration.
pub(crate) fn image(name: &str, config: RunConfig) -> Base {
    Base::Image(Box::new(BaseImage {
        source: ImageSource {
            reference: name.parse().unwrap(),
            manifest: Digest::of(name),
            platform: Platform::linux("amd64"),
            chain: Some(ChainId(Digest::of(name))),
        },
        config: ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config,
            history: vec![History { created_by: "base".to_owned(), ..History::default() }],
            ..ImageConfig::default()
        },
    }))
}

/// Lets an image point elsewhere.
pub(crate) fn move_to(base: &mut Base, to: &str) {
    let Base::Image(found) = base else { panic!("an image") };
    found.source.manifest = Digest::of(to);
    found.source.chain = Some(ChainId(Digest::of(to)));
}

/// A folder.
pub(crate) fn folder(name: &str) -> ContextSource {
    ContextSource { name: name.to_owned(), root: format!("/{name}"), ignore: Vec::new() }
}

impl Build {
    /// On amd64, with an image `base` that has a command and a `PATH`, and a plain `tool`.
    pub(crate) fn new() -> Self {
        let config = RunConfig {
            env: vec!["PATH=/bin".to_owned()],
            cmd: Some(vec!["sh".to_owned()]),
            ..RunConfig::default()
        };
        let images = BTreeMap::from([
            ("base".to_owned(), image("base", config)),
            ("tool".to_owned(), image("tool", RunConfig::default())),
        ]);
        Self {
            settings: Settings::new(Platform::linux("amd64")),
            target: None,
            images,
            named: BTreeMap::new(),
            asked: RefCell::default(),
        }
    }

    /// With `--build-arg`s.
    pub(crate) fn args(args: &[(&str, &str)]) -> Self {
        let mut build = Self::new();
        let given = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        build.settings.build_args.extend(given);
        build
    }

    /// With another image.
    pub(crate) fn image(mut self, name: &str, config: RunConfig) -> Self {
        self.images.insert(name.to_owned(), image(name, config));
        self
    }

    pub(crate) fn try_lower(&self, text: &str) -> Result<Done, LowerFailure> {
        let parsed = parse(text.as_bytes(), "Dockerfile");
        assert!(!parsed.has_errors(), "{text}: {:?}", parsed.diagnostics);
        let request = Request {
            image: "app",
            dockerfile: &parsed.dockerfile,
            file: "Dockerfile",
            context: Some(folder("context")),
            target: self.target,
            settings: &self.settings,
        };
        let mut graph = Graph::default();
        let lowered = lower(&request, self, &mut graph)?;
        let asked = self.asked.borrow().iter().cloned().collect();
        Ok(Done { graph, lowered, asked })
    }

    pub(crate) fn lower(&self, text: &str) -> Done {
        self.try_lower(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}"))
    }

    /// `place: message` of what is wrong.
    pub(crate) fn wrong(&self, text: &str) -> String {
        match self.try_lower(text) {
            Err(LowerFailure::Wrong(diagnostic)) => {
                assert_eq!(diagnostic.severity, Severity::Error);
                diagnostic.to_string()
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

impl Bases for Build {
    fn named(&self, name: &str, _: &Platform) -> Option<Base> {
        self.named.get(name).cloned()
    }

    fn image(&self, name: &str, platform: &Platform) -> Base {
        self.asked.borrow_mut().insert(format!("{name} {platform}"));
        self.images.get(name).cloned().unwrap_or(Base::Unknown)
    }
}

impl Done {
    /// The steps that the image needs, needs first, in words.
    pub(crate) fn steps(&self) -> Vec<String> {
        let needed = self.graph.reach(self.lowered.root);
        needed.iter().map(|index| words(&self.graph, self.graph.step(*index))).collect()
    }

    /// The processes that the image needs.
    pub(crate) fn runs(&self) -> Vec<&Exec> {
        let needed = self.graph.reach(self.lowered.root);
        let execs = needed.into_iter().filter_map(|index| match &self.graph.step(index).op {
            Op::Exec(exec) => Some(exec),
            _ => None,
        });
        execs.collect()
    }

    /// The environment of the last process, without `PATH`.
    pub(crate) fn env(&self) -> Vec<&str> {
        let last = self.runs().pop().expect("a RUN");
        last.env.iter().map(String::as_str).filter(|line| !line.starts_with("PATH=")).collect()
    }

    /// What the Dockerfile added to the history.
    pub(crate) fn history(&self) -> Vec<&str> {
        let entries = self.lowered.config.history.iter().map(|entry| entry.created_by.as_str());
        entries.filter(|text| *text != "base").collect()
    }

    pub(crate) fn config(&self) -> &RunConfig {
        &self.lowered.config.config
    }
}

/// `what it does < what it reads`, the latter by number of the step in the graph.
fn words(graph: &Graph, step: &Step) -> String {
    let what = match &step.op {
        Op::Source(Source::Image(image)) => short(&format!("image {}", image.reference.familiar())),
        Op::Source(Source::Context(context)) => format!("folder {}", context.name),
        Op::Source(Source::Http(http)) => format!("http {} as {}", http.url, http.file_name),
        Op::Source(Source::Git(git)) => {
            format!("git {} {:?} {:?}", git.remote, git.reference, git.subdir)
        }
        Op::Exec(exec) => format!("run {}", exec.args.join(" ")),
        Op::File(file) => {
            let actions: Vec<String> = file.actions.iter().map(action).collect();
            actions.join("; ")
        }
        Op::Merge => "merge".to_owned(),
    };
    let needs: Vec<String> = step
        .inputs
        .iter()
        .map(|input| match &graph.step(*input).op {
            Op::Source(Source::Context(context)) => context.name.clone(),
            _ => short(&graph.step(*input).origin.name),
        })
        .collect();
    if needs.is_empty() { what } else { format!("{what} < {}", needs.join(", ")) }
}

fn short(name: &str) -> String {
    name.trim_end_matches(":latest").to_owned()
}

fn action(action: &FileAction) -> String {
    match action {
        FileAction::Copy(copy) => format!("copy {}:{} {}", copy.input, copy.src, copy.dest),
        FileAction::MakeFile(make) => {
            format!("file {} {:?}", make.path, String::from_utf8_lossy(&make.data))
        }
        FileAction::MakeDir(make) => format!("dir {}", make.path),
    }
}
