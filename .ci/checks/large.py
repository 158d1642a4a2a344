"""Writes a context as large as a real one with its packages: FOLDER [FILES]. 27,000 files in 5,800 folders, 170 MB."""

import pathlib
import random
import sys

folder, files = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 27_000
chance = random.Random(4)
words = ["import", "return", "self", "value", "config", "request", "None", "result", "(", ")", ":", "=", "\n    ", "\n"]
text = " ".join(chance.choice(words) + str(chance.randrange(100)) for _ in range(200_000)).encode()
noise = chance.randbytes(2_000_000)
parents = ["."]
for index in range(files):
    if index % 5 == 0 or index < 20:
        depth = chance.randrange(1, 6)
        parent = chance.choice(parents[-200:])
        parent = parent if parent.count("/") < depth else "."
        parents.append(f"{parent}/package{index}")
        (folder / parents[-1]).mkdir(parents=True, exist_ok=True)
    size = min(int(chance.lognormvariate(7.6, 1.5)), 2_000_000)
    source = noise if index % 10 == 0 else text
    begin = chance.randrange(max(1, len(source) - size))
    (folder / chance.choice(parents[-40:]) / f"module{index}.py").write_bytes(source[begin : begin + size])
(folder / "Dockerfile").write_text("FROM scratch\nCOPY . /src\n")
