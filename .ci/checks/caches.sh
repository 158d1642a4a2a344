# Caches that BuildKit and Bakehouse write for each other, over the registry.
#
# dockerd's own BuildKit reads caches of registries and writes those within images. One that
# writes every kind is a buildkitd of its own: BUILDKITD and BUILDCTL name them, where there are.

# Sources of one copy are in the order of their names: other copies are in no cache of ours, because
# BuildKit has one key for several of them.
cache_recipe() { # DIR SOURCES: two stages with everything that a key is made of
  mkdir -p "$1/src"
  # Nobody has built these before, so whoever finds a step found it in the cache.
  printf '%s\n' "$1" >"$1/src/a.c"
  printf 'b\n' >"$1/src/b.c"
  printf 'read by %s\n' "$1" | tee "$1/note.md" >"$1/more.md"
  printf 'token\n' >"$1.token"
  cat >"$1/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/busybox:latest AS builder
ARG VERSION=1.2
WORKDIR /made
COPY src ./src
RUN --mount=type=cache,target=/root/.cache --mount=type=cache,id=x,target=/var/x,sharing=locked \\
  echo "\$VERSION" >/root/.cache/v && cat src/* >out && cp out /var/x/
RUN --mount=type=bind,source=src,target=/z --mount=type=bind,from=$REGISTRY/library/busybox:latest,source=/etc,target=/b \\
  ls /z /b >listing
RUN --mount=type=tmpfs,target=/t --mount=type=secret,id=token date +%Y >/t/a && cp /t/a year
RUN <<EOF
echo hello >hello
EOF
FROM $REGISTRY/library/busybox:latest
WORKDIR /srv
COPY --from=builder /made/listing /made/out /srv/
COPY --from=builder --chown=12:34 /made/hello /srv/h/
COPY <<EOF /srv/inline.txt
in line
EOF
COPY $2 docs/
RUN echo 'app:x:77:77::/:/bin/sh' >>/etc/passwd && echo 'app:x:77:' >>/etc/group
COPY --chown=app:app --chmod=0640 note.md /srv/owned/
USER app
RUN cat /srv/out >/tmp/copy
DOCKERFILE
}

# Steps of the recipe that are built, as `--progress plain` of buildx and buildctl has them, but
# not found: they say `CACHED` below their name.
not_cached() { # LOG
  awk '/^#[0-9]+ \[(builder|final|stage-1) [0-9]+\/[0-9]+\] (RUN|COPY|WORKDIR)/ {named[$1] = $0}
       /^#[0-9]+ CACHED/ {delete named[$1]}
       END {for (step in named) print named[step]}' "$1"
}

caches_of_buildkit() {
  local dir=$WORK/caches ref=$REGISTRY/ci/cache
  # dockerd's BuildKit of 2025 still has another key for what a wildcard matches.
  cache_recipe "$dir" "more.md note.md"
  local build=(build -f "$dir/Dockerfile" --context "$dir" --secret "id=token,src=$dir.token")
  bake cache-a "${build[@]}" --cache-to "type=registry,ref=$ref:ours,mode=max"
  peers docker buildx build --progress plain --secret "id=token,src=$dir.token" \
    --cache-from "type=registry,ref=$ref:ours" -t ci/cached:1 "$dir" >"$dir.log" 2>&1
  [[ -z $(not_cached "$dir.log") ]] || { not_cached "$dir.log"; return 1; }
  local found
  found=$(grep -c ' CACHED' "$dir.log")

  # What dockerd keeps within an image is found too.
  peers docker buildx build --cache-to type=inline -t "$ref:theirs" "$dir" \
    --secret "id=token,src=$dir.token" >/dev/null 2>&1
  peers docker push -q "$ref:theirs" >/dev/null
  bake cache-b "${build[@]}" --cache-from "$ref:theirs" --progress plain >"$dir.log" 2>&1
  grep -q 'CACHED .*RUN cat /srv/out' "$dir.log" || { cat "$dir.log"; return 1; }
  ! grep -qE '^#[0-9]+ \[.*(RUN|COPY|WORKDIR) .*' <(grep -v CACHED "$dir.log") || { cat "$dir.log"; return 1; }
  say "dockerd finds $found steps of ours, and we its own" >"$NOTE"

  if [[ -z ${BUILDKITD:-} || -z ${BUILDCTL:-} ]]; then
    say "$(<"$NOTE"); skipped: no buildkitd that writes all kinds (BUILDKITD, BUILDCTL)" >"$NOTE"
    return 0
  fi
  buildkitd_both_ways "$dir" "$ref"
}

buildkitd_both_ways() { # DIR REF
  local dir=$1 ref=$2 socket=unix://$WORK/buildkitd.sock
  cache_recipe "$dir" "*.md"
  printf '[registry."%s"]\n  http = true\n' "$REGISTRY" >"$dir.toml"
  # The process writes its own number: that of the job is its parent's.
  peers exec sh -c 'echo $$ >"$0"; exec "$@"' "$dir.pid" "$BUILDKITD" --config "$dir.toml" \
    --root "$WORK/buildkitd" --addr "$socket" --oci-worker-net host >"$dir.buildkitd.log" 2>&1 &
  local job=$!
  local left=100
  until "$BUILDCTL" --addr "$socket" debug workers >/dev/null 2>&1; do
    ((left-- > 0)) || { cat "$dir.buildkitd.log"; return 1; }
    sleep 0.1
  done
  local code=0
  buildkitd_after_us "$dir" "$ref" "$socket" && we_after_buildkitd "$dir" "$ref" "$socket" || code=1
  kill "$(<"$dir.pid")"
  wait "$job" || true
  return "$code"
}

buildctl_build() { # DIR SOCKET ARG...
  local dir=$1 socket=$2
  shift 2
  "$BUILDCTL" --addr "$socket" build --frontend dockerfile.v0 --local "context=$dir" \
    --local "dockerfile=$dir" --secret "id=token,src=$dir.token" --progress plain "$@" >"$dir.log" 2>&1 ||
    { cat "$dir.log"; return 1; }
}

buildkitd_after_us() { # DIR REF SOCKET: an empty buildkitd builds nothing of what we wrote
  local dir=$1 ref=$2
  bake cache-d build -f "$dir/Dockerfile" --context "$dir" --secret "id=token,src=$dir.token" \
    --cache-to "type=registry,ref=$ref:max,mode=max" || return 1
  buildctl_build "$dir" "$3" --import-cache "type=registry,ref=$ref:max" || return 1
  [[ -z $(not_cached "$dir.log") ]] || { not_cached "$dir.log"; return 1; }
  say "$(<"$NOTE"); buildkitd finds $(grep -c ' CACHED' "$dir.log") steps of ours" >"$NOTE"
}

we_after_buildkitd() { # DIR REF SOCKET: every step of what it wrote is found
  local dir=$1 ref=$2 all found
  buildctl_build "$dir" "$3" --no-cache --export-cache "type=registry,ref=$ref:max,mode=max" || return 1
  bake cache-c why "$(basename "$dir")" -f "$dir/Dockerfile" --context "$dir" \
    --cache-from "$ref:max" --format json >"$dir.json" || return 1
  all=$(jq '[.steps[] | select(.name | test("^(RUN|COPY|WORKDIR)"))] | length' "$dir.json")
  found=$(jq '[.steps[] | select(.why | startswith("from the cache"))] | length' "$dir.json")
  ((all == found)) || { jq . "$dir.json"; return 1; }
  say "$(<"$NOTE"); of $all steps of buildkitd we find $found" >"$NOTE"
}
