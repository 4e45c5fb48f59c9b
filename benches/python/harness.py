"""The clock of the peers in Python: each case in turn, many times, in one process.

Prints one JSON line per case, as benches/src/lib.rs does. With `--quick` every case runs once.
"""
import gc
import json
import sys

SAMPLE = 0.010  # seconds
ROUNDS = 11


def run(cases):
    """Measures `(work, who, operation)`; `operation(n)` does the work n times and gives seconds."""
    quick = "--quick" in sys.argv[1:]
    gc.disable()
    repeats = [1 if quick else calibrate(operation) for _, _, operation in cases]
    samples = [[] for _ in cases]
    for number in range(1 if quick else ROUNDS):
        order = range(len(cases)) if number % 2 == 0 else reversed(range(len(cases)))
        for index in order:
            seconds = cases[index][2](repeats[index])
            samples[index].append(round(seconds * 1e9 / repeats[index], 1))
        gc.collect()
    for (work, who, _), measured in zip(cases, samples):
        print(json.dumps({"work": work, "who": who, "unit": "ns", "samples": measured}))


def calibrate(operation):
    repeats = 1
    while True:
        seconds = operation(repeats)
        if seconds >= SAMPLE:
            return repeats
        repeats = int(repeats * min(10, max(1.2, SAMPLE / max(seconds, 1e-9)))) + 1
