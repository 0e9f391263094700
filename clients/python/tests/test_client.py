"""The client against a cluster."""

import threading
import unittest

from polylite import (
    ColumnDefinition,
    DatabaseClient,
    DatabaseType,
    NodeStatus,
    PartitionType,
    PolyliteError,
    RetryPolicy,
    StorageNode,
    TableSchema,
)

from . import server

USERS = TableSchema(
    name="users",
    columns=[
        ColumnDefinition("id", "INTEGER", primary_key=True, nullable=False),
        ColumnDefinition("name", "TEXT", nullable=False),
        ColumnDefinition("age", "INTEGER", default=18),
        ColumnDefinition("photo", "BLOB"),
    ],
    indexes=["name"],
)


class WithDatabase(unittest.TestCase):
    """The tests of a class share a database; each begins with an empty table."""

    db_type = DatabaseType.SQL
    tables = [USERS]

    @classmethod
    def setUpClass(cls):
        cls.client = DatabaseClient(server.url())
        cls.addClassCleanup(cls.client.close)
        cls.name = f"py_{cls.__name__}"
        cls.client.delete_database(cls.name)
        made = cls.client.create_database(cls.name, cls.db_type, cls.tables)
        assert made == (True, None), made
        cls.addClassCleanup(cls.client.delete_database, cls.name)

    def setUp(self):
        if self.tables:
            self.assertTrue(self.client.sql_delete(self.name, "users"))


class Databases(WithDatabase):
    def test_a_database_is_described_as_it_was_declared(self):
        self.assertIn(self.name, self.client.list_databases())
        described = self.client.get_database(self.name)
        self.assertEqual(
            (described.name, described.db_type, described.partition_type),
            (self.name, DatabaseType.SQL, PartitionType.HORIZONTAL),
        )
        self.assertEqual(described.tables, [USERS])

    def test_what_is_refused_says_why(self):
        made, error = self.client.create_database(self.name, DatabaseType.SQL)
        self.assertFalse(made)
        self.assertEqual(error, f"Database '{self.name}' already exists")
        self.assertEqual(
            self.client.delete_database("py_nothing"), (False, "Database 'py_nothing' does not exist")
        )
        self.assertIsNone(self.client.get_database("py_nothing"))
        self.assertEqual(self.client.get_database_partitions("py_nothing"), [])

    def test_partitions_and_nodes_are_told(self):
        nodes = self.client.get_storage_nodes()
        self.assertTrue(nodes and all(node.status is NodeStatus.ACTIVE for node in nodes))
        partitions = self.client.query_router.get_database_partitions(self.name)
        self.assertEqual(len(partitions), 4)
        known = {node.id for node in nodes}
        for partition in partitions:
            self.assertEqual(partition.database_name, self.name)
            self.assertLessEqual(set(partition.storage_nodes), known)
        # Their sizes may have changed in between.
        again = self.client.get_database_partitions(self.name)
        self.assertEqual([one.id for one in partitions], [one.id for one in again])

    def test_further_fields_reach_the_server(self):
        name = self.name + "_mixed"
        self.client.delete_database(name)
        made = self.client.create_database(
            name,
            "SQL",
            [USERS],
            PartitionType.MIXED,
            "id",
            partitions=2,
            column_groups={"person": ["name", "age"], "picture": ["photo"]},
        )
        self.assertEqual(made, (True, None))
        self.addCleanup(self.client.delete_database, name)
        partitions = self.client.get_database_partitions(name)
        self.assertEqual(len(partitions), 4)
        self.assertIn(["users.id", "users.photo"], [sorted(partition.columns) for partition in partitions])


class Rows(WithDatabase):
    def test_rows_are_written_and_read(self):
        inserted = self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann", "age": 30})
        ann = {"id": 1, "name": "Ann", "age": 30, "photo": None}
        self.assertTrue(inserted)
        self.assertEqual((inserted.data, inserted.affected_rows), ([ann], 1))
        photo = bytes(range(256))
        bob = self.client.sql_insert(self.name, "users", {"id": 2, "name": "Bob", "photo": photo}).data[0]
        self.assertEqual(bob, {"id": 2, "name": "Bob", "age": 18, "photo": photo})

        found = self.client.sql_query(self.name, "users", ["name"], {"age": {"$lt": 40}}, "name DESC", 1)
        self.assertEqual(found.data, [{"name": "Bob"}])
        updated = self.client.sql_update(self.name, "users", {"age": 31}, {"name": "Ann"})
        self.assertEqual((updated.data[0]["age"], updated.affected_rows), (31, 1))
        self.assertEqual(self.client.sql_delete(self.name, "users", {"id": 1}).affected_rows, 1)
        self.assertEqual(self.client.sql_query(self.name, "users").data, [bob])

    def test_a_refused_query_tells_its_error(self):
        self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        twice = self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        self.assertFalse(twice.success)
        self.assertEqual(twice.error, "UNIQUE constraint failed: users.id")
        unknown = self.client.sql_query(self.name, "nothing")
        self.assertEqual((unknown.success, unknown.error), (False, "Table 'nothing' does not exist"))

    def test_repeated_reads_come_from_the_cache(self):
        self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        first = self.client.sql_query(self.name, "users")
        second = self.client.sql_query(self.name, "users")
        self.assertEqual((first.cached, second.cached, second.data), (False, True, first.data))
        self.assertGreater(self.client.cache_stats()["hits"], 0)
        self.client.clear_cache()
        self.assertFalse(self.client.sql_query(self.name, "users").cached)

    def test_a_storage_node_can_be_asked_directly(self):
        self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        query = {"operation": "query", "table": "users", "columns": ["name"]}
        for node in self.client.get_storage_nodes():
            answer = self.client.query_router.route_query(self.name, query, direct_node=node)
            self.assertEqual(answer.data, [{"name": "Ann"}], "every node has a replica")

    def test_when_a_storage_node_is_silent_a_coordinator_is_asked(self):
        self.client.sql_insert(self.name, "users", {"id": 1, "name": "Ann"})
        once = DatabaseClient(server.url(), retry=RetryPolicy(attempts_max=1))
        self.addCleanup(once.close)
        nobody = StorageNode("no-such-node", "127.0.0.1", 9)
        query = {"operation": "query", "table": "users", "columns": ["name"]}
        answer = once.query_router.route_query(self.name, query, direct_node=nobody)
        self.assertEqual(answer.data, [{"name": "Ann"}])


class Sql(WithDatabase):
    def test_values_are_bound_and_keep_their_types(self):
        done = self.client.sql(
            self.name, "INSERT INTO users VALUES (?, ?, ?, ?)", [7, "Ann", None, b"\x00\xff"]
        )
        self.assertEqual((done.affected_rows, done.last_insert_rowid), (1, 7))
        found = self.client.sql(
            self.name, "SELECT *, 1.5 AS r, 9e999 AS i FROM users WHERE id = :id", {"id": 7}
        )
        self.assertEqual(found.columns, ["id", "name", "age", "photo", "r", "i"])
        self.assertEqual(found.rows, [[7, "Ann", None, b"\x00\xff", 1.5, float("inf")]])
        self.assertEqual(found.dicts()[0]["name"], "Ann")
        self.assertEqual(self.client.sql(self.name, "SELECT ?", [2**63 - 1]).scalar(), 2**63 - 1)
        self.assertEqual(self.client.sql(self.name, "SELECT ?", [float("-inf")]).scalar(), float("-inf"))

    def test_a_batch_is_applied_as_a_whole_or_not_at_all(self):
        insert = "INSERT INTO users (id, name) VALUES (?, ?)"
        done = self.client.batch(
            self.name, [(insert, [1, "Ann"]), (insert, [2, "Bob"]), "SELECT count(*) FROM users"]
        )
        self.assertEqual(([one.affected_rows for one in done[:2]], done[2].scalar()), ([1, 1], 2))
        with self.assertRaises(PolyliteError) as caught:
            self.client.batch(self.name, [(insert, [3, "Cleo"]), (insert, [1, "Ann"])])
        error = caught.exception
        self.assertEqual((error.code, error.status, error.statement), ("unique_violation", 409, 1))
        self.assertEqual((error.outcome, error.retryable), ("not_applied", False))
        self.assertEqual(self.client.sql(self.name, "SELECT count(*) FROM users").scalar(), 2)
        some = self.client.batch(self.name, [(insert, [1, "Ann"]), (insert, [3, "Cleo"])], atomic=False)
        self.assertEqual([bool(one.error) for one in some], [True, False])

    def test_threads_share_a_client(self):
        failures = []

        def insert(first):
            try:
                for number in range(first, first + 10):
                    self.client.sql(self.name, "INSERT INTO users (id, name) VALUES (?, 'x')", [number])
            except PolyliteError as error:
                failures.append(error)

        threads = [threading.Thread(target=insert, args=(100 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.client.sql(self.name, "SELECT count(*) FROM users").scalar(), 40)


class Documents(WithDatabase):
    db_type = DatabaseType.NOSQL
    tables = None

    def test_query_objects_on_documents(self):
        ids = [
            self.client.nosql_insert(self.name, {"name": name, "age": age}, "people").data["id"]
            for name, age in (("Ann", 35), ("Bob", 25))
        ]
        self.assertEqual(len(set(ids)), 2)
        self.assertEqual(len(self.client.nosql_get(self.name, "people").data), 2)
        updated = self.client.nosql_update(self.name, {"age": 36}, doc_id=ids[0], collection="people")
        self.assertEqual((updated.data["age"], updated.data["name"], updated.affected_rows), (36, "Ann", 1))
        found = self.client.nosql_get(self.name, "people", where={"age": 36})
        self.assertEqual([one["name"] for one in found.data], ["Ann"])
        self.assertEqual(
            self.client.nosql_delete(self.name, doc_id=ids[0], collection="people").affected_rows, 1
        )
        gone = self.client.nosql_get(self.name, "people", doc_id=ids[0])
        self.assertEqual((gone.success, gone.data), (True, None))

    def test_documents_by_id_and_by_filter(self):
        people = self.client.collection(self.name, "guests")
        self.assertIsNone(people.get("ann"), "there is no collection yet")
        self.assertEqual(people.insert({"_id": "ann", "role": "Dev", "age": 30}), "ann")
        ids = people.insert_many(
            [{"_id": 7, "role": "Dev", "age": 50}, {"_id": "7", "role": "Ops", "age": 40}]
        )
        self.assertEqual(ids, [7, "7"])
        self.assertEqual((people.get(7)["role"], people.get("7")["role"]), ("Dev", "Ops"))
        self.assertEqual(people.put("a/b ?", {"x": 1})["x"], 1)
        self.assertEqual(people.get("a/b ?")["_version"], 1)
        self.assertEqual(people.patch("ann", {"$inc": {"age": 1}})["age"], 31)
        found = people.find({"role": "Dev"}, sort={"age": -1}, limit=1, projection={"age": 1})
        self.assertEqual([(one["_id"], one["age"]) for one in found], [(7, 50)])
        self.assertEqual(people.count({"role": "Dev", "age": {"$gt": 40}}), 1)
        updated = people.update({"role": "Dev"}, {"$set": {"role": "Boss"}})
        self.assertEqual((updated.matched, updated.modified), (2, 2))
        self.assertEqual(people.delete_many({"role": "Boss"}), 2)
        self.assertTrue(people.delete("7"))
        self.assertFalse(people.delete("7"))
        self.assertEqual([one["_id"] for one in people.find()], ["a/b ?"])


class Cluster(unittest.TestCase):
    def test_the_next_coordinator_is_asked_when_one_is_gone(self):
        with DatabaseClient(["http://127.0.0.1:9", server.url()]) as client:
            self.assertTrue(client.cluster_status()["is_leader"])
            self.assertIsInstance(client.list_databases(), list)

    def test_nobody_there_is_an_error_that_says_so(self):
        client = DatabaseClient("http://127.0.0.1:9", retry=RetryPolicy(attempts_max=2, pause_min=0.001))
        with self.assertRaises(PolyliteError) as caught:
            client.list_databases()
        self.assertEqual(
            (caught.exception.code, caught.exception.outcome), ("client_unreachable", "not_applied")
        )
        self.assertFalse(client.sql_query("x", "t").success)

    def test_addresses_are_checked(self):
        for wrong in ("localhost:5000", []):
            with self.assertRaises(ValueError):
                DatabaseClient(wrong)


if __name__ == "__main__":
    unittest.main()
