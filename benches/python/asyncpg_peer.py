"""asyncpg beside the pools of benches/src/bin/sql, in turn with them.

Takes the URL of the server; then, for each line `work tasks repeats` on stdin, does that and prints
how many seconds it took. It ends with its stdin.
"""
import asyncio
import sys
import time

import asyncpg

SIZE = 8
ACCOUNTS = 1000
ROWS = 500_000
BALANCE = "SELECT balance FROM accounts WHERE id = $1"
TAKE = "UPDATE accounts SET balance = balance - 1 WHERE id = $1"
GIVE = "UPDATE accounts SET balance = balance + 1 WHERE id = $1"
LINES = "SELECT id, name, line FROM lines LIMIT $1"


async def check_out(pool, _account):
    async with pool.acquire():
        pass


async def query(pool, account):
    async with pool.acquire() as connection:
        await connection.fetchval(BALANCE, account)


async def transfer(pool, account):
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(TAKE, account)
        await connection.execute(GIVE, account + 1)


async def stream(pool, repeats):
    """All columns of each row are looked at."""
    async with pool.acquire() as connection, connection.transaction():
        left = repeats
        while left > 0:
            count = min(left, ROWS)
            read = 0
            async for row in connection.cursor(LINES, count, prefetch=1000):
                _seen = (row[0], row[1], row[2])
                read += 1
            assert read == count
            left -= count


async def repeat(operation, pool, tasks, repeats):
    rounds = -(-repeats // tasks)
    own = ACCOUNTS // tasks

    async def work(task):
        for number in range(rounds):
            await operation(pool, 1 + task * own + number % (own - 1))

    began = time.perf_counter()
    await asyncio.gather(*(work(task) for task in range(tasks)))
    return (time.perf_counter() - began) * repeats / (rounds * tasks)


async def main(url):
    works = {"check-out": check_out, "query": query, "transfer": transfer, "durable": transfer}
    unsynced = {"synchronous_commit": "off"}
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=SIZE) as synced,
        asyncpg.create_pool(url, min_size=1, max_size=SIZE, server_settings=unsynced) as fast,
    ):
        for line in sys.stdin:
            work, tasks, repeats = line.split()
            pool = fast if work == "transfer" else synced
            if work == "rows":
                began = time.perf_counter()
                await stream(pool, int(repeats))
                seconds = time.perf_counter() - began
            else:
                seconds = await repeat(works[work], pool, int(tasks), int(repeats))
            print(seconds, flush=True)


asyncio.run(main(sys.argv[1]))
