//! Codes of what a repository's files say together.

use super::{Code, error, note, warning};

/// What is wrong between files, and what had to be guessed.
pub(super) const CODES: &[Code] = &[
    error(
        "ambiguous-dockerfile",
        "a name of `bakehouse.toml` names a Dockerfile that several images are built from",
        "name one of the images: `[images.NAME]`",
    ),
    warning(
        "ambiguous-parent",
        "a base may be any of several images of the fleet",
        "say which one under `[bases]` in `bakehouse.toml`",
    ),
    error(
        "bad-ignore-pattern",
        "a pattern of a `.dockerignore` cannot be read",
        "close its brackets, and give every backslash a character",
    ),
    error(
        "bad-option",
        "an option of a definition, such as its network or a limit, cannot be read",
        "write it as `docker build` takes it",
    ),
    warning(
        "context-outside",
        "a context is outside of the repository, where changes are not seen",
        "move it into the repository, or say `--build-context`",
    ),
    warning(
        "described-differently",
        "two files describe one image in different ways",
        "let both say the same",
    ),
    warning(
        "family-arg-given",
        "a file gives an image another base than its family does",
        "let one of the two say it",
    ),
    warning(
        "family-arg-ignored",
        "an image of a family does not take its base as an argument",
        "`bakehouse families convert` writes it",
    ),
    error(
        "family-base-unknown",
        "the base of a family is no image",
        "name an image of the fleet, or one from elsewhere with its tag",
    ),
    error(
        "family-service-unknown",
        "a family lists what is no image",
        "`bakehouse graph` lists the images",
    ),
    error(
        "image-cycle",
        "images stand on each other",
        "one of them has to start from another base",
    ),
    note(
        "inferred-registry",
        "a registry is taken for the fleet's own because most bases are there",
        "say `registry = \"...\"` in `bakehouse.toml`",
    ),
    warning(
        "missing-dockerfile",
        "a definition names a Dockerfile that is not there",
        "add the file, or correct `dockerfile` and `context`",
    ),
    warning(
        "phantom-parent",
        "a base looks like the fleet's own, and no image is called so",
        "add its Dockerfile, or say under `[bases]` in `bakehouse.toml` what it is",
    ),
    warning(
        "published-twice",
        "two images are published under one reference",
        "give each a tag of its own",
    ),
    warning(
        "remote-context",
        "the context of an image is elsewhere",
        "`bakehouse build` fetches it for an image that is named",
    ),
    note(
        "same-name",
        "several images would have one name",
        "name them in `bakehouse.toml` to choose others",
    ),
    note(
        "skipped",
        "a file that is called like a Dockerfile is left out",
        "name it in a bake file, a compose file or `bakehouse.toml` to have it",
    ),
    error("two-families", "an image is in two families", "take it out of one of them"),
    error(
        "unknown-context-target",
        "a named context names what is no image",
        "name a target or a service that is built",
    ),
    error(
        "unknown-dockerfile",
        "`bakehouse.toml` names a Dockerfile that no image is built from",
        "name a Dockerfile that `bakehouse graph` shows",
    ),
    error(
        "unknown-image",
        "`bakehouse.toml` names an image that is not there",
        "`bakehouse graph` lists the images",
    ),
    note(
        "unused-context",
        "a named context is not used by the Dockerfile",
        "remove it, or name it in the Dockerfile",
    ),
];
