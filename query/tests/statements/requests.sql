CREATE TABLE p (id INTEGER PRIMARY KEY, a UNIQUE)
CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p, u REFERENCES p (a) ON DELETE SET NULL, v)
CREATE TABLE d (id INTEGER PRIMARY KEY, p INT REFERENCES p DEFERRABLE INITIALLY DEFERRED)
PRAGMA defer_foreign_keys
PRAGMA defer_foreign_keys=ON
PRAGMA defer_foreign_keys
INSERT INTO c (p) VALUES (1)
BEGIN;\nPRAGMA defer_foreign_keys;\nPRAGMA defer_foreign_keys=ON;\nPRAGMA defer_foreign_keys;\nINSERT INTO c VALUES (1, 10, 'x', 1), (2, 11, NULL, 2);\nINSERT INTO p VALUES (11, 'y');\nINSERT INTO p VALUES (10, 'x');\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nINSERT INTO c VALUES (3, 12, NULL, 3);\nINSERT INTO p VALUES (13, 'z');\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nPRAGMA defer_foreign_keys=OFF;\nINSERT INTO c VALUES (3, 12, NULL, 3);\nINSERT INTO p VALUES (12, 'z');\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=yes;\nINSERT INTO c VALUES (3, 12, NULL, 3);\nPRAGMA defer_foreign_keys(0);\nINSERT INTO c VALUES (4, 12, NULL, 3);\nINSERT INTO p VALUES (12, 'z');\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=1;\nINSERT INTO c VALUES (3, 12, NULL, 3);\nPRAGMA defer_foreign_keys=no;\nINSERT INTO p VALUES (12, 'z');\nSELECT count(*) FROM c;\nPRAGMA defer_foreign_keys;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nDELETE FROM p WHERE id > 10;\nSELECT count(*), changes(), total_changes() FROM p;\nINSERT INTO p VALUES (11, 'yy'), (12, 'zz');\nCOMMIT
BEGIN;\nDELETE FROM p WHERE id > 10;\nINSERT INTO p VALUES (11, 'yy'), (12, 'zz');\nPRAGMA defer_foreign_keys=ON;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nUPDATE p SET id = id + 100;\nUPDATE c SET p = p + 100, v = v + 1;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nUPDATE p SET a = a || '!' WHERE id = 110;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nUPDATE p SET a = a || '!' WHERE id = 110;\nUPDATE c SET u = u || '!';\nINSERT INTO d (p) VALUES (500);\nREPLACE INTO p VALUES (500, 'x!');\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nINSERT OR REPLACE INTO p VALUES (110, 'new');\nINSERT INTO c (p, u) VALUES (111, 'new') ON CONFLICT DO NOTHING;\nSELECT id, u FROM c ORDER BY id;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nDROP TABLE p;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nDROP TABLE p;\nCREATE TABLE p (id INTEGER PRIMARY KEY, a UNIQUE);\nINSERT INTO p VALUES (110, 1), (111, 2), (112, 3), (500, 4);\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nCREATE TABLE a_child (id INTEGER PRIMARY KEY, z INT REFERENCES z_parent);\nINSERT INTO a_child VALUES (1, 7), (2, 8);\nCREATE TABLE z_parent (id INTEGER PRIMARY KEY);\nINSERT INTO z_parent VALUES (7);\nINSERT INTO z_parent VALUES (8);\nSELECT count(*) FROM a_child JOIN z_parent ON z = z_parent.id;\nCOMMIT
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nCREATE TABLE b_child (id INTEGER PRIMARY KEY, z INT REFERENCES z_parent);\nINSERT INTO b_child VALUES (1, 9);\nCOMMIT
SELECT * FROM p ORDER BY id
SELECT * FROM c ORDER BY id
SELECT * FROM d ORDER BY id
SELECT * FROM a_child ORDER BY id

CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INT)
CREATE TABLE "u v" (a TEXT PRIMARY KEY, b REFERENCES t) WITHOUT ROWID
CREATE INDEX t_n ON t (n)
CREATE VIEW w AS SELECT name, n FROM t WHERE n > 1
CREATE VIEW tables AS SELECT name, type FROM sqlite_schema WHERE type <> 'index'
INSERT INTO t VALUES (1, 't', 1), (2, 'w', 2), (3, 'nothing', 3), (4, 'T', 4), (5, NULL, NULL)
INSERT INTO "u v" VALUES ('t', 1), ('w', 2), ('x', 3)
SELECT t.id, s.type, s.sql FROM t JOIN sqlite_schema s ON s.name = t.name ORDER BY t.id
SELECT id FROM t WHERE name IN (SELECT name FROM sqlite_schema) ORDER BY id
SELECT id, (SELECT count(*) FROM sqlite_master m WHERE m.tbl_name = t.name) FROM t ORDER BY id
SELECT p.cid, p.name, p.type, t.name FROM pragma_table_info('t') p LEFT JOIN t ON t.id = p.cid + 1 ORDER BY 1
SELECT f."table", f."from", a FROM pragma_foreign_key_list('u v') f, "u v" WHERE b > 1 ORDER BY a
SELECT n, tables.type FROM w JOIN tables USING (name) ORDER BY 1
SELECT count(*) FROM sqlite_schema, t, "u v"
SELECT name FROM sqlite_schema WHERE (SELECT max(n) FROM t) > 3 ORDER BY name
SELECT i.name, x.name, t.id FROM pragma_index_list('t') i, pragma_index_info(i.name) x, t WHERE t.n > 2 ORDER BY 3
SELECT type, name FROM sqlite_schema UNION ALL SELECT name, n FROM t ORDER BY 1, 2
WITH s AS (SELECT name, rowid r FROM sqlite_schema) SELECT s.r, s.name, t.n FROM s LEFT JOIN t USING (name) ORDER BY r
SELECT count(*), total_changes() FROM sqlite_schema WHERE name IN (SELECT name FROM t)
EXPLAIN QUERY PLAN SELECT 1 FROM missing
UPDATE t SET n = (SELECT count(*) FROM sqlite_schema s WHERE s.tbl_name = t.name) WHERE id < 5 RETURNING id, n
INSERT INTO t (name, n) SELECT name, rowid FROM sqlite_schema WHERE type = 'view' ORDER BY name RETURNING id, name
INSERT INTO t VALUES (1, (SELECT min(name) FROM sqlite_schema), 0) ON CONFLICT DO UPDATE SET name = excluded.name RETURNING *
UPDATE t SET n = (SELECT count(*) FROM sqlite_schema) WHERE id = 2
DELETE FROM "u v" WHERE a = (SELECT max(name) FROM sqlite_schema) OR b = (SELECT count(*) - 2 FROM sqlite_schema) RETURNING a
DELETE FROM t WHERE name NOT IN (SELECT name FROM sqlite_schema)
DELETE FROM t WHERE name NOT IN (SELECT name FROM sqlite_schema) AND id > 5
SELECT * FROM t ORDER BY id
BEGIN;\nINSERT INTO t (name, n) VALUES ('t_n', 9);\nSELECT name FROM sqlite_schema ORDER BY name;\nUPDATE t SET n = n + 1;\nSELECT t.id, s.type FROM t JOIN sqlite_schema s USING (name) ORDER BY id;\nSELECT changes(), count(*) FROM sqlite_schema;\nPRAGMA table_info(t);\nSELECT name FROM pragma_table_info('u v');\nCOMMIT
BEGIN;\nSELECT count(*) FROM sqlite_schema;\nINSERT INTO t (n) SELECT n FROM t;\nDELETE FROM t WHERE n IN (SELECT rowid FROM sqlite_schema) AND id > 5;\nSELECT count(*) FROM t;\nCOMMIT
BEGIN;\nSELECT count(*) FROM sqlite_schema;\nSELECT count(*) FROM t;\nSELECT count(*) FROM t, sqlite_schema;\nCOMMIT
BEGIN;\nUPDATE t SET n = 0 WHERE id = 1;\nCREATE TABLE later (x, y);\nSELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name;\nINSERT INTO later SELECT name, type FROM sqlite_schema ORDER BY name;\nALTER TABLE later ADD COLUMN z;\nSELECT group_concat(name) FROM pragma_table_info('later');\nPRAGMA table_info(later);\nDROP VIEW w;\nSELECT count(*) FROM sqlite_schema;\nCOMMIT
SELECT * FROM later ORDER BY x
SELECT * FROM t ORDER BY id
SELECT count(*) FROM tables, later

CREATE TABLE k (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)
CREATE TABLE l (id INTEGER PRIMARY KEY AUTOINCREMENT, b)
CREATE TABLE o (name TEXT, seq INT)
INSERT INTO k (a) VALUES ('a'), ('b')
SELECT k.id, s.name, s.seq FROM k, sqlite_sequence s WHERE s.seq > 0 ORDER BY 1, 2
BEGIN;\nINSERT INTO k (a) VALUES ('c');\nSELECT name, seq FROM sqlite_sequence WHERE seq > 0 ORDER BY name;\nINSERT INTO l (b) VALUES (1), (2), (3);\nSELECT name, seq FROM sqlite_sequence ORDER BY name;\nDELETE FROM l;\nINSERT INTO l (b) VALUES (4) RETURNING id;\nSELECT seq FROM sqlite_sequence WHERE name = 'l';\nCOMMIT
BEGIN;\nSELECT seq FROM sqlite_sequence WHERE name = 'k';\nINSERT OR IGNORE INTO k (a) VALUES ('c'), ('d');\nSELECT seq FROM sqlite_sequence WHERE name = 'k';\nINSERT INTO o SELECT name, seq FROM sqlite_sequence ORDER BY name;\nCOMMIT
INSERT INTO o SELECT name, seq + 100 FROM sqlite_sequence WHERE name = 'l'
SELECT * FROM o ORDER BY name, seq
SELECT max(id) FROM k
BEGIN;\nCREATE TABLE m (id INTEGER PRIMARY KEY AUTOINCREMENT);\nINSERT INTO m VALUES (40);\nSELECT * FROM sqlite_sequence WHERE seq > 0 ORDER BY name;\nINSERT INTO k (a) VALUES ('e');\nSELECT seq FROM sqlite_sequence WHERE name = 'k';\nCOMMIT
SELECT name, seq FROM sqlite_sequence WHERE seq > 0 ORDER BY name

CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT CHECK (n < 1000))
CREATE TABLE log (a, b)
CREATE TRIGGER tr AFTER INSERT ON t WHEN new.name IN (SELECT name FROM sqlite_schema) BEGIN INSERT INTO log VALUES (new.name, (SELECT count(*) FROM sqlite_schema)); END
INSERT INTO t (name, n) VALUES ('t', 1), ('zz', 2)
INSERT INTO t (name, n) SELECT name, 5 FROM sqlite_schema
INSERT OR REPLACE INTO t (name, n) SELECT name, 6 FROM sqlite_schema ORDER BY rowid
UPDATE t SET n = (SELECT 1000 FROM sqlite_schema LIMIT 1)
UPDATE OR IGNORE t SET name = (SELECT min(name) FROM sqlite_schema)
UPDATE sqlite_schema SET sql = 'x' WHERE name IN (SELECT name FROM t)
SELECT * FROM t, sqlite_stat1
SELECT * FROM sqlite_sequence, t
BEGIN;\nPRAGMA defer_foreign_keys=ON;\nDELETE FROM t WHERE id = 1;\nSELECT nope FROM t;\nCOMMIT
SELECT * FROM t ORDER BY id
SELECT * FROM log ORDER BY 1, 2
DELETE FROM t WHERE id = (SELECT count(*) FROM sqlite_schema) RETURNING name
