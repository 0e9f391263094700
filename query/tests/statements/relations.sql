CREATE TABLE p (a INT, b TEXT COLLATE NOCASE, v, PRIMARY KEY (a, b))
CREATE TABLE c (id INTEGER PRIMARY KEY, x INT, y TEXT, FOREIGN KEY (x, y) REFERENCES p (a, b) ON UPDATE CASCADE ON DELETE SET DEFAULT)
INSERT INTO p VALUES (1, 'A', 1), (1, 'b', 2), (2, 'A', 3)
INSERT INTO c VALUES (1, 1, 'a'), (2, 1, 'B'), (3, NULL, 'zz'), (4, 2, 'A')
INSERT INTO c VALUES (5, 2, 'B')
UPDATE p SET b = upper(b), a = a + 10 WHERE a = 1
SELECT * FROM c ORDER BY id
DELETE FROM p WHERE a = 2
SELECT * FROM c ORDER BY id
SELECT * FROM p ORDER BY a, b
UPDATE p SET a = NULL WHERE b = 'B'
REPLACE INTO p VALUES (11, 'a', 'replaced')
SELECT * FROM c ORDER BY id
SELECT * FROM p ORDER BY a, b

CREATE TABLE n (id INTEGER PRIMARY KEY, parent INT REFERENCES n (id) ON DELETE CASCADE, v INT)
CREATE TABLE audit (seq INTEGER PRIMARY KEY, msg TEXT)
CREATE TRIGGER nd AFTER DELETE ON n BEGIN INSERT INTO audit (msg) VALUES ('del ' || OLD.id); END
CREATE TRIGGER nu AFTER UPDATE OF v ON n WHEN OLD.v IS NOT NEW.v BEGIN INSERT INTO audit (msg) VALUES (OLD.v || '->' || NEW.v); UPDATE n SET v = v + 1 WHERE parent = NEW.id; END
CREATE TRIGGER ni BEFORE INSERT ON n BEGIN SELECT CASE WHEN (SELECT count(*) FROM n WHERE parent IS NEW.parent) >= 3 THEN RAISE(ABORT, 'too many children') END; END
INSERT INTO n VALUES (1, NULL, 0), (2, 1, 0), (3, 1, 0), (4, 2, 0), (5, 4, 0), (6, 3, 0)
INSERT INTO n VALUES (7, 1, 0), (8, 1, 0)
INSERT OR IGNORE INTO n VALUES (7, 1, 0), (8, 1, 0)
UPDATE n SET v = 10 WHERE id = 1
SELECT * FROM n ORDER BY id
DELETE FROM n WHERE id = 2
SELECT * FROM n ORDER BY id
SELECT msg FROM audit ORDER BY msg
INSERT INTO n (v) VALUES (1), (2), (3)
INSERT INTO n (parent, v) VALUES (999, 1)
UPDATE n SET parent = 6 WHERE id = 3
UPDATE n SET id = 60 WHERE id = 6
SELECT * FROM n ORDER BY id
DELETE FROM n RETURNING id
SELECT count(*) FROM audit

CREATE TABLE kv (k TEXT PRIMARY KEY, v TEXT, n INT DEFAULT 1) WITHOUT ROWID
INSERT INTO kv (k, v) VALUES ('a', '1'), ('b', '2'), ('a', '3') ON CONFLICT (k) DO UPDATE SET v = v || '+' || excluded.v, n = n + 1 RETURNING *
INSERT INTO kv (k, v) VALUES ('c', '1'), ('c', '2') ON CONFLICT DO NOTHING RETURNING k
INSERT INTO kv (k, v) VALUES ('a', 'w') ON CONFLICT (k) DO UPDATE SET n = 0 WHERE v = 'nothing'
INSERT INTO kv (k, v) VALUES ('a', 'w') ON CONFLICT (v) DO UPDATE SET n = 0
INSERT INTO kv (k, v) VALUES ('b', 'w') ON CONFLICT (k) DO UPDATE SET k = 'a'
INSERT INTO kv (k, v) VALUES ('b', 'w') ON CONFLICT (k) DO UPDATE SET k = 'z', v = (SELECT group_concat(k) FROM kv)
INSERT INTO kv SELECT k || k, v, n FROM kv WHERE true ON CONFLICT (k) DO NOTHING
SELECT * FROM kv ORDER BY k
SELECT k FROM kv WHERE k > 'a' AND k < 'm' ORDER BY k DESC
SELECT k, v FROM kv LIMIT 2
SELECT rowid FROM kv
UPDATE kv SET k = upper(k), n = n + 1 WHERE n < 2 RETURNING k
DELETE FROM kv WHERE k IN ('A', 'C', 'a') RETURNING k, n
SELECT count(*), sum(n) FROM kv
CREATE TABLE w2 (a INT, b INT, c TEXT, PRIMARY KEY (b DESC, a)) WITHOUT ROWID
INSERT INTO w2 VALUES (1, 1, 'x'), (2, 1, 'y'), (1, 2, 'z')
SELECT * FROM w2
SELECT b, group_concat(c) FROM w2 GROUP BY b ORDER BY b
INSERT INTO w2 VALUES (NULL, 5, 'q')
REPLACE INTO w2 VALUES (1, 2, 'zz'), (3, 3, 'n') RETURNING *
UPDATE w2 SET a = a + 1, b = b
SELECT * FROM w2 ORDER BY a, b
ALTER TABLE w2 ADD COLUMN d DEFAULT 'dd'
ALTER TABLE w2 RENAME COLUMN c TO cc
ALTER TABLE w2 DROP COLUMN cc
ALTER TABLE w2 DROP COLUMN b
SELECT * FROM w2 ORDER BY a, b

CREATE TABLE a (id INTEGER PRIMARY KEY, x INT, y TEXT)
CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INT, z REAL)
CREATE TABLE c (id INTEGER PRIMARY KEY, b_id INT, w TEXT)
INSERT INTO a SELECT value, value % 4, 'y' || value % 3 FROM generate_series(1, 12)
INSERT INTO b SELECT value, value % 7 + 1, value / 3.0 FROM generate_series(1, 20)
INSERT INTO c SELECT value, value % 11, CASE WHEN value % 5 THEN 'w' || value % 4 END FROM generate_series(1, 30)
SELECT a.x, count(b.id), count(c.id), sum(b.z), max(c.w) FROM a LEFT JOIN b ON b.a_id = a.id LEFT JOIN c ON c.b_id = b.id GROUP BY a.x ORDER BY a.x
SELECT a.id, b.id, c.id FROM a JOIN b ON b.a_id = a.id JOIN c ON c.b_id = b.id WHERE c.w = 'w1' AND a.x > 0 ORDER BY 1, 2, 3
SELECT a.y, avg(z) FROM a JOIN b ON a.id = b.a_id GROUP BY a.y HAVING count(*) > 3 ORDER BY 2 DESC
SELECT a.id FROM a WHERE id IN (SELECT a_id FROM b WHERE id IN (SELECT b_id FROM c WHERE w IS NULL)) ORDER BY 1
SELECT a.id, (SELECT count(*) FROM b WHERE a_id = a.id AND EXISTS (SELECT 1 FROM c WHERE b_id = b.id)) n FROM a ORDER BY n DESC, a.id LIMIT 5
SELECT * FROM a FULL JOIN b ON a.id = b.id WHERE a.id IS NULL OR b.id IS NULL ORDER BY b.id
SELECT a.id, x.n FROM a LEFT JOIN (SELECT a_id, count(*) n FROM b GROUP BY a_id) x ON x.a_id = a.id ORDER BY a.id
SELECT a.id, b.id FROM a RIGHT JOIN b ON a.id = b.a_id AND a.x = 1 ORDER BY 2
SELECT count(*) FROM a JOIN b JOIN c
SELECT a.x, b.a_id, count(*) FROM a CROSS JOIN b GROUP BY a.x, b.a_id HAVING a.x = b.a_id ORDER BY 1
WITH t AS MATERIALIZED (SELECT x, count(*) n FROM a GROUP BY x) SELECT t1.x, t2.x FROM t t1 JOIN t t2 ON t1.n = t2.n AND t1.x < t2.x ORDER BY 1, 2
WITH t AS NOT MATERIALIZED (SELECT * FROM b WHERE z > 2) SELECT a.id, t.z FROM a JOIN t ON t.a_id = a.id ORDER BY t.id
SELECT a.id FROM a, b WHERE a.id = b.a_id GROUP BY a.id HAVING sum(b.z) = (SELECT max(s) FROM (SELECT sum(z) s FROM b GROUP BY a_id))
SELECT y, sum(x) FILTER (WHERE id > 6), count(*) FILTER (WHERE x = 0) FROM a GROUP BY y ORDER BY y
SELECT x, y, count(*) FROM a GROUP BY x, y UNION ALL SELECT x, NULL, count(*) FROM a GROUP BY x UNION ALL SELECT NULL, NULL, count(*) FROM a ORDER BY 1, 2
UPDATE a SET x = (SELECT count(*) FROM b WHERE a_id = a.id), y = y || (SELECT coalesce(max(w), '-') FROM c WHERE c.id = a.id) RETURNING *
UPDATE b SET z = z + a.x FROM a JOIN c ON c.id = a.id WHERE b.a_id = a.id AND c.w IS NOT NULL RETURNING b.id, z
DELETE FROM c WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.id = c.b_id) RETURNING id
DELETE FROM a WHERE id = (SELECT a_id FROM b ORDER BY z DESC, id LIMIT 1) RETURNING id
INSERT INTO a (x, y) SELECT DISTINCT a_id, 'n' || a_id FROM b WHERE a_id NOT IN (SELECT id FROM a) RETURNING x, y
INSERT INTO c (b_id, w) WITH q AS (SELECT b.id, a.y FROM b JOIN a ON a.id = b.a_id) SELECT id, y FROM q WHERE id < 3 ORDER BY id RETURNING b_id, w
BEGIN;\nINSERT INTO a VALUES (100, 1, 'in tx');\nUPDATE a SET x = x + 1 WHERE id = 100;\nSELECT * FROM a WHERE id = 100;\nDELETE FROM b WHERE a_id = (SELECT x FROM a WHERE id = 100);\nSELECT count(*) FROM b;\nCOMMIT
SELECT * FROM a WHERE id >= 100
BEGIN;\nINSERT INTO a VALUES (101, 1, 'q');\nINSERT INTO a VALUES (101, 1, 'q');\nCOMMIT
SELECT count(*) FROM a WHERE id = 101
SELECT id, x FROM a WHERE x IS NOT DISTINCT FROM 2 OR y LIKE 'n_' ESCAPE '!' ORDER BY id
SELECT sum(9223372036854775807) FROM a
SELECT sum(x * 9223372036854775807) FROM a
SELECT sum(id), sum(9223372036854775807.0) FROM b
SELECT x / 0, x % 0, 1.0 / 0, -9223372036854775808 / -1 FROM a ORDER BY id LIMIT 1
SELECT abs(-9223372036854775808) FROM a LIMIT 1
SELECT substr(y, -2), substr(y, 0), replace(y, 'y', ''), trim(y, 'y'), ltrim(y, 'yn'), instr(y, '1'), hex(y), unhex('41'), concat_ws('-', x, NULL, y), printf('%s', x) FROM a ORDER BY id LIMIT 3
CREATE TABLE tt AS SELECT a.id, b.z, a.x + 1 AS plus, 'c' || a.y FROM a JOIN b ON b.a_id = a.id
SELECT * FROM tt ORDER BY 1, 2 LIMIT 5
SELECT sql FROM sqlite_schema WHERE name = 'tt'
