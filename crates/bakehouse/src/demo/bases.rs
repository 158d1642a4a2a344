//! The nine bases, and their Dockerfiles.

/// A base image.
#[derive(Debug)]
pub(super) struct Base {
    /// Its name, which `FROM` lines use.
    pub(super) name: &'static str,
    /// Where its Dockerfile is.
    file: &'static str,
    /// What it is for: the comment at the top of its Dockerfile.
    about: &'static str,
    /// The Dockerfile below that.
    text: &'static str,
    /// What it installs: name, version, lines.
    packages: &'static [(&'static str, &'static str, u32)],
}

impl Base {
    /// The files of this base.
    pub(super) fn files(&self, base_ref: &str) -> [(String, String); 2] {
        let text = self.text.replace("@BASE_REF@", base_ref).replace("@NAME@", self.name);
        [
            (self.file.to_owned(), format!("# {}\n{text}", self.about)),
            (format!("bases/packages/{}.txt", self.name), package_list(self.packages)),
        ]
    }
}

/// A package list as `install.sh` reads it.
pub(super) fn package_list(packages: &[(&str, &str, u32)]) -> String {
    let mut text = String::from("# name version lines\n# revision=1\n");
    for (name, version, lines) in packages {
        text.push_str(&format!("{name} {version} {lines}\n"));
    }
    text
}

/// All nine. What a base is built from stands before it.
pub(super) const BASES: &[Base] = &[
    Base {
        name: "python-base",
        file: "bases/python-base/Dockerfile",
        about: "Foundation: what every other image of the fleet stands on.",
        text: PYTHON_BASE,
        packages: &[
            ("setuptools", "80.9.0", 1200),
            ("wheel", "0.45.1", 400),
            ("pip", "25.2", 1500),
        ],
    },
    Base {
        name: "python-audio",
        file: "bases/Dockerfile.python-audio",
        about: "Audio processing without machine learning.",
        text: DERIVED,
        packages: &[
            ("ffmpeg", "7.1", 2600),
            ("soundfile", "0.13.1", 600),
            ("librosa", "0.11.0", 1800),
        ],
    },
    Base {
        name: "python-ml",
        file: "bases/Dockerfile.python-ml",
        about: "Machine learning: numbers, models, tokens.",
        text: DERIVED,
        packages: &[
            ("numpy", "2.3.4", 3200),
            ("scipy", "1.16.3", 3000),
            ("tokenizers", "0.22.1", 900),
        ],
    },
    Base {
        name: "tools",
        file: "bases/tools/Dockerfile",
        about: "Development tools: what builds and checks the services.",
        text: TOOLS,
        packages: &[("ruff", "0.14.3", 2400), ("mypy", "1.18.2", 2800), ("pytest", "8.4.2", 1100)],
    },
    Base {
        name: "specialized-services",
        file: "bases/specialized-services/Dockerfile",
        about: "Toolchains for services that are not written in Python.",
        text: SPECIALIZED,
        packages: &[
            ("node", "24.11.0", 2000),
            ("rust-minimal", "1.91.0", 2600),
            ("go", "1.25.4", 1900),
        ],
    },
    Base {
        name: "python-web",
        file: "bases/Dockerfile.python-web",
        about: "Web services that need no models.",
        text: DERIVED,
        packages: &[
            ("uvicorn", "0.37.0", 800),
            ("starlette", "0.48.0", 900),
            ("jinja", "3.1.6", 700),
        ],
    },
    Base {
        name: "python-ml-audio",
        file: "bases/Dockerfile.python-ml-audio",
        about: "Machine learning on sound.",
        text: ML_AUDIO,
        packages: &[("torchaudio", "2.9.0", 1500), ("whisper", "20250625", 1700)],
    },
    Base {
        name: "python-ml-transformers",
        file: "bases/Dockerfile.python-ml-transformers",
        about: "Machine learning on text.",
        text: ML_TRANSFORMERS,
        packages: &[("transformers", "4.57.1", 3400), ("safetensors", "0.6.2", 500)],
    },
    Base {
        name: "python-ml-torch",
        file: "bases/Dockerfile.python-ml-torch",
        about: "The whole of Torch, for those who train.",
        text: ML_TORCH,
        packages: &[("torch", "2.9.0", 4200), ("triton", "3.5.0", 1300)],
    },
];

const PYTHON_BASE: &str = r#"FROM @BASE_REF@

ENV FLEET_HOME=/opt/fleet \
    FLEET_CACHE=/var/cache/fleet \
    PATH=/opt/fleet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

WORKDIR ${FLEET_HOME}
COPY common/*.sh ./lib/

RUN mkdir -p /etc/fleet bin && echo @NAME@ >/etc/fleet/lineage

COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh lib/install.sh @NAME@ packages/@NAME@.txt site

LABEL fleet.level="0"
CMD ["cat", "/etc/fleet/lineage"]
"#;

const DERIVED: &str = r#"ARG BASE_IMAGE=python-base
FROM ${BASE_IMAGE} AS base

COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh lib/install.sh @NAME@ packages/@NAME@.txt site

RUN echo @NAME@ >>/etc/fleet/lineage
LABEL fleet.level="1"
"#;

const TOOLS: &str = r#"FROM python-base

COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh lib/install.sh @NAME@ packages/@NAME@.txt site

RUN <<EOF
set -e
cat >bin/fleet-lint <<'LINT'
#!/bin/sh
# Every file must end in a newline.
for file; do
    [ -z "$(tail -c 1 "$file")" ] || { echo "$file: no newline at its end"; exit 1; }
done
echo "$# files are fine"
LINT
chmod 755 bin/fleet-lint
echo @NAME@ >>/etc/fleet/lineage
EOF

LABEL fleet.level="1"
"#;

const SPECIALIZED: &str = r#"FROM python-base AS toolchain
COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh lib/install.sh @NAME@ packages/@NAME@.txt /toolchain
# Only what is needed at run time leaves this stage.
RUN mkdir /slim && for kit in /toolchain/*; do \
        mkdir "/slim/${kit##*/}" && head -n 500 "$kit/symbols" >"/slim/${kit##*/}/symbols"; \
    done

FROM python-base
COPY --from=toolchain /slim/ ./toolchains/
RUN echo @NAME@ >>/etc/fleet/lineage
LABEL fleet.level="1" fleet.profile="minimal"
"#;

const ML_AUDIO: &str = r#"FROM python-ml

COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    sh lib/install.sh @NAME@ packages/@NAME@.txt site

ENV SAMPLE_RATE=16000
RUN echo @NAME@ >>/etc/fleet/lineage
LABEL fleet.level="2"
"#;

const ML_TRANSFORMERS: &str = r#"FROM python-ml

COPY bases/packages/@NAME@.txt packages/
RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    --mount=type=tmpfs,target=/scratch \
    sh lib/install.sh @NAME@ packages/@NAME@.txt /scratch/site && cp -R /scratch/site/. site/

RUN echo @NAME@ >>/etc/fleet/lineage
LABEL fleet.level="2"
"#;

const ML_TORCH: &str = r#"FROM python-ml

RUN --mount=type=cache,id=packages,target=/var/cache/fleet \
    --mount=type=bind,source=bases/packages/@NAME@.txt,target=/mnt/packages.txt \
    sh lib/install.sh @NAME@ /mnt/packages.txt site

RUN echo @NAME@ >>/etc/fleet/lineage
# For those who ask what is in here.
COPY bases/packages/@NAME@.txt packages/
LABEL fleet.level="2"
"#;
