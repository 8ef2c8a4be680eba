import os
import re

DECLARED = re.compile(rb"(func|type|var|const) (\([^)]*\) )?[A-Z]")
BLOCK = (b"type (", b"var (", b"const (")


def count(path):
    """Lines and exported top-level names of one Go file."""
    lines = exported = 0
    block = False
    with open(path, "rb") as f:
        for line in f:
            lines += 1
            if block:
                if line[:1] == b")":
                    block = False
                elif line[:1] == b"\t" and b"A" <= line[1:2] <= b"Z":
                    exported += 1
            elif line.rstrip() in BLOCK:
                block = True
            elif DECLARED.match(line):
                exported += 1
    return lines, exported


def part(item):
    """One part: {"root": directory, "packages": [path, ...]}."""
    result = {}
    for package in item["packages"]:
        folder = os.path.join(item["root"], package)
        row = {"files": 0, "lines": 0, "exported": 0}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".go") and not name.endswith("_test.go"):
                lines, exported = count(os.path.join(folder, name))
                row["files"] += 1
                row["lines"] += lines
                row["exported"] += exported
        result[package] = row
        print(package, row["lines"], "lines")
    return result
