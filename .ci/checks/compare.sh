# Numbers against buildx bake: a report, not a gate, since machines differ.

compare_with_bake() {
  "$SHARED/bench/compare" "$BAKEHOUSE" --runs 1 --scale 0.5 | tee "$WORK/compare.txt"
  sed -n '/bake\/bakehouse/,$p' "$WORK/compare.txt" | tail -n +2 \
    | awk '{printf "%s%s %s", sep, $1, $(NF - 2); sep = ", "}' >"$NOTE"
}
