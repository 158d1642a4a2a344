# `graph` and `plan` beside `docker buildx bake --print`, on one generated bake file of 1,000
# targets, in turn in one run: a report, not a gate, since machines differ.

graph_and_plan_of_a_thousand_targets() {
  local fleet=$WORK/thousand
  python3 .ci/checks/thousand.py "$fleet" "$REGISTRY/library/busybox:latest"
  export BAKEHOUSE_HOME=$WORK/thousand-home
  (cd "$fleet" && "$BAKEHOUSE" plan >/dev/null) # the base is looked up once
  local round
  for round in 1 2 3 4 5; do
    timed buildx peers exec sh -c "cd $fleet && docker buildx bake --print"
    timed print "$BAKEHOUSE" build -C "$fleet" --print
    timed graph "$BAKEHOUSE" graph -C "$fleet" --format json
    timed plan "$BAKEHOUSE" plan -C "$fleet" --offline --format json
  done
  "$BAKEHOUSE" build -C "$fleet" --print >"$WORK/ours.json"
  peers exec sh -c "cd $fleet && docker buildx bake --print" >"$WORK/theirs.json" 2>/dev/null
  python3 - "$WORK" >"$NOTE" <<'PY'
import json, statistics, sys
work = sys.argv[1]
times = {}
for line in open(work + "/times"):
    name, seconds = line.split()
    times.setdefault(name, []).append(float(seconds))
medians = {name: statistics.median(all) for name, all in times.items()}
same = json.load(open(work + "/ours.json")) == json.load(open(work + "/theirs.json"))
assert same, "--print differs from buildx"
print(", ".join(f"buildx/{n} {medians['buildx'] / medians[n]:.1f}" for n in ("print", "graph", "plan")))
PY
}

timed() { # NAME COMMAND...
  local name=$1 began
  shift
  began=$(date +%s.%N)
  "$@" >/dev/null 2>&1
  echo "$name $(echo "$(date +%s.%N) $began" | awk '{print $1 - $2}')" >>"$WORK/times"
}
