"""What needs no server."""

import unittest

from polylite import RetryPolicy, parse_connection_string
from polylite.calls import document_segment
from polylite.errors import CONNECTION_LOST, PolyliteError, lost, of_answer, unreachable
from polylite.retry import may_repeat
from polylite.values import from_json, to_json


class Values(unittest.TestCase):
    def test_values_come_back_as_they_were(self):
        for value in (None, 0, -(2**63), 1.5, "ä\u0000", b"", b"\x00\xff", float("inf"), float("-inf")):
            self.assertEqual(from_json(to_json(value)), value)


class Ids(unittest.TestCase):
    def test_text_that_looks_like_something_else_is_quoted(self):
        for doc_id, expected in (
            (42, "42"),
            (-1, "-1"),
            ("42", "%2242%22"),
            ("-1", "%22-1%22"),
            ("", "%22%22"),
            ("..", "%22..%22"),
            ('"x"', "%22%22x%22%22"),
            ("a/b", "a%2Fb"),
            ("ann", "ann"),
        ):
            self.assertEqual(document_segment(doc_id), expected)


class Retries(unittest.TestCase):
    def test_a_write_is_repeated_only_if_it_was_surely_not_applied(self):
        cut = lost("a", OSError("cut"), reads=False)
        self.assertEqual((cut.code, cut.outcome), (CONNECTION_LOST, "unknown"))
        self.assertFalse(may_repeat(False, cut))
        self.assertTrue(may_repeat(True, lost("a", OSError("cut"), reads=True)))
        self.assertTrue(may_repeat(False, unreachable("a", OSError("refused"))))
        conflict = {
            "error": "x",
            "code": "serialization_failure",
            "retryable": True,
            "outcome": "not_applied",
        }
        self.assertTrue(may_repeat(False, of_answer(409, conflict, False, None)))
        unknown = {"error": "x", "code": "no_quorum", "retryable": True, "outcome": "unknown"}
        self.assertFalse(may_repeat(False, of_answer(503, unknown, False, None)))
        self.assertFalse(may_repeat(False, PolyliteError("x", code="sql_error", status=400)))

    def test_an_answer_that_says_nothing_is_doubted(self):
        self.assertEqual(of_answer(502, None, False, None).outcome, "unknown")
        self.assertEqual(of_answer(404, None, False, None).outcome, "not_applied")

    def test_pauses_grow_to_their_limit(self):
        policy = RetryPolicy()
        for attempt in range(1, 30):
            longest = min(policy.pause_min * 2 ** (attempt - 1), policy.pause_max)
            self.assertTrue(longest / 2 <= policy.pause(attempt, None) <= longest)
        self.assertEqual(policy.pause(1, 3.0), 3.0)
        self.assertEqual(policy.pause(1, 1000.0), policy.pause_max * 10)


class ConnectionStrings(unittest.TestCase):
    def test_parts_are_read(self):
        parts = parse_connection_string("Coordinator=http://a:5000; timeout=10;;")
        self.assertEqual(parts, {"coordinator": "http://a:5000", "timeout": "10"})
        for wrong in ("x", "=1", "a=1;b"):
            with self.assertRaises(ValueError):
                parse_connection_string(wrong)


if __name__ == "__main__":
    unittest.main()
