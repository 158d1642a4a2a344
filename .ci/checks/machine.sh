# The machine: packages that checks need, an ordinary user, the peers.

# COMMAND...: installs the Debian packages of the same names where a command is missing.
need() {
  local name missing=()
  for name in "$@"; do command -v "$name" >/dev/null || missing+=("$name"); done
  ((${#missing[@]} == 0)) && return
  say "installing ${missing[*]}"
  apt-get update -qq >/dev/null
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The peers' root gets the folder mounted from which they are called: always the same one.
peers() {
  (cd "$TOP" && "$PEERS" "$@")
}

start_peers() {
  local status
  peers install >"$WORK/peers.log" 2>&1
  status=$(peers status 2>/dev/null || true)
  if [[ $status == *"registry: up"* ]]; then
    say "peers are up already and will be left so"
    peers start >>"$WORK/peers.log" 2>&1
  else
    started_peers=yes
    peers start >>"$WORK/peers.log" 2>&1 || { tail "$WORK/peers.log"; return 1; }
  fi
}

# NAME ARG...: bakehouse with a store of its own.
bake() {
  local store=$1
  shift
  BAKEHOUSE_HOME=$WORK/home/$store NO_COLOR=1 timeout 900 "$BAKEHOUSE" "$@"
}

CI_USER=bakehouse-ci

as_ordinary_user_possible() {
  ((EUID == 0)) && command -v useradd su unshare >/dev/null || return 1
  if ! id "$CI_USER" >/dev/null 2>&1; then
    useradd --create-home "$CI_USER" || return 1
    made_user=yes
  fi
  as_ordinary_user "unshare --user --map-root-user true" 2>/dev/null
}

as_ordinary_user() { # SHELL-WORDS
  su "$CI_USER" -s /bin/sh -c "cd && $1" </dev/null
}
