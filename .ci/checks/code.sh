# Format, lints, tests: what needs nothing but a Rust toolchain. A failure here ends the run,
# since nothing later would say anything new.

code_checks() {
  if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --all --check
    say "ok    fmt"
  else
    skip fmt "rustfmt is not installed"
  fi
  if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --workspace --all-targets --quiet -- -D warnings
    say "ok    clippy"
  else
    skip clippy "clippy is not installed"
  fi
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny check licenses bans sources
    say "ok    deny"
  else
    skip deny "cargo-deny is not installed"
  fi
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace
  else
    cargo test --workspace
  fi
}
