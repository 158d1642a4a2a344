# The fleet of 18, pushed to a real registry and run by a real Docker Engine.

fleet_to_registry_and_dockerd() {
  local prefix=ci-$$ name began count=0
  SCALE=0.2 "$SHARED/bench/fleet" "$WORK/fleet"
  cd "$WORK/fleet"
  bake fleet build --registry "$REGISTRY/$prefix" --push
  began=$(date +%s%N)
  bake fleet build --registry "$REGISTRY/$prefix" --push
  say "18 images pushed, pulled, run; unchanged again in $((($(date +%s%N) - began) / 1000000)) ms" >"$NOTE"
  while read -r name _; do
    peers docker pull --quiet "$(reference "$prefix" "$name")"
    count=$((count + 1))
  done <order.txt
  ((count == 18))
  for name in services/*/; do
    name=$(basename "$name")
    peers docker run --rm "$(reference "$prefix" "$name")" >"$WORK/said.txt"
    cmp "$WORK/said.txt" "services/$name/app/main.py"
  done
  say "$prefix" >"$WORK/fleet.prefix"
}

# PREFIX NAME: where an image of the fleet is. The fleet's bake file puts `fleet/` before it.
reference() {
  local repository
  for repository in "$1/$2" "$1/fleet/$2"; do
    if manifest_is_there "$repository"; then
      say "$REGISTRY/$repository:latest"
      return
    fi
  done
  say "no manifest of $2 under $REGISTRY/$1" >&2
  return 1
}

manifest_is_there() { # REPOSITORY
  curl -sf -o /dev/null -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
    -H 'Accept: application/vnd.oci.image.index.v1+json' \
    "http://$REGISTRY/v2/$1/manifests/latest"
}

skopeo_reads_what_was_pushed() {
  local image
  image=$(reference "$(<"$WORK/fleet.prefix")" gateway)
  peers exec skopeo inspect --tls-verify=false "docker://$image" | tee "$WORK/inspect.json"
  python3 - "$WORK/inspect.json" <<'PY'
import json, sys
image = json.load(open(sys.argv[1]))
assert image["Os"] == "linux" and len(image["Layers"]) >= 6, image
assert any(e.startswith("FLEET_PYTHON_BASE=") for e in image["Env"]), image["Env"]
PY
  peers exec skopeo copy --src-tls-verify=false "docker://$image" "dir:$WORK/skopeo-copy" >/dev/null
  say "inspected and copied, every digest verified" >"$NOTE"
}
