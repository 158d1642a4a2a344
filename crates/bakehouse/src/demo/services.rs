//! The nine services, and their Dockerfiles.

use super::bases::package_list;

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    /// Its name: the folder that it lives in.
    pub(super) name: &'static str,
    /// The base that it runs on.
    base: &'static str,
    /// What it says when it is run.
    greeting: &'static str,
    /// The port that it would listen on.
    port: u16,
    /// How it is put together.
    shape: Shape,
    /// What it installs: name, version, lines.
    packages: &'static [(&'static str, &'static str, u32)],
}

/// How a service is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// From the builder that six services share.
    Built,
    /// The same, and it runs as an ordinary user.
    BuiltForUser,
    /// In one stage.
    Plain,
}

impl Service {
    /// The files of this service.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let path = |file: &str| format!("services/{}/{file}", self.name);
        vec![
            (path("Dockerfile"), self.dockerfile()),
            (path("app/main.sh"), self.fill(MAIN)),
            (path("app/settings.sh"), self.fill(SETTINGS)),
            (path("notes.md"), self.fill("What @NAME@ is for: it says «@GREETING@».\n")),
            (path("requirements.txt"), package_list(self.packages)),
        ]
    }

    fn dockerfile(&self) -> String {
        let mut text = String::new();
        if self.shape != Shape::Plain {
            text.push_str(BUILDER);
        }
        text.push_str(RUNTIME);
        if self.shape != Shape::Plain {
            text.push_str("COPY --from=builder /build/wheels/ ./wheels/\n");
        }
        text.push_str(APP);
        if self.shape == Shape::BuiltForUser {
            text.push_str("USER 10001:10001\n");
        }
        text.push_str("CMD [\"sh\", \"/app/app/main.sh\"]\n");
        self.fill(&text)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("@NAME@", self.name)
            .replace("@BASE@", self.base)
            .replace("@GREETING@", self.greeting)
            .replace("@PORT@", &self.port.to_string())
    }
}

/// All nine.
pub(super) const SERVICES: &[Service] = &[
    Service {
        name: "gateway",
        base: "python-web",
        greeting: "routes what comes in",
        port: 8000,
        shape: Shape::BuiltForUser,
        packages: &[("websockets", "15.0.1", 600)],
    },
    Service {
        name: "discord",
        base: "python-audio",
        greeting: "listens in a voice channel",
        port: 8001,
        shape: Shape::Built,
        packages: &[("discord-py", "2.6.4", 1900), ("opus", "1.5.2", 700)],
    },
    Service {
        name: "stt",
        base: "python-ml-audio",
        greeting: "turns speech into text",
        port: 8002,
        shape: Shape::Built,
        packages: &[("faster-whisper", "1.2.0", 900), ("ctranslate", "4.6.0", 1500)],
    },
    Service {
        name: "tts",
        base: "python-audio",
        greeting: "turns text into speech",
        port: 8003,
        shape: Shape::Built,
        packages: &[("bark", "0.1.5", 1200)],
    },
    Service {
        name: "audio",
        base: "python-ml-audio",
        greeting: "takes noise out of sound",
        port: 8004,
        shape: Shape::Plain,
        packages: &[("webrtc-vad", "2.0.10", 500)],
    },
    Service {
        name: "orchestrator",
        base: "specialized-services",
        greeting: "decides who speaks next",
        port: 8005,
        shape: Shape::Plain,
        packages: &[("langgraph", "1.0.2", 1300)],
    },
    Service {
        name: "guardrails",
        base: "python-ml-transformers",
        greeting: "refuses what should not be said",
        port: 8006,
        shape: Shape::Built,
        packages: &[("detoxify", "0.5.2", 800)],
    },
    Service {
        name: "llm",
        base: "python-ml-torch",
        greeting: "thinks of an answer",
        port: 8007,
        shape: Shape::Plain,
        packages: &[("flan", "5.2", 2100)],
    },
    Service {
        name: "monitoring",
        base: "python-web",
        greeting: "watches all the others",
        port: 8008,
        shape: Shape::BuiltForUser,
        packages: &[("streamlit", "1.51.0", 1600), ("prometheus", "0.23.1", 500)],
    },
];

/// The stage that six services share word for word: it runs once for all of them.
const BUILDER: &str = r#"# The same in every service that is shipped with wheels.
FROM tools AS builder
WORKDIR /build
COPY common/wheels.txt ./
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh /opt/fleet/lib/install.sh builder wheels.txt wheels
RUN fleet-lint wheels/*/symbols && rm wheels/*/RECORD

"#;

const RUNTIME: &str = r#"FROM @BASE@
ARG VERSION=1.0.0
ENV SERVICE=@NAME@ \
    VERSION=${VERSION} \
    PORT=@PORT@
WORKDIR /app
"#;

const APP: &str = r#"COPY services/@NAME@/requirements.txt ./
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh /opt/fleet/lib/install.sh @NAME@ requirements.txt vendor

COPY services/@NAME@/app/ ./app/
RUN cat app/*.sh vendor/*/RECORD | sha256sum | cut -c 1-12 >BUILD

EXPOSE ${PORT}
HEALTHCHECK --interval=10s --timeout=3s --retries=3 CMD ["sh", "/opt/fleet/lib/health.sh"]
LABEL fleet.level="service" fleet.version="${VERSION}"
"#;

const MAIN: &str = r#"# @NAME@: @GREETING@.
REVISION=1
. /opt/fleet/lib/log.sh
. /app/app/settings.sh

set -- /app/vendor/* /opt/fleet/site/*
say "version $VERSION, revision $REVISION, build $(cat /app/BUILD)"
say "$GREETING on port $PORT, with $# packages"
say "stands on: $(tr '\n' ' ' </etc/fleet/lineage)"
"#;

const SETTINGS: &str = r#"# Settings of @NAME@.
GREETING="@GREETING@"
LOG_LEVEL=info
"#;
