# What a step, a large context and its export cost beside BuildKit's: a report, not a gate, since
# machines differ. Each pair runs in turn, in one run.

speed_beside_buildkit() {
  local hundred=$WORK/hundred large=$WORK/large round
  mkdir -p "$hundred"
  { echo "FROM $REGISTRY/library/busybox:latest"; printf 'RUN true\n%.0s' {1..100}; } >"$hundred/Dockerfile"
  python3 .ci/checks/large.py "$large"
  export BAKEHOUSE_HOME=$WORK/speed-home
  "$BAKEHOUSE" build -C "$hundred" >/dev/null 2>&1 # the base is there
  peers exec docker pull --quiet "$REGISTRY/library/busybox:latest" >/dev/null
  for round in 1 2 3; do
    lap steps buildkit in_docker "$hundred" build --no-cache --tag speed-steps .
    lap steps ours "$BAKEHOUSE" build -C "$hundred" --no-cache
    peers exec docker buildx prune --all --force >/dev/null
    lap cold buildkit in_docker "$large" build --tag "$REGISTRY/speed/theirs:$round" --push .
    lap cold ours env BAKEHOUSE_HOME="$WORK/cold-$round" \
      "$BAKEHOUSE" build -C "$large" --tag "$REGISTRY/speed/ours:$round" --push
    in_docker "$large" build --tag speed-large . >/dev/null 2>&1
    "$BAKEHOUSE" build -C "$large" >/dev/null 2>&1
    lap unchanged buildkit in_docker "$large" build --tag speed-large .
    lap unchanged ours "$BAKEHOUSE" build -C "$large"
  done
  python3 - "$WORK/laps" >"$NOTE" <<'PY'
import statistics, sys
laps = {}
for line in open(sys.argv[1]):
    work, who, seconds = line.split()
    laps.setdefault(work, {}).setdefault(who, []).append(float(seconds))
parts = []
for work, both in laps.items():
    theirs, ours = (statistics.median(both[who]) for who in ("buildkit", "ours"))
    parts.append(f"{work} {theirs / ours:.1f} ({ours * 1000:.0f} ms)")
print("buildkit/bakehouse: " + ", ".join(parts))
PY
}

in_docker() { # FOLDER BUILDX-ARGUMENTS...
  local folder=$1
  shift
  peers exec sh -c "cd $folder && BUILDX_NO_DEFAULT_ATTESTATIONS=1 exec docker buildx $*"
}

lap() { # WORK WHO COMMAND...
  local work=$1 who=$2 began
  shift 2
  began=$(date +%s.%N)
  "$@" >"$WORK/lap.log" 2>&1 || { cat "$WORK/lap.log"; return 1; }
  echo "$work $who $(echo "$(date +%s.%N) $began" | awk '{print $1 - $2}')" >>"$WORK/laps"
}
