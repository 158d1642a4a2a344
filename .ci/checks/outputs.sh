# One Dockerfile into files that other tools read, and with packages from the network.

docker_loads_what_was_written() {
  local dir=$WORK/one
  mkdir -p "$dir"
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/busybox:latest
RUN echo "made by a RUN" >/said && echo 'baker:x:1234:1234::/home/baker:/bin/sh' >>/etc/passwd
COPY --chown=1234:1234 note /home/baker/note
USER baker
CMD ["cat", "/said", "/home/baker/note"]
DOCKERFILE
  echo "and a COPY" >"$dir/note"
  bake one build -f "$dir/Dockerfile" --context "$dir" -t ci/loaded:1 \
    --output "type=docker,dest=$dir/docker.tar"
  peers docker load --input "$dir/docker.tar"
  peers docker run --rm ci/loaded:1 >"$dir/said.txt"
  printf 'made by a RUN\nand a COPY\n' | cmp - "$dir/said.txt"

  bake one build -f "$dir/Dockerfile" --context "$dir" --output "type=oci,dest=$dir/oci.tar"
  peers exec skopeo inspect "oci-archive:$dir/oci.tar" >/dev/null
  bake one build -f "$dir/Dockerfile" --context "$dir" --output "type=local,dest=$dir/tree"
  cmp "$dir/note" "$dir/tree/home/baker/note"
  bake one build -f "$dir/Dockerfile" --context "$dir" --output "type=tar,dest=$dir/tree.tar"
  tar -xOf "$dir/tree.tar" said | grep -q 'made by a RUN'
  say "docker, oci, local and tar" >"$NOTE"
}

apt_and_pip_in_a_pulled_base() {
  local dir=$WORK/packages
  mkdir -p "$dir"
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/debian:bookworm-slim AS apt
RUN apt-get update && apt-get install -y --no-install-recommends hello && hello >/greeting

FROM $REGISTRY/library/python:3.11-slim
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/root/.cache/pip pip install idna==3.11
COPY --from=apt /greeting /greeting
CMD ["python", "-c", "import idna; print(open('/greeting').read().strip(), idna.__version__)"]
DOCKERFILE
  bake packages build -f "$dir/Dockerfile" --context "$dir" -t ci/packages:1 \
    --output "type=docker,dest=$dir/docker.tar"
  peers docker load --input "$dir/docker.tar"
  peers docker run --rm ci/packages:1 | tee "$dir/said.txt"
  grep -q 'Hello, world! 3.11' "$dir/said.txt"
  say "$(<"$dir/said.txt")" >"$NOTE"
}

rootless_build() {
  if ! as_ordinary_user_possible; then
    say "skipped: this machine has no user namespaces for ordinary users" >"$NOTE"
    return
  fi
  local dir=$WORK/rootless
  mkdir -p "$dir"
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $REGISTRY/library/busybox:latest
RUN id -u >/who && mkdir -p /srv/app && echo rootless >/srv/app/note && rm -rf /root
COPY Dockerfile /srv/app/
CMD ["cat", "/who", "/srv/app/note"]
DOCKERFILE
  chmod -R a+rX "$dir"
  as_ordinary_user "rm -rf store && BAKEHOUSE_HOME=\$HOME/store NO_COLOR=1 '$BAKEHOUSE' build \
    -f '$dir/Dockerfile' --context '$dir' -t ci/rootless:1 --output type=docker,dest=\$HOME/image.tar"
  cp "$(getent passwd "$CI_USER" | cut -d: -f6)/image.tar" "$dir/image.tar"
  peers docker load --input "$dir/image.tar"
  peers docker run --rm ci/rootless:1 >"$dir/said.txt"
  printf '0\nrootless\n' | cmp - "$dir/said.txt"
  say "built by an ordinary user, run by dockerd" >"$NOTE"
}
