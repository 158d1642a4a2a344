# The first command of the README, as whoever runs this and as an ordinary user.

demo_as_is() {
  bake demo demo | tee "$WORK/demo.txt"
  demo_says_enough "$WORK/demo.txt"
}

demo_as_ordinary_user() {
  as_ordinary_user "rm -rf store && BAKEHOUSE_HOME=\$HOME/store NO_COLOR=1 '$BAKEHOUSE' demo" \
    | tee "$WORK/demo-rootless.txt"
  demo_says_enough "$WORK/demo-rootless.txt"
}

# FILE: all images were built, one of them spoke, and one file's change was explained.
demo_says_enough() {
  grep -q 18 "$1"
  grep -q 'turns speech into text' "$1"
  grep -q 'services/stt/app/main.sh' "$1"
}
