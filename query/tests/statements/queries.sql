CREATE TABLE t (id INTEGER PRIMARY KEY, g TEXT, n INT, r REAL, j TEXT)
INSERT INTO t SELECT value, char(97 + value % 5), value * 7 % 13, value / 4.0, json_object('k', value % 3, 'arr', json_array(value, value % 2)) FROM generate_series(1, 50)
SELECT g, n, row_number() OVER (PARTITION BY g ORDER BY n, id) rn, sum(r) OVER (PARTITION BY g ORDER BY n, id ROWS UNBOUNDED PRECEDING) s FROM t WHERE id % 2 ORDER BY g, rn
SELECT g, max(rn) FROM (SELECT g, row_number() OVER (PARTITION BY g ORDER BY id) rn FROM t) GROUP BY g ORDER BY g
SELECT DISTINCT g, first_value(id) OVER (PARTITION BY g ORDER BY r DESC) f FROM t ORDER BY g
SELECT a.id, b.n FROM t a LEFT JOIN (SELECT g, max(n) n FROM t GROUP BY g) b ON a.g = b.g AND a.n = b.n WHERE b.n IS NOT NULL ORDER BY a.id
SELECT g, (SELECT id FROM t x WHERE x.g = t.g ORDER BY n DESC, id LIMIT 1) best FROM t GROUP BY g ORDER BY g
SELECT g, count(*) n, sum(n) FROM t GROUP BY g ORDER BY n, sum(t.n) DESC
SELECT upper(g) g, avg(n) a FROM t GROUP BY upper(g) HAVING a > 5 ORDER BY a
SELECT count(*), count(DISTINCT g), sum(DISTINCT n), avg(DISTINCT n), group_concat(DISTINCT g) FROM (SELECT * FROM t ORDER BY id)
SELECT json_extract(j, '$.k') k, count(*), json_group_array(id) FROM (SELECT * FROM t ORDER BY id) GROUP BY k ORDER BY k
SELECT t.id, e.value FROM t, json_each(t.j, '$.arr') e WHERE e.value = 1 AND t.id < 20 ORDER BY 1
SELECT sum(e.value) FROM t, json_each(t.j, '$.arr') e WHERE e.key = 0
SELECT id FROM t WHERE id IN (SELECT e.value FROM t, json_each(t.j, '$.arr') e) AND g = 'b' ORDER BY id
SELECT total(n), min(g), max(r), min(id, n), max(g, 'c') FROM t GROUP BY id % 2 ORDER BY 1
WITH RECURSIVE f(i, a, b) AS (SELECT 1, 0, 1 UNION ALL SELECT i + 1, b, a + b FROM f WHERE i < 20) SELECT t.id, a FROM f JOIN t ON t.id = f.a ORDER BY i
WITH RECURSIVE path(id, steps) AS (SELECT 1, 0 UNION SELECT (SELECT n FROM t WHERE t.id = path.id), steps + 1 FROM path WHERE steps < 5) SELECT * FROM path ORDER BY steps
WITH a AS (SELECT g, sum(n) s FROM t GROUP BY g), b AS (SELECT *, rank() OVER (ORDER BY s DESC) k FROM a) SELECT b.g, b.k, t.id FROM b JOIN t ON t.g = b.g AND t.n = (SELECT max(n) FROM t y WHERE y.g = b.g) ORDER BY k, t.id
SELECT g, sum(CASE WHEN n > 6 THEN 1 END) big, sum(n > 6), count(n > 6 OR NULL), avg(n) FILTER (WHERE n > 6) FROM t GROUP BY g ORDER BY g
SELECT (SELECT count(*) FROM t WHERE n > x.n) c, count(*) FROM t x GROUP BY c ORDER BY c LIMIT 4
SELECT x.g, y.g, count(*) FROM t x JOIN t y ON x.n = y.n AND x.id < y.id GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 5
SELECT * FROM t WHERE (g, n) = (SELECT g, max(n) FROM t WHERE g = 'c') ORDER BY id
SELECT * FROM (SELECT g, n FROM t EXCEPT SELECT g, n FROM t WHERE n > 3) ORDER BY 1, 2 LIMIT 5
SELECT g FROM t WHERE n = 1 UNION SELECT g FROM t WHERE n = 2 INTERSECT SELECT g FROM t WHERE n = 3 ORDER BY 1
SELECT id, CASE g WHEN 'a' THEN 'A' WHEN 'b' THEN 'B' END x FROM t WHERE x IS NOT NULL ORDER BY x, id LIMIT 4
SELECT id + 0.0 x FROM t WHERE x BETWEEN 3 AND 5 ORDER BY x DESC
SELECT id FROM t WHERE r IN (1, 2.0, '3') ORDER BY id
SELECT strftime('%Y', '2024-01-01', '+' || id || ' months') y, count(*) FROM t GROUP BY y ORDER BY y
SELECT count(*) FROM t WHERE date('2024-01-01', '+' || id || ' days') BETWEEN date('2024-01-10') AND date('2024-01-01', '+1 month', '-1 day')
SELECT min(date('2024-01-31', '-1 month')), max(strftime('%s', '2024-01-01')), sum(julianday('2024-01-01') > id) FROM t
SELECT id FROM t WHERE unixepoch('2024-01-01') > id AND date('2024-01-01') > g ORDER BY id LIMIT 2
SELECT date('now', '+1 day') > date('now'), count(*) FROM t WHERE date('now') = date('now', '+0 days')
INSERT INTO t (g, n) SELECT g, max(n) + 1 FROM t GROUP BY g ON CONFLICT DO NOTHING RETURNING g, n
INSERT INTO t (id, g) VALUES (3, 'z'), (300, 'z') ON CONFLICT (id) DO UPDATE SET g = excluded.g || t.g WHERE t.n > 1 RETURNING id, g
UPDATE t SET n = x.c FROM (SELECT g, count(*) c FROM t GROUP BY g) x WHERE x.g = t.g AND t.id < 10 RETURNING id, n
UPDATE t SET r = (SELECT avg(n) FROM t y WHERE y.g = t.g AND y.id <= t.id) WHERE id > 45 RETURNING id, r
DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY g ORDER BY id) k FROM t) WHERE k > 8) RETURNING id
DELETE FROM t WHERE EXISTS (SELECT 1 FROM t y WHERE y.n = t.n AND y.id < t.id) RETURNING id
SELECT id, n FROM t ORDER BY id
BEGIN;\nDELETE FROM t WHERE id < 5;\nINSERT INTO t (g) VALUES ('new');\nUPDATE t SET n = (SELECT count(*) FROM t) WHERE g = 'new';\nSELECT g, n FROM t WHERE g = 'new';\nCOMMIT
SELECT count(*), sum(n), max(id) FROM t

CREATE TABLE u (a TEXT COLLATE NOCASE, b INT, PRIMARY KEY (a COLLATE BINARY, b)) WITHOUT ROWID
INSERT INTO u VALUES ('x', 1), ('X', 1), ('x', 2)
SELECT * FROM u ORDER BY a COLLATE BINARY, b
SELECT a, count(*) FROM u GROUP BY a
INSERT OR REPLACE INTO u VALUES ('X', 1)
UPDATE u SET b = b + 1 WHERE a = 'x'
SELECT * FROM u ORDER BY a COLLATE BINARY, b

CREATE TABLE m (id INTEGER PRIMARY KEY, k TEXT, v INT, UNIQUE (k, v))
CREATE TRIGGER m1 BEFORE INSERT ON m WHEN EXISTS (SELECT 1 FROM m WHERE k = NEW.k AND v = NEW.v) BEGIN UPDATE m SET v = v + 100 WHERE k = NEW.k AND v = NEW.v; END
INSERT INTO m (k, v) VALUES ('a', 1), ('a', 1), ('a', 2), ('a', 1)
SELECT * FROM m ORDER BY id
CREATE TRIGGER m2 AFTER UPDATE ON m WHEN NEW.v > 200 BEGIN DELETE FROM m WHERE id = NEW.id; SELECT RAISE(IGNORE); END
INSERT INTO m (k, v) VALUES ('a', 101)
SELECT * FROM m ORDER BY id
UPDATE m SET v = v + 90 WHERE v > 100
SELECT * FROM m ORDER BY id
DROP TRIGGER m1
INSERT OR REPLACE INTO m (k, v) VALUES ('a', 2), ('b', 2) RETURNING id, k
CREATE VIEW mv AS SELECT k, sum(v) s, count(*) c FROM m GROUP BY k
CREATE TRIGGER mvi INSTEAD OF INSERT ON mv BEGIN INSERT INTO m (k, v) SELECT NEW.k, NEW.s; UPDATE m SET v = v - 1 WHERE k <> NEW.k; END
INSERT INTO mv (k, s) VALUES ('c', 5), ('d', 6) RETURNING *
CREATE TRIGGER mvd INSTEAD OF DELETE ON mv WHEN OLD.c > 1 BEGIN DELETE FROM m WHERE k = OLD.k AND v = (SELECT min(v) FROM m WHERE k = OLD.k); END
DELETE FROM mv
UPDATE mv SET s = 1
SELECT * FROM m ORDER BY id
SELECT * FROM mv ORDER BY k
DROP TABLE m
SELECT * FROM mv

CREATE TABLE x (id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)
CREATE TABLE y (id INTEGER PRIMARY KEY AUTOINCREMENT, x INT NOT NULL REFERENCES x ON DELETE RESTRICT ON UPDATE CASCADE)
INSERT INTO x (v) VALUES ('a'), ('b'), ('c')
INSERT INTO y (x) SELECT id FROM x
DELETE FROM x WHERE v = 'a'
INSERT OR REPLACE INTO x (v) VALUES ('a')
UPDATE x SET id = id + 10
SELECT * FROM y ORDER BY id
DELETE FROM y WHERE x = 11
DELETE FROM x WHERE id = 11
INSERT INTO x (v) VALUES ('d') RETURNING id
INSERT INTO x (v) VALUES ('e') RETURNING id
SELECT name, seq FROM sqlite_sequence ORDER BY name
BEGIN;\nINSERT INTO x (v) VALUES ('f');\nINSERT INTO y (x) VALUES (last_insert_rowid());\nINSERT INTO y (x) VALUES (last_insert_rowid());\nCOMMIT
BEGIN;\nINSERT INTO x (v) VALUES ('g');\nINSERT INTO y (x) SELECT last_insert_rowid();\nSELECT changes(), last_insert_rowid();\nCOMMIT
SELECT * FROM x ORDER BY id
SELECT * FROM y ORDER BY id
ALTER TABLE x RENAME TO xx
INSERT INTO xx (v) VALUES ('h') RETURNING id
SELECT name, seq FROM sqlite_sequence ORDER BY name
DROP TABLE y
DELETE FROM xx
INSERT INTO xx (v) VALUES ('i') RETURNING id

CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT COLLATE NOCASE)
CREATE TABLE u (a, b)
INSERT INTO t VALUES (1, 'A'), (2, 'a'), (7, 'b')
INSERT INTO u VALUES (11, 'A  '), (18, 'A')
SELECT t.id FROM t, u UNION SELECT v.b COLLATE RTRIM FROM u v ORDER BY 1 DESC NULLS FIRST
SELECT t.id FROM t UNION SELECT v.b COLLATE RTRIM FROM u v ORDER BY 1
SELECT u.a FROM u UNION SELECT n FROM t ORDER BY 1
SELECT id FROM t UNION SELECT n FROM (SELECT n FROM t) ORDER BY 1
SELECT id FROM t WHERE id > 1 UNION ALL SELECT b COLLATE RTRIM FROM u EXCEPT SELECT 'A'

CREATE TABLE users (id INTEGER PRIMARY KEY, a INT, name TEXT COLLATE NOCASE, level INT)
CREATE TABLE profiles (id INTEGER PRIMARY KEY, a INT, bio TEXT, score REAL)
CREATE TABLE logins (a INT, n INT, at TEXT, PRIMARY KEY (a, n)) WITHOUT ROWID
CREATE INDEX profiles_a ON profiles (a, score)
INSERT INTO users VALUES (1, 1, 'ann', 1), (2, 1, 'Bob', 2), (3, 2, 'cat', NULL), (4, 5, 'ANN', 1), (5, NULL, 'eve', 3), (6, 7, 'fay', 2), (7, 5, 'gus', 9)
INSERT INTO profiles VALUES (1, 1, 'x', 1.5), (3, 2, 'y', -0.1), (4, 5, NULL, 1e15), (6, 7, 'z', 0.3), (8, 5, 'w', 0.1), (9, 1, 'v', NULL)
INSERT INTO logins VALUES (1, 1, '2024-01-01'), (1, 2, '2024-02-01'), (2, 1, '2024-01-05'), (5, 1, 'never'), (7, 3, '2023-12-31')
SELECT id FROM users u WHERE EXISTS (SELECT * FROM profiles p WHERE p.id = u.id AND p.score > 0) ORDER BY id
SELECT id FROM users u WHERE NOT EXISTS (SELECT 1 FROM profiles WHERE profiles.id = u.id)
SELECT name, (SELECT bio FROM profiles p WHERE p.id = users.id) AS b FROM users ORDER BY b, name, id
SELECT name, (SELECT sum(score) FROM profiles p WHERE p.a = u.a), (SELECT count(DISTINCT bio) FROM profiles p WHERE p.a = u.a) FROM users u ORDER BY id
SELECT u.a, count(*), (SELECT max(n) FROM logins l WHERE l.a = u.a) FROM users u GROUP BY u.a HAVING EXISTS (SELECT 1 FROM logins l WHERE l.a = u.a)
SELECT id FROM users WHERE a IN (SELECT a FROM logins WHERE n > 1) OR id IN (SELECT id FROM profiles WHERE score IS NULL)
SELECT id, a IN (SELECT a FROM logins), a NOT IN (SELECT a FROM profiles) FROM users ORDER BY 1
SELECT id FROM users WHERE id NOT IN (SELECT id FROM profiles) ORDER BY id
SELECT id FROM users u WHERE level IN (SELECT n FROM logins WHERE a = u.a) ORDER BY id
SELECT id FROM users u WHERE (SELECT count(*) FROM logins l WHERE l.a = u.a AND l.n <= u.level) > 0 ORDER BY id
SELECT id, (SELECT at FROM logins l WHERE l.a = u.a ORDER BY at DESC LIMIT 1) FROM users u ORDER BY id
SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM profiles p WHERE p.id = u.id AND NOT EXISTS (SELECT 1 FROM logins l WHERE l.a = p.a AND l.n > u.level)) ORDER BY id
SELECT level, count(*), sum((SELECT score FROM profiles p WHERE p.id = u.id)) FROM users u WHERE EXISTS (SELECT 1 FROM profiles WHERE id = u.id) GROUP BY level ORDER BY level
SELECT u.id, p.id FROM users u JOIN profiles p ON p.id = u.id WHERE EXISTS (SELECT 1 FROM users v WHERE v.id = p.id AND v.level > 1)
SELECT u.id FROM users u LEFT JOIN profiles p ON p.id = u.id AND p.score > 1 WHERE NOT EXISTS (SELECT 1 FROM users v WHERE v.id = p.id) ORDER BY u.id
SELECT (SELECT sum(u.level) FROM profiles p WHERE p.id = 1) FROM users u
SELECT count(*) FROM users u WHERE (SELECT name FROM users v WHERE v.id = u.id) = 'ann'
SELECT id FROM users u WHERE EXISTS (SELECT max(p.score) FROM profiles p WHERE p.id = u.id) ORDER BY id
SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM profiles p WHERE p.id = u.id LIMIT 0) OR EXISTS (SELECT 1 FROM profiles p WHERE p.id = u.id ORDER BY score LIMIT 1)
SELECT id, (SELECT abs(-9223372036854775807 - p.id) FROM profiles p WHERE p.id = u.id AND u.id > 1) FROM users u
