# What `plan` prints for other tools: a real buildx reads it, and builds from it.

# An argument that both languages would fill in or end, if it were not quoted.
SAID='it'"'"'s ${HOME} %{x} $${y} %%{z} $1 `id` \ "q" *'

leave_with_bake_and_with_commands() {
  local dir=$WORK/leave name
  bake leave demo --directory "$dir/demo" >/dev/null
  write_leaver "$dir/fleet"
  cd "$dir/fleet"
  bake leave plan --print bake --build-arg "SAID=$SAID" >docker-bake.hcl
  peers exec sh -c "cd '$dir/fleet' && docker buildx bake --print" >"$dir/printed.json"
  peers exec sh -c "cd '$dir/fleet' && docker buildx bake --load --set 'app.tags=ci/left:bake'"
  says_what_was_meant ci/left:bake
  bake leave plan --print-commands --build-arg "SAID=$SAID" >load.sh
  peers exec sh -c "cd '$dir/fleet' && sh load.sh"
  says_what_was_meant app:latest
  bake leave plan --print-commands --build-arg "SAID=$SAID" --push --registry "$REGISTRY/left-$$" >push.sh
  peers exec sh -c "cd '$dir/fleet' && sh push.sh"
  peers docker rmi --force app:latest "$REGISTRY/left-$$/app:latest" >/dev/null
  peers docker pull --quiet "$REGISTRY/left-$$/app:latest"
  says_what_was_meant "$REGISTRY/left-$$/app:latest"
  # The demo's fleet is built, and every edge of whole fleets is read.
  peers docker import "$dir/demo/machine-base.tar" machine-base:latest >/dev/null
  bake leave plan -C "$dir/demo/fleet" --print bake >"$dir/demo/fleet/left.hcl"
  peers exec sh -c "cd '$dir/demo/fleet' && docker buildx bake -f left.hcl --set 'stt.tags=ci/left:stt'"
  peers docker run --rm ci/left:stt >"$dir/stt.txt"
  grep -q 'turns speech into text' "$dir/stt.txt"
  for name in "$dir/demo/fleet" "$SHARED"/fleets/audio-orchestrator; do
    [[ -d $name ]] || continue
    rm -rf "$dir/read" && cp -r "$name" "$dir/read" && chmod -R u+w "$dir/read"
    bake leave plan -C "$dir/read" --print bake >"$dir/read/left.hcl"
    peers exec sh -c "cd '$dir/read' && docker buildx bake -f left.hcl --print" >"$dir/printed.json"
    python3 - "$dir/printed.json" "$dir/read/left.hcl" <<'PY'
import json, re, sys
targets = json.load(open(sys.argv[1]))["target"]
written = open(sys.argv[2]).read()
assert len(targets) == len(re.findall(r"^target ", written, re.M)) > 1, len(targets)
edges = [c for t in targets.values() for c in t.get("contexts", {}).values()]
assert len(edges) == written.count('"target:') > 0, edges
PY
  done
  say "a bake file, commands that load, commands that push" >"$NOTE"
}

# IMAGE: it has what its parent made, and the argument as it was written.
says_what_was_meant() {
  peers docker run --rm "$1" >"$WORK/leave/said.txt"
  printf '%s\n' base "$SAID" | cmp - "$WORK/leave/said.txt"
}

# FOLDER: a base and an image that stands on it, with an argument that wants every quote.
write_leaver() {
  mkdir -p "$1/base" "$1/app"
  cat >"$1/base/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/busybox:latest
RUN echo base >/base
DOCKERFILE
  cat >"$1/app/Dockerfile" <<'DOCKERFILE'
ARG PARENT=example.test/team/base:latest
FROM $PARENT
ARG SAID
RUN printf '%s\n' "$SAID" >/said
CMD ["cat", "/base", "/said"]
DOCKERFILE
}
