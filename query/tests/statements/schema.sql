PRAGMA table_info(nothing)
CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'x', b UNIQUE, c AS (a || b))
PRAGMA table_info(t)
PRAGMA table_xinfo('t')
PRAGMA main.table_info(t)
PRAGMA index_list(t)
PRAGMA foreign_key_list(t)
PRAGMA table_list
SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
SELECT m.name, p.name, p.type, p.pk FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY 1, p.cid
SELECT il.name, ii.name FROM pragma_index_list('t') il, pragma_index_info(il.name) ii
SELECT sqlite_version() IS NOT NULL, typeof(sqlite_source_id())
SELECT 1 WHERE 1 = 0
SELECT * FROM (SELECT 1 AS a, 2 AS b) WHERE a > b
VALUES (1, 'a'), (2, NULL)
SELECT 1; SELECT 2
SELECT 'it''s', "missing"
SELECT x'0g'
SELEC 1
SELECT * FROM t WHERE
INSERT INTO t (b) VALUES (1), (2), (NULL), (NULL) RETURNING id, a, c
INSERT INTO t DEFAULT VALUES RETURNING *
INSERT INTO t (id, b) VALUES (NULL, 'n') RETURNING id
INSERT INTO t (id, b) VALUES (-5, 'm') RETURNING id
INSERT INTO t (b) VALUES ('after') RETURNING id
INSERT INTO t (rowid, b) VALUES (500, 'r') RETURNING rowid, oid, _rowid_, id
UPDATE t SET rowid = 501 WHERE oid = 500 RETURNING id
SELECT rowid, * FROM t WHERE rowid > 4 ORDER BY rowid
SELECT max(rowid), count(*) FROM t
SELECT t.rowid FROM t, (SELECT 1) ORDER BY 1 LIMIT 2
SELECT * FROM t WHERE b IS NULL AND id > 1 ORDER BY id DESC LIMIT 1
SELECT count(*) FILTER (WHERE b IS NULL), sum(id) FILTER (WHERE id > 3) FROM t
SELECT string_agg(a, '-' ORDER BY id DESC), group_concat(DISTINCT a) FROM t
SELECT a, b, count(*) FROM t GROUP BY 1, 2 ORDER BY 2, 1
SELECT typeof(b), min(b), max(b), count(b) FROM t GROUP BY typeof(b) ORDER BY 1
SELECT total(id) / count(*), avg(id), sum(id) * 1.0 / count(*) FROM t
SELECT b FROM t UNION SELECT id FROM t ORDER BY 1 LIMIT 5
SELECT id FROM t EXCEPT SELECT b FROM t ORDER BY 1
SELECT id IN (SELECT b FROM t), id FROM t ORDER BY id
SELECT CASE WHEN id % 2 THEN 'odd' ELSE 'even' END k, count(*) FROM t GROUP BY k HAVING count(*) > 1 ORDER BY k
SELECT EXISTS (SELECT 1 FROM t WHERE id = 3), (SELECT b FROM t WHERE id = 1), (SELECT b FROM t WHERE 0)
SELECT (SELECT a, b FROM t LIMIT 1) = ('x', 1)
SELECT id FROM t WHERE (a, b) IN (VALUES ('x', 1), ('x', 2)) ORDER BY id
SELECT id, lag(b) OVER (ORDER BY id) FROM t ORDER BY id LIMIT 3
SELECT DISTINCT typeof(b) FROM t ORDER BY 1
SELECT DISTINCT a, b IS NULL FROM t ORDER BY 2
SELECT count(DISTINCT a || coalesce(b, '')) FROM t
SELECT abs(id), sign(id), round(id / 3.0, 2), id / 2, id % 3, id & 6, ~id FROM t ORDER BY id LIMIT 3
SELECT random() IS NOT NULL, length(randomblob(4)), typeof(random()) FROM t LIMIT 1
SELECT count(*) FROM t WHERE random() IS NULL
SELECT likely(id = 1), unlikely(b), likelihood(id, 0.5) FROM t ORDER BY id LIMIT 2
SELECT * FROM t NOT INDEXED WHERE id = 1
SELECT * FROM t INDEXED BY nothing WHERE id = 1
SELECT * FROM t AS "T one" WHERE "T one".id = 1
SELECT [id], `a`, "b" FROM [t] WHERE [id] = 1
SELECT t.*, t.id AS again FROM t WHERE id = 1
SELECT * FROM t ORDER BY 9
SELECT * FROM t ORDER BY nothing
SELECT sum(a, b) FROM t
SELECT nofunc(a) FROM t
SELECT count(*) FROM t WHERE count(*) > 1
SELECT a FROM t GROUP BY count(*)
SELECT id FROM t ORDER BY b COLLATE NOCASE DESC NULLS LAST, id LIMIT 4
SELECT iif(b IS NULL, 'null', b) v, count(*) FROM t GROUP BY v ORDER BY v
DELETE FROM t WHERE id = (SELECT min(id) FROM t) RETURNING id
DELETE FROM t WHERE b IN (SELECT b FROM t GROUP BY b HAVING count(*) = 1) AND id < 3 RETURNING id
UPDATE t SET b = id WHERE b IS NULL RETURNING id, b, c
UPDATE t SET id = id + 1 WHERE id < 10
UPDATE t SET id = -id
SELECT id FROM t ORDER BY id
UPDATE t SET b = 1
UPDATE OR IGNORE t SET b = 1
UPDATE OR REPLACE t SET b = 1
SELECT * FROM t ORDER BY id
DELETE FROM t
SELECT count(*), max(id), sum(id), total(id), avg(id), group_concat(id) FROM t
INSERT INTO t (b) VALUES ('first') RETURNING id
REINDEX
REINDEX t
ANALYZE
ANALYZE t
DROP TABLE IF EXISTS nope
DROP TABLE nope
DROP INDEX nope
DROP VIEW IF EXISTS nope
DROP TRIGGER nope
CREATE TABLE t (x)
CREATE TABLE IF NOT EXISTS t (x)
CREATE INDEX i ON nope (x)
CREATE INDEX i ON t (nope)
CREATE INDEX i ON t (a)
CREATE INDEX i ON t (b)
CREATE INDEX IF NOT EXISTS i ON t (b)
CREATE UNIQUE INDEX IF NOT EXISTS i2 ON t (a, b)
CREATE VIEW v AS SELECT * FROM nope
SELECT * FROM v
DROP VIEW v
CREATE VIEW v AS SELECT a, count(*) AS n FROM t GROUP BY a
CREATE VIEW v2 AS SELECT v.n, t.id FROM v JOIN t ON v.a = t.a
SELECT * FROM v2
DROP VIEW v
SELECT * FROM v2
ALTER TABLE t RENAME TO t2
DROP VIEW v2
ALTER TABLE t RENAME TO t2
INSERT INTO v VALUES (1)
INSERT INTO sqlite_master VALUES (1)
CREATE TABLE sqlite_x (a)
CREATE TABLE "with space" ("a b" INT, "c""d" TEXT, [e f], PRIMARY KEY ("a b"))
INSERT INTO "with space" VALUES (1, 'x', 2), (2, 'y', 3)
SELECT "a b", "c""d", [e f] FROM "with space" ORDER BY 1
UPDATE "with space" SET [e f] = "a b" * 10 WHERE "c""d" > 'x' RETURNING *
SELECT sum("e f") FROM "with space" GROUP BY "c""d" ORDER BY 1

CREATE TABLE ev (id INTEGER PRIMARY KEY, at TEXT, kind TEXT, val REAL, tags TEXT)
INSERT INTO ev SELECT value, datetime('2024-01-01', '+' || (value * 7) || ' hours'), CASE value % 3 WHEN 0 THEN 'buy' WHEN 1 THEN 'sell' ELSE 'hold' END, value * 1.1, json_array(value % 2, value % 5) FROM generate_series(1, 60)
SELECT strftime('%Y-%m-%d', at) d, kind, count(*), round(sum(val), 3), min(at), max(at) FROM ev GROUP BY d, kind ORDER BY d, kind LIMIT 12
SELECT kind, avg(val), sum(val), total(val), max(val) - min(val) FROM ev GROUP BY kind ORDER BY sum(val) DESC
SELECT id, val, sum(val) OVER (PARTITION BY kind ORDER BY at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) s FROM ev ORDER BY id LIMIT 10 OFFSET 20
SELECT kind, id, val FROM (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY val DESC) rn FROM ev) WHERE rn <= 2 ORDER BY kind, rn
SELECT kind, json_group_array(id) FILTER (WHERE id < 10) FROM ev GROUP BY kind ORDER BY kind
SELECT j.value, count(*) FROM ev, json_each(ev.tags) j GROUP BY j.value ORDER BY 1
SELECT id FROM ev WHERE 3 IN (SELECT value FROM json_each(tags)) ORDER BY id LIMIT 5
SELECT a.id, b.id FROM ev a JOIN ev b ON b.id = a.id + 1 AND b.kind <> a.kind WHERE a.id < 5 ORDER BY 1
SELECT a.kind, b.kind, count(*) FROM ev a, ev b WHERE a.id < b.id AND date(a.at) = date(b.at) GROUP BY 1, 2 ORDER BY 1, 2
WITH days AS (SELECT date(at) d, sum(val) v FROM ev GROUP BY 1), cum AS (SELECT d, v, sum(v) OVER (ORDER BY d) c FROM days) SELECT d, round(v, 2), round(c, 2) FROM cum WHERE c > 100 ORDER BY d LIMIT 5
WITH RECURSIVE cal(d) AS (SELECT date('2024-01-01') UNION ALL SELECT date(d, '+1 day') FROM cal WHERE d < '2024-01-10') SELECT d, count(ev.id), coalesce(sum(val), 0) FROM cal LEFT JOIN ev ON date(ev.at) = d GROUP BY d ORDER BY d
SELECT median(val), percentile(val, 25) FROM ev
SELECT kind, count(*) * 100.0 / (SELECT count(*) FROM ev) pct FROM ev GROUP BY kind ORDER BY kind
SELECT kind, max(at), id FROM ev GROUP BY kind ORDER BY kind
SELECT kind FROM ev GROUP BY kind HAVING min(val) < (SELECT avg(val) FROM ev) / 20 ORDER BY 1
SELECT CAST(val AS INT) / 10 * 10 bucket, count(*) FROM ev GROUP BY bucket ORDER BY bucket
SELECT id FROM ev e WHERE NOT EXISTS (SELECT 1 FROM ev f WHERE f.kind = e.kind AND f.at > e.at) ORDER BY id
SELECT id, (SELECT max(f.val) FROM ev f WHERE f.kind = e.kind AND f.id < e.id) prev FROM ev e WHERE id < 8 ORDER BY id
SELECT * FROM ev WHERE at BETWEEN '2024-01-02' AND '2024-01-03' AND kind IN ('buy', 'sell') ORDER BY at DESC
SELECT max(id) FROM ev WHERE kind = 'none'
SELECT kind, count(*) FROM ev WHERE val > 1000 GROUP BY kind
SELECT count(*), sum(val) FROM ev WHERE val > 1000
SELECT group_concat(kind, ',') FROM (SELECT kind FROM ev ORDER BY id LIMIT 5)
SELECT first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 3) OVER w FROM ev WINDOW w AS (PARTITION BY kind ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) ORDER BY 1, 2 LIMIT 3
CREATE INDEX ek ON ev (kind, at)
CREATE INDEX ed ON ev (date(at))
SELECT id FROM ev WHERE kind = 'buy' ORDER BY at DESC LIMIT 3
SELECT kind, max(at), id FROM ev GROUP BY kind ORDER BY kind
SELECT count(*) FROM ev WHERE date(at) = '2024-01-05'
SELECT id FROM ev INDEXED BY ek WHERE kind = 'buy' AND at > '2024-01-15' ORDER BY id
DELETE FROM ev WHERE id IN (SELECT id FROM ev ORDER BY val DESC LIMIT 5) RETURNING id
UPDATE ev SET val = (SELECT avg(val) FROM ev x WHERE x.kind = ev.kind) WHERE id % 10 = 0 RETURNING id, val
UPDATE ev SET val = val * 2, kind = upper(kind) WHERE at < (SELECT at FROM ev WHERE id = 4)
INSERT INTO ev (at, kind, val) SELECT max(at), kind, count(*) FROM ev GROUP BY kind RETURNING kind, val
SELECT kind, count(*), sum(val) FROM ev GROUP BY kind COLLATE NOCASE ORDER BY kind
CREATE TABLE summary AS SELECT kind, count(*) n, sum(val) s, avg(val) FROM ev GROUP BY kind
SELECT * FROM summary ORDER BY kind
PRAGMA table_info(summary)
