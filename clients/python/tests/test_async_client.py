"""The asynchronous client against a cluster."""

import asyncio
import inspect
import unittest

from polylite import (
    AsyncCollection,
    AsyncDatabaseClient,
    AsyncQueryRouter,
    AsyncTransaction,
    Collection,
    DatabaseClient,
    PolyliteError,
    QueryRouter,
    RetryPolicy,
    StorageNode,
    Transaction,
)

from . import server
from .test_client import USERS


class Mirror(unittest.TestCase):
    def test_both_clients_have_the_same_calls(self):
        for one, other in (
            (DatabaseClient, AsyncDatabaseClient),
            (Collection, AsyncCollection),
            (QueryRouter, AsyncQueryRouter),
            (Transaction, AsyncTransaction),
        ):
            calls = [name for name in vars(one) if not name.startswith("_")]
            self.assertEqual(calls, [name for name in vars(other) if not name.startswith("_")])
            for name in filter(lambda name: inspect.isfunction(getattr(one, name)), calls):
                mine, theirs = (inspect.signature(getattr(kind, name)) for kind in (one, other))
                self.assertEqual(mine.parameters, theirs.parameters, name)


class AgainstACluster(unittest.IsolatedAsyncioTestCase):
    name = "py_async"

    async def asyncSetUp(self):
        self.client = AsyncDatabaseClient(server.url())
        self.addAsyncCleanup(self.client.close)
        if self.name not in await self.client.list_databases():
            self.assertEqual(await self.client.create_database(self.name, "SQL", [USERS]), (True, None))
        await self.client.sql(self.name, "DELETE FROM users")

    async def test_async_databases_are_made_and_dropped(self):
        name = "py_async_short"
        self.assertEqual(await self.client.create_database(name, "NOSQL"), (True, None))
        self.assertFalse((await self.client.create_database(name, "NOSQL"))[0])
        self.assertEqual(await self.client.delete_database(name), (True, None))
        self.assertIsNone(await self.client.get_database(name))

    async def test_async_rows_sql_and_documents(self):
        inserted = await self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        self.assertEqual(inserted.affected_rows, 1)
        self.assertEqual((await self.client.sql_query(self.name, "users", ["name"])).data, [{"name": "Ann"}])
        self.assertTrue((await self.client.sql_query(self.name, "users", ["name"])).cached)
        self.assertEqual((await self.client.sql(self.name, "SELECT name FROM users")).rows, [["Ann"]])
        people = self.client.collection(self.name, "people")
        self.assertEqual(await people.insert({"_id": "ann", "tags": ["a"]}), "ann")
        self.assertEqual((await people.get("ann"))["tags"], ["a"])
        self.assertIsNone(await people.get("bob"))
        self.assertEqual(await people.count(), 1)
        self.assertIn(self.name, await self.client.list_databases())
        self.assertEqual((await self.client.get_database(self.name)).tables[0], USERS)
        self.assertEqual(len(await self.client.get_database_partitions(self.name)), 4)

    async def test_async_requests_run_at_the_same_time(self):
        insert = "INSERT INTO users (id, name) VALUES (?, 'x')"
        await asyncio.gather(*(self.client.sql(self.name, insert, [number]) for number in range(40)))
        self.assertEqual((await self.client.sql(self.name, "SELECT count(*) FROM users")).scalar(), 40)

    async def test_async_errors_are_told(self):
        with self.assertRaises(PolyliteError) as caught:
            await self.client.sql(self.name, "SELECT * FROM absent")
        self.assertEqual((caught.exception.status, caught.exception.message), (400, "no such table: absent"))
        refused = await self.client.sql_insert(self.name, "users", {"id": 1})
        self.assertEqual(refused.error, "NOT NULL constraint failed: users.name")

    async def test_async_direct_queries_fall_back_to_a_coordinator(self):
        await self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        query = {"operation": "query", "table": "users", "columns": ["name"]}
        nodes = await self.client.get_storage_nodes()
        async with AsyncDatabaseClient(server.url(), retry=RetryPolicy(attempts_max=1)) as once:
            for node in [*nodes, StorageNode("no-such-node", "127.0.0.1", 9)]:
                answer = await once.query_router.route_query(self.name, query, direct_node=node)
                self.assertEqual(answer.data, [{"name": "Ann"}])

    async def test_a_request_that_is_cancelled_leaves_no_answer_behind(self):
        await self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n, users"
        asked = asyncio.ensure_future(self.client.sql(self.name, slow))
        done, _ = await asyncio.wait([asked], timeout=0.2)
        self.assertFalse(done)
        asked.cancel()
        self.assertEqual((await self.client.sql(self.name, "SELECT 1")).scalar(), 1)


if __name__ == "__main__":
    unittest.main()
