"""CPython's with, async with, ExitStack and AsyncExitStack: the peers of benches/src/bin/scope.

Managers are class-based, one object is entered again and again, and the body is `pass`: the
fastest form each has. Awaits never suspend, so no event loop is measured.
"""
import asyncio
import sys
from contextlib import AsyncExitStack, ExitStack
from time import perf_counter

import harness

WHO = f"Python {sys.version_info.major}.{sys.version_info.minor}"


class Manager:
    __slots__ = ()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        return None


MANAGER = Manager()


def block(n):
    began = perf_counter()
    for _ in range(n):
        with MANAGER:
            pass
    return perf_counter() - began


def stack(count):
    def operation(n):
        began = perf_counter()
        for _ in range(n):
            with ExitStack() as entered:
                for _ in range(count):
                    entered.enter_context(MANAGER)
        return perf_counter() - began

    return operation


async def async_block(n):
    began = perf_counter()
    for _ in range(n):
        async with MANAGER:
            pass
    return perf_counter() - began


def async_stack(count):
    async def operation(n):
        began = perf_counter()
        for _ in range(n):
            async with AsyncExitStack() as entered:
                for _ in range(count):
                    await entered.enter_async_context(MANAGER)
        return perf_counter() - began

    return operation


def main():
    loop = asyncio.new_event_loop()

    def awaited(operation):
        return lambda n: loop.run_until_complete(operation(n))

    cases = [("sync, 1 manager: `with`", f"{WHO} `with`", block)]
    for count in (1, 10, 1000):
        work = f"sync, {count} in an `ExitStack`"
        cases.append((work, f"{WHO} `ExitStack`", stack(count)))
    work = "async, 1 resource: `async_with`"
    cases.append((work, f"{WHO} `async with`", awaited(async_block)))
    for count in (1, 10, 1000):
        work = f"async, {count} in a `scope`"
        cases.append((work, f"{WHO} `AsyncExitStack`", awaited(async_stack(count))))
    harness.run(cases)
    loop.close()


if __name__ == "__main__":
    main()
