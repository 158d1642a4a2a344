"""Holds the graph and the plan of a real repository against what a correct tool finds.

    audio.py EXPECTED.md GRAPH.json PLAN.json
"""
import json
import re
import sys

expected_text, graph, plan = (open(path).read() for path in sys.argv[1:])
graph, plan = json.loads(graph), json.loads(plan)

nodes = set(re.findall(r"^\| `([a-z-]+)` \|", expected_text, re.M))
edges = set(re.findall(r"^\| ([a-z-]+) \| ([a-z-]+) \| FROM", expected_text, re.M))
assert len(nodes) == 20 and len(edges) == 19, (len(nodes), len(edges))

images = {image["name"]: image for image in graph["images"]}
found = {(edge["image"], edge["needs"]) for edge in graph["edges"]}
assert set(images) == nodes, f"images: missing {nodes - set(images)}, extra {set(images) - nodes}"
assert found == edges, f"edges: missing {edges - found}, extra {found - edges}"
planned = {image["name"] for image in plan["images"]}
assert planned == nodes, f"planned: missing {nodes - planned}"
