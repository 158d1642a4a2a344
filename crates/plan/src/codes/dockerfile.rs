//! Codes of one Dockerfile by itself: its grammar, the checks, and lowering.

use super::{Code, error, warning};

/// What is wrong with the text, what is doubtful in it, and what cannot be made of it.
pub(super) const CODES: &[Code] = &[
    // The grammar.
    error(
        "argument-count",
        "an instruction has too few or too many arguments",
        "give it the arguments that the Dockerfile reference asks for",
    ),
    error(
        "bad-device",
        "`--device` of a `RUN` cannot be read",
        "write it as `--device=NAME[,required]`",
    ),
    error(
        "bad-escape",
        "the `escape` directive names another character than `\\` or `` ` ``",
        "use `# escape=\\` or leave the line out",
    ),
    error(
        "bad-flag-value",
        "a flag has a value that it cannot have",
        "give the flag one of the values that the Dockerfile reference lists",
    ),
    error(
        "bad-healthcheck",
        "a `HEALTHCHECK` cannot be read",
        "write `HEALTHCHECK [OPTIONS] CMD command`, with durations such as `30s`, or `HEALTHCHECK NONE`",
    ),
    error(
        "bad-heredoc",
        "the beginning of a here-document cannot be read",
        "write it as `<<NAME`, with balanced quotes",
    ),
    error(
        "bad-mount",
        "`--mount` of a `RUN` cannot be read",
        "write it as `--mount=type=TYPE,KEY=VALUE,...`, with the keys of its type",
    ),
    error(
        "bad-stage-name",
        "the name after `AS` cannot be a stage's name",
        "begin it with a letter, and go on with letters, digits, `-`, `_` and `.`",
    ),
    error("blank-name", "`ENV`, `LABEL` or `ARG` has a blank name", "write it as `NAME=value`"),
    error("duplicate-directive", "a parser directive stands there twice", "keep one of them"),
    error("duplicate-flag", "a flag that may be given once is given twice", "keep one of them"),
    error(
        "empty-volume",
        "`VOLUME` has an empty path",
        "name a folder, or leave the instruction out",
    ),
    error("flag-needs-value", "a flag has no value", "write it as `--flag=value`"),
    error(
        "heredoc-destination",
        "the destination of a `COPY` or `ADD` is a here-document",
        "name a path as the last argument",
    ),
    error("invalid-utf-8", "a line is not UTF-8", "save the file as UTF-8"),
    error(
        "json-not-strings",
        "a JSON array has something else than strings in it",
        "put every element into double quotes",
    ),
    error(
        "line-too-long",
        "a line is longer than BuildKit reads",
        "break it with line continuations",
    ),
    error(
        "no-instructions",
        "the file has no instructions",
        "begin with `FROM`, or remove the file",
    ),
    error("no-stage", "an instruction stands before the first `FROM`", "move it below a `FROM`"),
    error("no-stages", "the file has no `FROM`", "add a `FROM`"),
    error(
        "nul-byte",
        "a line has a NUL byte in it",
        "remove the byte; if the file is no Dockerfile, name it otherwise or in .gitignore",
    ),
    error(
        "onbuild-trigger",
        "an instruction cannot be a trigger of `ONBUILD`",
        "give `ONBUILD` one instruction other than `FROM`, `ONBUILD` and `MAINTAINER`",
    ),
    error(
        "pair-without-equals",
        "one of several pairs has no `=`",
        "write all of them as `NAME=value`, with quotes where a value has blanks",
    ),
    error(
        "shell-not-json",
        "`SHELL` is not a JSON array",
        "write it as `SHELL [\"program\", \"argument\"]`",
    ),
    error(
        "too-many-errors",
        "the file has so many mistakes that the rest is not read",
        "correct the first ones; if it is no Dockerfile, name it otherwise or in .gitignore",
    ),
    error("unknown-flag", "an instruction has no such flag", "correct the flag, or remove it"),
    error(
        "unknown-instruction",
        "there is no such instruction",
        "correct the keyword; a line that continues the one above needs a `\\` there",
    ),
    error(
        "unterminated-heredoc",
        "a here-document does not end",
        "put its word on a line of its own after the last line of the document",
    ),
    error(
        "variable-in-from",
        "`--from` has a variable in it",
        "begin a stage with `FROM ${NAME} AS stage`, and copy from that",
    ),
    // The checks.
    warning(
        "consistent-instruction-casing",
        "keywords are written in capitals and in small letters",
        "write all keywords alike",
    ),
    warning(
        "duplicate-stage-name",
        "two stages have one name",
        "give each stage a name of its own",
    ),
    warning("from-as-casing", "`FROM` and `AS` are not written alike", "write both in capitals"),
    warning(
        "from-platform-flag-const-disallowed",
        "`FROM --platform` has a constant value",
        "use `$BUILDPLATFORM` or leave the flag out, or name the stage for its platform",
    ),
    warning(
        "json-args-recommended",
        "`CMD` or `ENTRYPOINT` is in shell form, so signals do not reach the program",
        "write it as a JSON array, such as `CMD [\"program\", \"argument\"]`",
    ),
    warning(
        "legacy-key-value-format",
        "`ENV` or `LABEL` has a blank instead of `=`",
        "write it as `NAME=value`",
    ),
    warning(
        "maintainer-deprecated",
        "`MAINTAINER` is out of date",
        "use `LABEL org.opencontainers.image.authors=\"...\"`",
    ),
    warning(
        "multiple-instructions-disallowed",
        "a stage has several of an instruction of which only the last one counts",
        "remove all but the last one",
    ),
    warning(
        "no-empty-continuation",
        "an empty line stands within a continued instruction",
        "remove the empty line",
    ),
    warning(
        "onbuild-trigger-invalid",
        "a trigger of `ONBUILD` will fail when it fires",
        "correct the instruction after `ONBUILD`",
    ),
    warning(
        "redundant-target-platform",
        "`--platform` says what is so anyway",
        "leave the flag out",
    ),
    warning(
        "reserved-stage-name",
        "a stage has a name that means something else",
        "give it another name than `scratch` or `context`",
    ),
    warning(
        "secrets-used-in-arg-or-env",
        "an `ARG` or `ENV` looks like a secret, and would be in the image",
        "use `RUN --mount=type=secret`",
    ),
    warning("stage-name-casing", "a stage's name has capitals in it", "write it in small letters"),
    // Checks that need more than the file.
    warning(
        "copy-ignored-file",
        "a source of `COPY` or `ADD` is left out of the context",
        "copy another file, or take it out of .dockerignore",
    ),
    warning(
        "expose-invalid-format",
        "`EXPOSE` names an address or a port of the host",
        "name the port of the container alone",
    ),
    warning(
        "expose-proto-casing",
        "the protocol of `EXPOSE` has capitals in it",
        "write it in small letters",
    ),
    warning(
        "invalid-default-arg-in-from",
        "a base has no valid name without build arguments",
        "give the `ARG` before the first `FROM` a default",
    ),
    warning(
        "invalid-definition-description",
        "a comment above an `ARG` or a stage does not describe it",
        "begin it with the name, or put an empty line after it",
    ),
    warning(
        "undefined-arg-in-from",
        "`FROM` uses an argument that is not declared",
        "declare it with `ARG` before the first `FROM`",
    ),
    warning(
        "undefined-var",
        "a variable is used and never set",
        "declare it with `ARG` or `ENV`, or correct its name",
    ),
    warning(
        "workdir-relative-path",
        "`WORKDIR` is relative to what the base says",
        "begin it with `/`",
    ),
    // Lowering.
    error(
        "bad-checksum",
        "`--checksum` cannot be read, or has nothing to check",
        "write it as `sha256:` and 64 hex digits, with one HTTP or Git source",
    ),
    error(
        "bad-chmod",
        "`--chmod` cannot be read",
        "write it as an octal number such as `0755`, or as `u=rwX,go=rX`",
    ),
    error("bad-epoch", "`SOURCE_DATE_EPOCH` is no time", "give it as seconds since 1970"),
    error(
        "bad-platform",
        "a platform cannot be read",
        "write it as OS/ARCH, such as `linux/arm64`",
    ),
    error(
        "bad-port",
        "`EXPOSE` has something else than ports in it",
        "write it as `PORT[/tcp]` or `FIRST-LAST[/udp]`",
    ),
    error(
        "bad-signal",
        "`STOPSIGNAL` names no signal",
        "use a name such as `SIGTERM`, or a number",
    ),
    error(
        "bad-word",
        "a variable or a quote cannot be expanded",
        "close quotes and braces, and give required variables a value",
    ),
    error(
        "base-refused",
        "a base cannot be had",
        "correct its name, or say what it stands for with `--build-context`",
    ),
    error(
        "blank-base",
        "the name of a base is blank",
        "give the ARG in it a default, or pass it with --build-arg",
    ),
    error(
        "blank-platform",
        "`--platform` is blank",
        "give the ARG in it a default, or pass it with --build-arg",
    ),
    error("blank-volume", "`VOLUME` has an empty path", "give the variable in it a value"),
    error(
        "copy-from-scratch",
        "something is copied from `scratch`, which is empty",
        "copy from a stage or an image",
    ),
    error(
        "bad-git-address",
        "a Git address cannot be understood",
        "write it as `repository.git#ref:subdir` or `repository.git?ref=…&subdir=…`",
    ),
    error(
        "no-context",
        "an instruction reads the context, and there is none",
        "give the image a context, or copy from a stage",
    ),
    error(
        "foreign-system",
        "an instruction would have to run another system than Linux",
        "build this image with BuildKit on that system, or copy what it needs with `COPY`",
    ),
    error(
        "foreign-front-end",
        "`BUILDKIT_SYNTAX` names another front end than Docker's own",
        "leave the argument out, or build it with `docker buildx build`",
    ),
    error("no-device", "a `RUN` asks for a device", "build this image with Docker"),
    error(
        "not-entitled",
        "a `RUN` asks for more than it is allowed",
        "if you trust this Dockerfile, build with `--allow`",
    ),
    error(
        "onbuild-depth",
        "triggers of bases lead to ever more triggers",
        "start from another base",
    ),
    error("remote-copy", "`COPY` has an address as its source", "use `ADD`"),
    error(
        "stage-cycle",
        "stages copy from each other",
        "a stage may copy only from stages above it",
    ),
    error(
        "stage-order",
        "a stage is copied from before it is there",
        "move the stage up in the Dockerfile",
    ),
    error(
        "too-many-platforms",
        "images are made for ever more platforms of each other",
        "say a platform that does not depend on the own one in `FROM --platform`",
    ),
    error(
        "unknown-stage",
        "`--from` has a number that no stage has",
        "use the stage's name, or a number below that of the own stage",
    ),
    error("unknown-target", "the wanted stage is not there", "name one of the Dockerfile's stages"),
];
