"""The usual recipe for replacing a file durably: the peer of benches/src/bin/os.rs."""
import os
import sys
import tempfile
from time import perf_counter

import harness

WHO = f"Python {sys.version_info.major}.{sys.version_info.minor}, the usual recipe with fsync"
SIZES = (("4 KiB", 4 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20))


def replace(folder, target, data):
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def operation(folder, size):
    target, data = os.path.join(folder, "target"), b"x" * size

    def run(n):
        began = perf_counter()
        for _ in range(n):
            replace(folder, target, data)
        return perf_counter() - began

    return run


def main():
    with tempfile.TemporaryDirectory() as folder:
        harness.run([
            (f"replace a file of {name}, durably", WHO, operation(folder, size))
            for name, size in SIZES
        ])


if __name__ == "__main__":
    main()
