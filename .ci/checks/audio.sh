# A real repository: its 20 images planned, three of them really built.

audio_orchestrator() {
  local dir=$WORK/audio
  lay_audio "$dir"
  prepare_python "$dir"
  cd "$dir"
  bake audio graph --format json >"$WORK/audio-graph.json"
  bake audio plan --format json "${AUDIO_CONTEXTS[@]}" >"$WORK/audio-plan.json"
  python3 "$TOP/.ci/checks/audio.py" "$SHARED/fleets/audio-orchestrator/EXPECTED.md" \
    "$WORK/audio-graph.json" "$WORK/audio-plan.json"

  bake audio build "${AUDIO_CONTEXTS[@]}" --registry "$REGISTRY/ci-audio-$$" --push monitoring
  peers docker run --rm "$REGISTRY/ci-audio-$$/monitoring:latest" \
    python -c 'import fastapi, prometheus_client; print(fastapi.__version__)' | tee "$WORK/audio.txt"
  grep -q '^0\.118\.0$' "$WORK/audio.txt"
  say "20 images planned; python-base, python-web and monitoring built, run by dockerd" >"$NOTE"
}

AUDIO_CONTEXTS=()

# DIR: the repository with every file that its listing names. What the fleet's folder does not
# hold is laid in its size, requirement files trimmed to what installs in seconds.
lay_audio() {
  cp -a "$SHARED/fleets/audio-orchestrator/." "$1"
  local mode size path
  while read -r mode size path; do
    [[ $mode == 100* && ! -e $1/$path ]] || continue
    mkdir -p "$1/$(dirname "$path")"
    case $path in
      *requirements*.txt) echo 'prometheus-client==0.23.1' >"$1/$path" ;;
      *) head -c "$size" /dev/zero | tr '\0' '#' >"$1/$path" ;;
    esac
    [[ $mode != 100755 ]] || chmod 755 "$1/$path"
  done < <(grep -v '^#' "$1/TREE.txt")
  AUDIO_CONTEXTS=(--build-context "python:3.11-slim=oci-layout://$1.python")
}

# DIR: Debian's python made to look like the one that the repository names: pip may install into
# it, and site-packages is where COPY --from expects it.
prepare_python() {
  local dir=$1.prepare
  mkdir -p "$dir" "$1.python"
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/python:3.11-slim
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore
RUN rm -rf /usr/lib/python3.11/EXTERNALLY-MANAGED /usr/local/lib/python3.11/dist-packages \\
 && mkdir -p /usr/local/lib/python3.11/site-packages \\
 && ln -s site-packages /usr/local/lib/python3.11/dist-packages
DOCKERFILE
  bake audio build -f "$dir/Dockerfile" --context "$dir" --output "type=oci,dest=$1.python.tar"
  tar -xf "$1.python.tar" -C "$1.python"
}
