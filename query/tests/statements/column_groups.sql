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
ALTER TABLE t RENAME TO u
SELECT * FROM u ORDER BY a
