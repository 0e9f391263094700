"""Transactions over several requests, by both clients."""

import asyncio
import unittest

from polylite import AsyncDatabaseClient, PolyliteError

from . import server
from .test_client import USERS, WithDatabase

#: The machine that runs the tests may stand still for a while.
PATIENT = {"idle_timeout_ms": 120_000, "max_duration_ms": 300_000}


class Transactions(WithDatabase):
    def names(self):
        return [name for (name,) in self.client.sql(self.name, "SELECT name FROM users ORDER BY id")]

    def test_what_is_committed_is_there_and_not_before(self):
        with self.client.transaction(self.name, **PATIENT) as transaction:
            transaction.sql("INSERT INTO users (id, name) VALUES (?, ?)", [1, "Ann"])
            insert = "INSERT INTO users (id, name) VALUES (2, 'Bob')"
            transaction.batch([insert, "UPDATE users SET age = age + 1"])
            self.assertEqual(transaction.sql("SELECT sum(age) FROM users").scalar(), 38)
            self.assertEqual(self.names(), [])
            self.assertTrue(transaction.is_open)
        self.assertFalse(transaction.is_open)
        self.assertEqual(self.names(), ["Ann", "Bob"])

    def test_an_exception_rolls_back(self):
        with self.assertRaises(ZeroDivisionError):
            with self.client.transaction(self.name, **PATIENT) as transaction:
                transaction.sql("INSERT INTO users (id, name) VALUES (1, 'Ann')")
                print(1 // 0)
        self.assertEqual(self.names(), [])
        with self.client.transaction(self.name, **PATIENT) as transaction:
            transaction.sql("INSERT INTO users (id, name) VALUES (1, 'Ann')")
            transaction.rollback()
        self.assertEqual(self.names(), [])

    def test_documents_belong_to_it(self):
        people = self.client.collection(self.name, "people")
        people.put("ann", {"age": 1})
        with self.client.transaction(self.name, **PATIENT) as transaction:
            within = transaction.collection("people")
            within.patch("ann", {"$inc": {"age": 1}})
            within.insert({"_id": "bob", "age": 5})
            self.assertEqual(within.count({"age": {"$gt": 1}}), 2)
            self.assertEqual(people.get("ann")["age"], 1)
        self.assertEqual((people.get("ann")["age"], people.get("bob")["age"]), (2, 5))

    def test_a_conflict_is_told_and_nothing_is_applied(self):
        self.client.sql(self.name, "INSERT INTO users (id, name, age) VALUES (1, 'Ann', 1)")
        with self.assertRaises(PolyliteError) as caught:
            with self.client.transaction(self.name, **PATIENT) as transaction:
                age = transaction.sql("SELECT age FROM users WHERE id = 1").scalar()
                self.client.sql(self.name, "UPDATE users SET age = 10 WHERE id = 1")
                transaction.sql("UPDATE users SET age = ? WHERE id = 1", [age + 1])
        self.assertEqual(caught.exception.code, "serialization_failure")
        self.assertEqual(self.client.sql(self.name, "SELECT age FROM users").scalar(), 10)

    def test_one_that_reads_sees_one_moment(self):
        with self.client.transaction(self.name, read_only=True, **PATIENT) as transaction:
            self.assertEqual(transaction.sql("SELECT count(*) FROM users").scalar(), 0)
            self.client.sql(self.name, "INSERT INTO users (id, name) VALUES (1, 'Ann')")
            self.assertEqual(transaction.sql("SELECT count(*) FROM users").scalar(), 0)

    def test_one_that_has_not_begun_or_is_over_is_refused(self):
        transaction = self.client.transaction(self.name, **PATIENT)
        with self.assertRaises(ValueError):
            transaction.sql("SELECT 1")
        transaction.begin()
        with self.assertRaises(ValueError):
            transaction.begin()
        transaction.commit()
        with self.assertRaises(ValueError):
            transaction.commit()


class AsyncTransactions(unittest.IsolatedAsyncioTestCase):
    name = "py_async_transactions"

    async def test_async_transactions_commit_and_roll_back(self):
        async with AsyncDatabaseClient(server.url()) as client:
            await client.delete_database(self.name)
            self.assertEqual(await client.create_database(self.name, "SQL", [USERS]), (True, None))
            async with client.transaction(self.name, **PATIENT) as transaction:
                await transaction.sql("INSERT INTO users (id, name) VALUES (1, 'Ann')")
                await transaction.batch(["UPDATE users SET age = 3"])
                await transaction.collection("people").insert({"_id": "ann"})
            self.assertEqual((await client.sql(self.name, "SELECT age FROM users")).scalar(), 3)
            self.assertEqual(await client.collection(self.name, "people").count(), 1)
            with self.assertRaises(asyncio.TimeoutError):
                async with client.transaction(self.name, **PATIENT) as transaction:
                    await transaction.sql("DELETE FROM users")
                    raise asyncio.TimeoutError
            self.assertEqual((await client.sql(self.name, "SELECT count(*) FROM users")).scalar(), 1)
            await client.delete_database(self.name)


if __name__ == "__main__":
    unittest.main()
