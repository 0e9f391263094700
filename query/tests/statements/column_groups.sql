CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b, c TEXT)
INSERT INTO t (a, b, c) VALUES (1, 2, 'x'), (3, 4, 'y') RETURNING id
SELECT * FROM sqlite_sequence
INSERT INTO t (id, a) VALUES (10, 1)
DELETE FROM t WHERE id = 10
INSERT INTO t (a, b) SELECT b, a FROM t RETURNING *
SELECT * FROM sqlite_sequence
INSERT OR IGNORE INTO t (id, a) VALUES (1, 5), (NULL, 6) RETURNING id
SELECT * FROM t ORDER BY id
UPDATE t SET a = a + 1, c = 'z' WHERE id > 10
DELETE FROM t WHERE id = (SELECT max(id) FROM t)
INSERT INTO t (c) VALUES ('last') RETURNING *
SELECT name, seq FROM sqlite_sequence
ALTER TABLE t RENAME TO u
SELECT name, seq FROM sqlite_sequence
INSERT INTO u (a) VALUES ('r') RETURNING id
DELETE FROM u
INSERT INTO u (a) VALUES ('s') RETURNING id
BEGIN;\nCREATE TABLE w (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b, c);\nINSERT INTO w VALUES (7, 1, 2, 3);\nINSERT INTO w (a) VALUES (4);\nCOMMIT
SELECT * FROM w
SELECT name, seq FROM sqlite_sequence ORDER BY name
DROP TABLE u
SELECT name, seq FROM sqlite_sequence ORDER BY name
REPLACE INTO w (id, a, b) VALUES (7, 'n', 'm')
INSERT INTO w (a, b) VALUES (5, 6) ON CONFLICT (id) DO UPDATE SET a = 0 RETURNING *
SELECT * FROM w ORDER BY 1
INSERT INTO w (id, a) VALUES (9223372036854775807, 'end')
SELECT count(*) FROM w

CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT, c AS (a || '-' || b), d REAL, e AS (upper(b)) STORED, f AS (c || e || d))
INSERT INTO t (a, b, d) VALUES (1, 'x', 1.5), (2, 'y', 2), (3, NULL, 3) RETURNING *
SELECT * FROM t
SELECT c FROM t WHERE id = 2
SELECT f, id FROM t WHERE c = '1-x'
SELECT e FROM t WHERE e > 'A'
SELECT count(*), max(c), min(f) FROM t
UPDATE t SET b = 'q' WHERE id = 1 RETURNING *
UPDATE t SET c = 1
INSERT INTO t (c) VALUES (1)
UPDATE t SET a = length(f) WHERE c IS NOT NULL
SELECT * FROM t ORDER BY f DESC
SELECT x.c, y.f FROM t x JOIN t y ON x.c = y.c ORDER BY 1
DELETE FROM t WHERE f IS NULL RETURNING c, f
CREATE UNIQUE INDEX by_c ON t (c)
CREATE INDEX by_e ON t (e)
INSERT INTO t (a, b, d) SELECT a, b, 9 FROM t
INSERT INTO t (a, b, d) SELECT a, b, 9 FROM t WHERE true ON CONFLICT (c) DO UPDATE SET d = excluded.d
INSERT OR REPLACE INTO t (a, b, d) SELECT a, b, 19 FROM t
SELECT * FROM t
SELECT * FROM pragma_table_xinfo('t')
SELECT * FROM t INDEXED BY by_e WHERE e = 'Q'
ALTER TABLE t ADD COLUMN g AS (a + d)
ALTER TABLE t ADD COLUMN h TEXT AS (e) NOT NULL
ALTER TABLE t ADD COLUMN i AS (nullif(b, 'y') || a) NOT NULL
ALTER TABLE t ADD COLUMN j AS (b || a) CHECK (j <> 'y4')
SELECT * FROM t
SELECT h FROM t
ALTER TABLE t RENAME COLUMN b TO bb
SELECT f, g, h FROM t
ALTER TABLE t DROP COLUMN bb
ALTER TABLE t DROP COLUMN g
ALTER TABLE t RENAME TO t2
INSERT INTO t2 (a, bb) VALUES (8, 'eight') RETURNING *
SELECT * FROM t2 ORDER BY id
BEGIN;\nALTER TABLE t2 ADD COLUMN k AS (d || c);\nUPDATE t2 SET d = 4 WHERE id = 1;\nSELECT * FROM t2 ORDER BY id;\nCOMMIT
DROP INDEX by_c
ALTER TABLE t2 DROP COLUMN k
SELECT * FROM t2 ORDER BY id
DROP TABLE t2

CREATE TABLE t (a TEXT, b TEXT, c TEXT AS (a || b) UNIQUE CHECK (c <> 'ab') NOT NULL, d, e INT AS (d * 2) STORED UNIQUE)
INSERT INTO t (a, b, d) VALUES ('a', 'a', 1), ('b', 'a', 2)
INSERT INTO t (a, b, d) VALUES ('a', 'b', 1)
INSERT INTO t (a, b, d) VALUES ('a', NULL, 1)
INSERT INTO t (a, b, d) VALUES ('', 'ba', 7)
INSERT INTO t (a, b, d) VALUES ('z', 'z', 1)
INSERT OR IGNORE INTO t (a, b, d) VALUES ('', 'ba', 7), ('m', 'm', 3)
UPDATE t SET b = 'm', a = 'm' WHERE d = 1
UPDATE t SET d = d + 1 WHERE a = 'b'
UPDATE OR REPLACE t SET d = d + 1 WHERE a = 'b'
REPLACE INTO t (a, b, d) VALUES ('b', 'a', 100)
SELECT rowid, * FROM t ORDER BY rowid
SELECT c, count(*) FROM t GROUP BY c COLLATE NOCASE
WITH x AS (SELECT c, e FROM t) SELECT * FROM x JOIN t USING (e) ORDER BY 1

CREATE TABLE t (a TEXT COLLATE NOCASE, b INT, c, d AS (b || c || a) STORED, e, PRIMARY KEY (a, b)) WITHOUT ROWID
INSERT INTO t (a, b, c, e) VALUES ('x', 1, 'c1', 'e1'), ('Y', 2, 'c2', 'e2')
SELECT * FROM t
SELECT d FROM t WHERE a = 'y'
SELECT d, e FROM t WHERE e = 'e1'
UPDATE t SET a = 'X' WHERE e = 'e1'
SELECT d, e, a FROM t ORDER BY a
DELETE FROM t WHERE d LIKE '%x'
SELECT * FROM t

CREATE TABLE s (id INTEGER PRIMARY KEY, a INT, b ANY, c TEXT AS (a || b), d ANY AS (b), e BLOB) STRICT
INSERT INTO s (a, b, e) VALUES (1, '2', x'00'), (2, 2, NULL), (3, 2.0, NULL)
SELECT *, typeof(d) FROM s
ALTER TABLE s ADD COLUMN f INT AS (b || a)
ALTER TABLE s ADD COLUMN g INT AS (e)
ALTER TABLE s ADD COLUMN h ANY AS (coalesce(e, b))
SELECT *, typeof(h) FROM s
UPDATE s SET b = 'x' WHERE a = 1

CREATE TABLE t (a TEXT, b TEXT, c, d, PRIMARY KEY (a COLLATE NOCASE, b))
INSERT INTO t VALUES ('x', 'y', 1, 2), ('X', 'Y', 3, 4)
INSERT INTO t VALUES ('X', 'y', 5, 6)
INSERT INTO t VALUES ('X', 'y', 5, 6) ON CONFLICT (a COLLATE NOCASE, b) DO UPDATE SET c = excluded.c, a = excluded.a
REPLACE INTO t VALUES ('x', 'Y', 7, 8)
SELECT * FROM t ORDER BY b
UPDATE t SET b = 'y'
SELECT a, c FROM t WHERE a = 'x'

CREATE TABLE t (a TEXT, b TEXT, c, d, PRIMARY KEY (a COLLATE NOCASE DESC)) WITHOUT ROWID
INSERT INTO t VALUES ('x', 'y', 1, 2), ('b', 'Y', 3, 4), ('M', 0, 0, 0)
INSERT INTO t VALUES ('X', 'y', 5, 6)
INSERT INTO t VALUES ('X', 'y', 5, 6) ON CONFLICT (a) DO UPDATE SET c = excluded.c, a = excluded.a
INSERT INTO t VALUES ('X', 'y', 5, 6) ON CONFLICT (a COLLATE NOCASE) DO UPDATE SET c = excluded.c, a = excluded.a
SELECT * FROM t
REPLACE INTO t VALUES ('m', 'Y', 7, 8), ('n', 1, 2, 3)
SELECT * FROM t
UPDATE t SET a = 'B' WHERE a = 'b'
UPDATE t SET a = 'X' WHERE a = 'n'
UPDATE OR IGNORE t SET a = 'X' WHERE a = 'n'
UPDATE OR REPLACE t SET a = 'x' WHERE a = 'n'
DELETE FROM t WHERE a = 'B' RETURNING *
SELECT a, d FROM t WHERE a > 'a' COLLATE NOCASE
SELECT count(*), max(a) FROM t
CREATE UNIQUE INDEX i ON t (c, d)
INSERT INTO t VALUES ('k', 1, 7, 8)
INSERT OR IGNORE INTO t VALUES ('k', 1, 7, 8), ('M', 1, 1, 1)
ALTER TABLE t ADD COLUMN e AS (d || b)
ALTER TABLE t RENAME TO u
SELECT * FROM u ORDER BY a

CREATE TABLE t (id INTEGER PRIMARY KEY, doc TEXT, "order" TEXT, [n m] REAL, k TEXT COLLATE NOCASE, g1 TEXT GENERATED ALWAYS AS (json_extract(doc, '$.x')) VIRTUAL, g2 AS (doc ->> 'y'), g3 AS (CASE WHEN "order" LIKE 'a!%%' ESCAPE '!' THEN -1 WHEN k BETWEEN 'A' AND 'm' THEN x'00ff' ELSE "order" IN (k, 'z') END), g4 INT AS (CAST([n m] AS INT) % 3 + -id) STORED, g5 AS (t."order" = k) /* it's */, g6 TEXT COLLATE RTRIM AS (k || ' ') -- end\n, g7 AS (g6 = "order" COLLATE NOCASE), g8 AS (iif("n m" IS NULL, 'none', round([n m], 1))))
INSERT INTO t (doc, "order", [n m], k) VALUES ('{"x":1,"y":"why"}', 'a%b', 2.55, 'Q'), ('{}', 'B', 7, 'b'), ('{"x":[1,2]}', 'z', NULL, 'zz'), ('{"x":null,"y":1.0}', '', -0.0, NULL)
SELECT * FROM t
SELECT g1, typeof(g2) FROM t ORDER BY g4
SELECT id FROM t WHERE g5
SELECT id, g7 FROM t WHERE g6 = 'q'
SELECT g3, count(*) FROM t GROUP BY g3
CREATE INDEX i1 ON t (g2)
CREATE INDEX i2 ON t (g3, g1)
CREATE INDEX i3 ON t (lower(g6)) WHERE g8 IS NOT NULL
SELECT id FROM t WHERE g2 = 'why'
UPDATE t SET doc = json_set(doc, '$.y', id), "order" = k RETURNING *
SELECT * FROM t WHERE g5 IS NOT NULL ORDER BY g8, id
UPDATE t SET k = NULL WHERE g4 < 0
ALTER TABLE t RENAME COLUMN "order" TO "group"
ALTER TABLE t RENAME COLUMN "n m" TO nm
ALTER TABLE t RENAME COLUMN g6 TO g66
SELECT * FROM t
ALTER TABLE t DROP COLUMN g7
ALTER TABLE t DROP COLUMN g66
ALTER TABLE t DROP COLUMN g8
ALTER TABLE t DROP COLUMN nm
ALTER TABLE t RENAME TO "t 2"
SELECT * FROM "t 2"
INSERT INTO "t 2" (doc, k) VALUES ('{"y":2}', 'new')
INSERT INTO "t 2" (doc, k) VALUES ('{bad', 'new')
SELECT k FROM "t 2" WHERE k = 'new'
CREATE VIEW v AS SELECT g1, g2, g3 FROM "t 2"
SELECT * FROM v
CREATE TRIGGER tr AFTER UPDATE ON "t 2" WHEN OLD.g2 IS NOT NEW.g2 BEGIN UPDATE "t 2" SET k = NEW.g2 || OLD.g2 WHERE id = NEW.id; END
UPDATE "t 2" SET doc = '{"y":"q"}' WHERE id < 3
SELECT * FROM "t 2"
CREATE TABLE c AS SELECT * FROM "t 2"
SELECT * FROM c

CREATE TABLE p (a INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT, c TEXT AS (b || a) UNIQUE, d)
CREATE TABLE ch (id INTEGER PRIMARY KEY, x TEXT REFERENCES p (c) ON UPDATE CASCADE ON DELETE SET NULL, y, z)
INSERT INTO p (b, d) VALUES ('p', 1), ('q', 2)
INSERT INTO ch (x, y) VALUES ('p1', 1), ('q2', 2)
INSERT INTO ch (x, y) VALUES ('p2', 1)
UPDATE p SET b = 'r' WHERE a = 1
SELECT * FROM ch
DELETE FROM p WHERE b = 'q'
SELECT * FROM ch
SELECT * FROM p

CREATE TABLE a (x, y, z, s AS (x + y + z) STORED)
INSERT INTO a (x, y, z) VALUES (1, 2, 3), (4, 5, 6), (NULL, 1, 1)
ALTER TABLE a DROP COLUMN z
ALTER TABLE a DROP COLUMN s
ALTER TABLE a DROP COLUMN z
ALTER TABLE a ADD COLUMN s AS (x || y)
ALTER TABLE a ADD COLUMN w DEFAULT 5
ALTER TABLE a ADD COLUMN v AS (w || y || s)
UPDATE a SET y = y + 1, w = w + 1 WHERE s IS NOT NULL
SELECT rowid, * FROM a
SELECT v FROM a WHERE w = 6
BEGIN;\nDELETE FROM a WHERE x = 1;\nALTER TABLE a DROP COLUMN v;\nALTER TABLE a ADD COLUMN u AS (x * w) NOT NULL;\nCOMMIT
BEGIN;\nDELETE FROM a WHERE x IS NULL;\nALTER TABLE a DROP COLUMN v;\nALTER TABLE a ADD COLUMN u AS (x * w) NOT NULL;\nINSERT INTO a (x, y) VALUES (7, 8);\nCOMMIT
SELECT rowid, * FROM a
INSERT INTO a (y) VALUES (1)
PRAGMA table_info(a)
PRAGMA table_xinfo(a)
