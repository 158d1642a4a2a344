# Real cases, held against what BuildKit made of them.

conformance() {
  local counts same
  "$SHARED/conformance/run" "$BAKEHOUSE" --jobs "$(nproc)" >"$WORK/conformance.txt" 2>&1 || true
  cat "$WORK/conformance.txt"
  counts=$(tail -n 1 "$WORK/conformance.txt")
  say "$counts" >"$NOTE"
  same=$(sed -nE 's/^([0-9]+) same,.*/\1/p' <<<"$counts")
  ((${same:-0} > 355))
}
