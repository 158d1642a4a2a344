# What Docker itself makes of bake and compose files, now and not only when it was pinned.

bake_and_compose_oracles() {
  local run=(cargo test --quiet --package bakehouse-bake --package bakehouse-compose --)
  "${run[@]}" --nocapture buildx_agrees bake_agrees real_projects docker_compose_agrees 2>&1 \
    | tee "$WORK/oracles.txt"
  grep -c '^skipped' "$WORK/oracles.txt" | sed 's/$/ skipped/' >"$NOTE" || true
}
