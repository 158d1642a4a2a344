//! What all images of the fleet share: ignore files, the shell library, the builder's list.

/// The files that belong to no single image.
pub(super) fn files() -> Vec<(String, String)> {
    [
        (".dockerignore", DOCKERIGNORE),
        (".gitignore", "out/\n*.log\n"),
        ("README.md", README),
        ("common/health.sh", HEALTH),
        ("common/install.sh", INSTALL),
        ("common/log.sh", LOG),
        ("common/wheels.txt", WHEELS),
        ("docs/notes.md", "Not part of any build: see .dockerignore.\n"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into()
}

const DOCKERIGNORE: &str = "\
# What no image needs: a change there rebuilds nothing.
.git
**/*.log
**/*.md
**/Dockerfile*
docs
out
";

const README: &str = "\
# A fleet to try things on

Nine bases (`bases/`) and nine services (`services/`) on four levels. Every image is built with
this folder as its context. The first base is made from `machine-base`, a named context:

    bakehouse build --build-context machine-base=...
    bakehouse graph
    bakehouse why stt

Then change a file and build again.
";

const LOG: &str = r#"# Sourced by everything else.
say() { printf '%s: %s\n' "${SERVICE:-fleet}" "$*"; }
"#;

const HEALTH: &str = r#"# A service is well when what it was built from is still there.
. /opt/fleet/lib/log.sh
[ -s /app/BUILD ] && [ -s /etc/fleet/lineage ] || { say "not well"; exit 1; }
say "well"
"#;

/// A package manager small enough to read. Its temporary names carry the owner's: several
/// builds share one cache, and each may be process 1 in a world of its own.
const INSTALL: &str = r##"# install.sh OWNER LIST FOLDER: puts the packages in LIST (name version lines) into FOLDER.
set -eu
. /opt/fleet/lib/log.sh
owner=$1 list=$2 folder=$3
cache=${FLEET_CACHE:-/var/cache/fleet}
mkdir -p "$cache" "$folder"

fetch() { # NAME VERSION LINES -> the package in the cache
    package=$cache/$1-$2.package
    if [ -f "$package" ]; then
        from="the cache"
        return
    fi
    from="its source"
    line=0
    while [ "$line" -lt "$3" ]; do
        echo "$1 $2 symbol_$line = $((line * line % 9973))"
        line=$((line + 1))
    done >"$package.$owner"
    mv "$package.$owner" "$package"
}

while read -r name version lines; do
    case $name in '' | '#'*) continue ;; esac
    fetch "$name" "$version" "$lines"
    mkdir -p "$folder/$name"
    sort "$package" >"$folder/$name/symbols"
    sha256sum <"$folder/$name/symbols" >"$folder/$name/RECORD"
    say "installed $name $version from $from"
done <"$list"
"##;

const WHEELS: &str = "\
# name version lines: what every service is shipped with
fastapi 0.118.0 900
httpx 0.26.0 700
pydantic 2.12.0 1600
structlog 24.1.0 500
opentelemetry 1.24.0 1400
";
