# One image for two machines, one of them emulated, with what is attached to it, as buildx and
# dockerd see it.

platforms_and_attestations() {
  local dir=$WORK/platforms image=$REGISTRY/ci/platforms:1 seen=$WORK/platforms/seen
  mkdir -p "$dir"
  command -v qemu-aarch64-static >/dev/null || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null
  }
  busybox_for amd64 "$dir"
  busybox_for arm64 "$dir"
  cat >"$dir/Dockerfile" <<'DOCKERFILE'
FROM --platform=$BUILDPLATFORM scratch AS tools
COPY busybox-* /
FROM scratch AS app
ARG TARGETARCH
COPY --from=tools /busybox-$TARGETARCH /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN uname -m >/machine && ls / | wc -l && for i in 1 2 3; do sh -c true; done
CMD ["cat", "/machine"]
DOCKERFILE
  local args=(-f "$dir/Dockerfile" --context "$dir" --platform linux/amd64,linux/arm64
    --provenance=mode=max --sbom --annotation index:org.opencontainers.image.title=ci -t "$image")
  SOURCE_DATE_EPOCH=1600000000 bake platforms build "${args[@]}" --push \
    -o "type=local,dest=$dir/tree" --iidfile "$dir/first"
  SOURCE_DATE_EPOCH=1600000000 bake platforms-again build "${args[@]}" --push --iidfile "$dir/second"
  cmp "$dir/first" "$dir/second"
  [[ $(<"$dir/tree/linux_arm64/machine") == aarch64 ]]
  [[ $(<"$dir/tree/linux_amd64/machine") == x86_64 ]]

  peers docker buildx imagetools inspect --raw "$image" >"$seen"
  python3 - "$seen" <<'PYTHON'
import json, sys
index = json.load(open(sys.argv[1]))
assert index["annotations"] == {"org.opencontainers.image.title": "ci"}, index
kinds = [m.get("annotations", {}).get("vnd.docker.reference.type") for m in index["manifests"]]
assert kinds == [None, None] + ["attestation-manifest"] * 2, kinds
PYTHON
  peers docker buildx imagetools inspect "$image" --format '{{json .Provenance}}' >"$seen"
  grep -q '"linux/arm64"' "$seen" && grep -q '"buildType"' "$seen"
  peers docker buildx imagetools inspect "$image" --format '{{json .SBOM}}' >"$seen"
  grep -q SPDX-2.3 "$seen"
  peers docker run --rm "$image" >"$seen"
  [[ $(<"$seen") == x86_64 ]]
  say "arm64 emulated, both digests alike" >"$NOTE"
}

# ARCHITECTURE DIR: Debian's static busybox, without a word to this machine's own apt.
busybox_for() {
  local apt=$2/apt-$1
  mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  local options=(-qq -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State=$apt/state"
    -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$apt" && apt-get "${options[@]}" download busybox-static && dpkg -x busybox-static_*.deb files)
  cp "$apt/files/bin/busybox" "$2/busybox-$1"
  rm -rf "$apt"
}
