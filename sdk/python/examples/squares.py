"""Hands work in and prints results as they come.

python squares.py 127.0.0.1:7370,127.0.0.1:7371
"""

import sys

import folkmoot.sync

SCRIPT = """
def part(item):
    return item * item
"""

if __name__ == "__main__":
    with folkmoot.sync.connect(sys.argv[1], "squares") as session:
        job = session.submit(SCRIPT, items=list(range(10)), max_attempts=1)
        total = 0
        for result in job.results():
            print(f"part {result.part} by {result.worker}: {result.result}")
            total += result.result
        print(f"job {job.state}: {total}")
