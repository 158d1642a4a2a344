"""Writes a fleet of 1,000 bake targets in three levels below one folder: FOLDER BASE."""

import pathlib
import sys

folder, base = pathlib.Path(sys.argv[1]), sys.argv[2]
out = [
    'variable "TAG" { default = "1.0" }',
    'variable "REGISTRY" { default = "registry.example/acme" }',
    'target "_common" {\n  context = "."\n  labels = { "org.opencontainers.image.version" = TAG }\n}',
]
names = [f"svc{i}" for i in range(1000)]
for i, name in enumerate(names):
    own = folder / "services" / name
    own.mkdir(parents=True)
    parent = base if i < 20 else f"registry.example/acme/svc{i % 20 if i < 200 else 20 + i % 180}:1.0"
    (own / "Dockerfile").write_text(
        f"FROM {parent}\nARG VERSION\nCOPY services/{name}/main.py /app/\n"
        'RUN echo "$VERSION" >/version\nCMD ["/app/main.py"]\n'
    )
    (own / "main.py").write_text(f"print({i})\n")
    out.append(
        f'target "{name}" {{\n  inherits = ["_common"]\n  dockerfile = "services/{name}/Dockerfile"\n'
        f'  args = {{ VERSION = "${{TAG}}-{i}" }}\n  tags = ["${{REGISTRY}}/{name}:${{TAG}}"]\n}}'
    )
members = ", ".join(f'"{name}"' for name in names)
out.append(f'group "default" {{\n  targets = [{members}]\n}}')
(folder / "docker-bake.hcl").write_text("\n\n".join(out) + "\n")
