# A step may make the system calls that it may make under Docker, and no others.

# Makes every call in a step of Docker's and in one of ours. Where Docker is older than its
# profile of 2026, it lets AF_ALG (0x26) through, which ours does not. The interface for
# 32-bit pointers does not exist for a step of ours, whatever the kernel has.
calls_as_in_docker() {
  local dir=$WORK/calls
  mkdir -p "$dir"
  gcc -static -O1 -o "$dir/calls" .ci/checks/calls.c
  printf 'FROM scratch\nCOPY calls /calls\nRUN ["/calls"]\n' >"$dir/Dockerfile"
  peers docker build --no-cache --progress plain "$dir" >"$dir/docker.log" 2>&1
  BAKEHOUSE_HOME=$dir/store "$BAKEHOUSE" build --no-cache --progress plain -C "$dir" >"$dir/ours.log" 2>&1
  local one
  for one in docker ours; do
    sed -nE 's/.* ((native|relative|socket|personality|clone|unshare|prctl|ioctl)[a-z ]* ?[0-9]+\(0x.*)/\1/p' \
      "$dir/$one.log" | grep -vE '^(relative )?socket [0-9]+\(0x26\)' >"$dir/$one.txt"
  done
  say "$(wc -l <"$dir/ours.txt") calls, the same in Docker" >"$NOTE"
  (($(wc -l <"$dir/ours.txt") > 1000))
  diff "$dir/docker.txt" "$dir/ours.txt"
}

# What an ordinary user's namespace cannot be: a tmpfs in it shows its owner among its options,
# and `security.insecure` has the capabilities of the namespace and not those of the machine.
ONLY_AS_ROOT='^buildkit/(TestShmSize/01|TestRunSecurityInsecure__security.insecure=granted/01)$'

# The same cases come out the same for an ordinary user with subordinate ids as for root.
conformance_as_ordinary_user() {
  command -v newuidmap >/dev/null || need uidmap
  local counts
  as_ordinary_user "'$SHARED/conformance/run' '$BAKEHOUSE' --jobs $(nproc)" \
    >"$WORK/conformance-rootless.txt" 2>&1 || true
  counts=$(tail -n 1 "$WORK/conformance-rootless.txt")
  say "$counts" >"$NOTE"
  grep -q ' same, ' <<<"$counts"
  comm -13 <(differing "$WORK/conformance.txt") <(differing "$WORK/conformance-rootless.txt") |
    { ! grep -vE "$ONLY_AS_ROOT"; }
}

differing() { # FILE: the names of its cases that are not the same
  grep -oE '^(buildkit|buildah)/[^:]+' "$1" | sort -u
}
