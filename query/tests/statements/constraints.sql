CREATE TABLE acc (id INTEGER PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, bal INT NOT NULL DEFAULT 0 CHECK (bal >= 0), UNIQUE (owner))
CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, who INT, old INT, new INT)
CREATE TRIGGER no_rich BEFORE INSERT ON acc WHEN NEW.bal > 1000 BEGIN SELECT RAISE(ABORT, 'too rich'); END
CREATE TRIGGER no_zed BEFORE INSERT ON acc WHEN NEW.owner LIKE 'z%' BEGIN SELECT RAISE(IGNORE); END
CREATE TRIGGER no_fail BEFORE UPDATE OF bal ON acc WHEN NEW.bal = 13 BEGIN SELECT RAISE(FAIL, 'thirteen'); END
CREATE TRIGGER no_roll BEFORE UPDATE OF bal ON acc WHEN NEW.bal = 14 BEGIN SELECT RAISE(ROLLBACK, 'fourteen'); END
CREATE TRIGGER au AFTER UPDATE ON acc BEGIN INSERT INTO log (what, who, old, new) VALUES ('u', NEW.id, OLD.bal, NEW.bal); END
CREATE TRIGGER ad AFTER DELETE ON acc BEGIN INSERT INTO log (what, who, old) VALUES ('d', OLD.id, OLD.bal); END
INSERT INTO acc (owner, bal) VALUES ('ann', 10), ('bob', 20), ('zoe', 5), ('cyd', 30) RETURNING id, owner
INSERT INTO acc (owner, bal) VALUES ('dan', 10), ('eve', 2000)
SELECT * FROM acc ORDER BY id
INSERT INTO acc (owner, bal) VALUES ('ANN', 7) ON CONFLICT (owner) DO UPDATE SET bal = bal + excluded.bal WHERE excluded.bal < 8 RETURNING *
INSERT INTO acc (owner, bal) VALUES ('ANN', 9) ON CONFLICT (owner) DO UPDATE SET bal = bal + excluded.bal WHERE excluded.bal < 8 RETURNING *
INSERT INTO acc (owner, bal) VALUES ('ANN', -100) ON CONFLICT (owner) DO UPDATE SET bal = bal + excluded.bal
UPDATE acc SET bal = 13 WHERE owner = 'bob'
UPDATE acc SET bal = CASE WHEN id = 1 THEN 99 ELSE 13 END
UPDATE acc SET bal = 14 WHERE owner = 'bob'
UPDATE acc SET bal = bal - 25 WHERE bal < 40
UPDATE OR IGNORE acc SET bal = bal - 25 WHERE bal < 40
SELECT * FROM acc ORDER BY id
UPDATE acc SET bal = t.b FROM (SELECT owner o, bal * 2 AS b FROM acc) t WHERE t.o = acc.owner RETURNING id, bal
DELETE FROM acc WHERE bal = (SELECT max(bal) FROM acc) RETURNING *
SELECT what, who, old, new FROM log ORDER BY id
SELECT seq FROM sqlite_sequence WHERE name = 'log'
DELETE FROM log
INSERT INTO log (what) VALUES ('after') RETURNING id
DROP TRIGGER no_rich
INSERT INTO acc (owner, bal) VALUES ('eve', 2000) RETURNING id
INSERT INTO acc (owner, bal) SELECT owner || '2', bal FROM acc WHERE bal < 50 RETURNING owner
REPLACE INTO acc (owner, bal) VALUES ('EVE', 1) RETURNING *
SELECT * FROM acc ORDER BY id
SELECT what, who, old, new FROM log ORDER BY id
WITH x AS (SELECT max(bal) AS m FROM acc) UPDATE acc SET bal = m + 1 FROM x WHERE acc.owner = 'cyd'
WITH x(o) AS (VALUES ('new1'), ('new2')) INSERT INTO acc (owner) SELECT o FROM x RETURNING owner, bal
WITH gone AS (SELECT id FROM acc WHERE owner GLOB 'new*') DELETE FROM acc WHERE id IN gone RETURNING owner
UPDATE acc SET (owner, bal) = (SELECT 'x' || id, bal + 1) WHERE id = 1 RETURNING *
UPDATE acc SET (owner, bal) = (owner || '!', 1) RETURNING *
INSERT INTO acc VALUES (1, 'dup', 1)
INSERT INTO acc VALUES (77, NULL, 1)
INSERT INTO acc VALUES ('x', 'q', 1)
INSERT INTO acc (nope) VALUES (1)
INSERT INTO nope VALUES (1)
UPDATE acc SET nope = 1
DELETE FROM acc WHERE nope = 1
INSERT INTO acc (owner, bal) VALUES ('a')
INSERT INTO acc (owner, bal) VALUES ('a', 1, 2)

CREATE TABLE person (id INTEGER PRIMARY KEY, first TEXT, last TEXT, full TEXT GENERATED ALWAYS AS (first || ' ' || last) STORED, len INT AS (length(first)) VIRTUAL)
CREATE INDEX pf ON person (full)
CREATE INDEX pl ON person (len) WHERE len > 2
CREATE VIEW pv AS SELECT id, full, upper(last) AS u FROM person
CREATE TRIGGER pvi INSTEAD OF INSERT ON pv BEGIN INSERT INTO person (first, last) VALUES (substr(NEW.full, 1, instr(NEW.full, ' ') - 1), substr(NEW.full, instr(NEW.full, ' ') + 1)); END
CREATE TRIGGER pvu INSTEAD OF UPDATE OF u ON pv BEGIN UPDATE person SET last = lower(NEW.u) WHERE id = OLD.id; END
CREATE TRIGGER pvd INSTEAD OF DELETE ON pv BEGIN DELETE FROM person WHERE id = OLD.id; END
INSERT INTO pv (full) VALUES ('Ann Lee'), ('Bo Ek'), ('Cy Dee')
SELECT * FROM pv ORDER BY id
UPDATE pv SET u = 'NEW' || id WHERE full LIKE '%e%'
DELETE FROM pv WHERE id = 2
SELECT *, len FROM person ORDER BY id
INSERT INTO person (full) VALUES ('x')
UPDATE person SET full = 'x'
INSERT INTO person (first, last) VALUES ('Di', NULL) RETURNING *
ALTER TABLE person ADD COLUMN init TEXT AS (substr(first, 1, 1))
SELECT init, full FROM person ORDER BY id
ALTER TABLE person ADD COLUMN s2 TEXT AS (first) STORED
ALTER TABLE person RENAME COLUMN first TO given
SELECT * FROM person ORDER BY id
SELECT * FROM pv ORDER BY id
INSERT INTO pv (full) VALUES ('Ed Foo') RETURNING full
ALTER TABLE person DROP COLUMN given
ALTER TABLE person DROP COLUMN init
DROP INDEX pl
ALTER TABLE person DROP COLUMN len
ALTER TABLE person RENAME TO people
SELECT * FROM pv ORDER BY id
SELECT full FROM people WHERE full >= 'B' ORDER BY full
UPDATE people SET last = last || 'x' WHERE full IN (SELECT full FROM people WHERE id < 4)
SELECT * FROM people ORDER BY id
DROP VIEW pv
DROP TABLE people
SELECT * FROM people

CREATE TABLE dept (id INTEGER PRIMARY KEY, name TEXT UNIQUE, parent INT REFERENCES dept ON DELETE CASCADE ON UPDATE CASCADE)
CREATE TABLE emp (id INTEGER PRIMARY KEY, dept INT REFERENCES dept (id) ON DELETE SET NULL ON UPDATE CASCADE, boss INT REFERENCES emp DEFERRABLE INITIALLY DEFERRED, name TEXT, sal REAL)
CREATE TABLE task (emp INT NOT NULL, no INT, txt TEXT DEFAULT 'todo', PRIMARY KEY (emp, no), FOREIGN KEY (emp) REFERENCES emp ON DELETE CASCADE) WITHOUT ROWID
INSERT INTO dept VALUES (1, 'root', NULL), (2, 'a', 1), (3, 'b', 1), (4, 'aa', 2), (5, 'aaa', 4)
INSERT INTO emp VALUES (1, 1, NULL, 'Ann', 100), (2, 2, 1, 'Bob', 90.5), (3, 4, 2, 'Cy', 80), (4, 5, 2, 'Di', 80), (5, NULL, 1, 'Ed', NULL)
INSERT INTO task (emp, no) VALUES (1, 1), (1, 2), (3, 1), (4, 1), (4, 2), (5, 9)
INSERT INTO emp VALUES (9, 99, NULL, 'no', 1)
INSERT INTO task VALUES (77, 1, 'x')
INSERT INTO emp VALUES (9, 1, 10, 'later', 1)
BEGIN;\nINSERT INTO emp VALUES (9, 1, 10, 'later', 1);\nINSERT INTO emp VALUES (10, 1, 9, 'now', 2);\nCOMMIT
WITH RECURSIVE tree (id, name, path, d) AS (SELECT id, name, name, 0 FROM dept WHERE parent IS NULL UNION ALL SELECT dept.id, dept.name, path || '/' || dept.name, d + 1 FROM dept JOIN tree ON dept.parent = tree.id) SELECT tree.path, d, count(emp.id), total(sal) FROM tree LEFT JOIN emp ON emp.dept = tree.id GROUP BY tree.id ORDER BY path
WITH RECURSIVE up (e, b) AS (SELECT id, boss FROM emp UNION SELECT up.e, emp.boss FROM up JOIN emp ON emp.id = up.b WHERE emp.boss IS NOT NULL) SELECT e, group_concat(b, ',') FROM (SELECT * FROM up ORDER BY e, b) GROUP BY e ORDER BY e
SELECT e.name, (SELECT count(*) FROM task t WHERE t.emp = e.id AND t.no >= (SELECT min(no) FROM task t2 WHERE t2.emp = t.emp)) AS n, rank() OVER (PARTITION BY dept IS NULL ORDER BY sal DESC NULLS LAST) AS r FROM emp e ORDER BY e.id
SELECT d.name, e.name, e.sal, sum(e.sal) OVER (PARTITION BY d.id ORDER BY e.sal, e.id) AS run FROM dept d LEFT JOIN emp e ON e.dept = d.id ORDER BY d.id, e.id
SELECT name FROM emp e WHERE sal > (SELECT avg(sal) FROM emp WHERE dept IS e.dept OR boss = e.boss) ORDER BY name
SELECT boss, count(*) AS c FROM emp GROUP BY boss HAVING c > 1 AND EXISTS (SELECT 1 FROM task WHERE task.emp = boss) ORDER BY boss
UPDATE dept SET id = id + 100 WHERE id IN (2, 4)
SELECT * FROM dept ORDER BY id
SELECT id, dept FROM emp ORDER BY id
DELETE FROM dept WHERE name = 'a' RETURNING id
SELECT * FROM dept ORDER BY id
SELECT id, dept, boss FROM emp ORDER BY id
DELETE FROM emp WHERE id = 2
DELETE FROM emp WHERE id IN (3, 4) RETURNING name
SELECT * FROM task ORDER BY 1, 2
BEGIN;\nDELETE FROM emp WHERE id = 1;\nUPDATE emp SET boss = NULL WHERE boss = 1;\nCOMMIT
SELECT * FROM task ORDER BY 1, 2
UPDATE emp SET boss = id
DELETE FROM emp
DROP TABLE dept
DROP TABLE emp
SELECT name FROM sqlite_schema ORDER BY name

CREATE TABLE s (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, a ANY) STRICT
INSERT INTO s VALUES (1, '5', '1.5', 7, x'00', '007'), (2, 5.0, 1, 'x', NULL, 7)
INSERT INTO s VALUES (3, 5.5, 1, 'x', NULL, 7)
INSERT INTO s (id, r) VALUES (3, 'abc')
INSERT INTO s (id, b) VALUES (3, 'abc')
INSERT OR IGNORE INTO s (id, b) VALUES (3, 'abc')
UPDATE s SET t = b WHERE id = 1
SELECT id, typeof(i), typeof(r), typeof(t), typeof(b), typeof(a), a FROM s ORDER BY id
SELECT a, count(*) FROM s GROUP BY a ORDER BY a
ALTER TABLE s ADD COLUMN bad VARCHAR
ALTER TABLE s ADD COLUMN g INTEGER NOT NULL DEFAULT 3
ALTER TABLE s ADD COLUMN h INTEGER NOT NULL
SELECT id, g FROM s ORDER BY id
CREATE TABLE st2 (a VARCHAR(3)) STRICT
CREATE TABLE ck (a INT CHECK (a > 0), b INT, CONSTRAINT sumit CHECK (a + b < 10))
INSERT INTO ck VALUES (1, 2), (3, 4)
INSERT INTO ck VALUES (0, 1)
INSERT INTO ck VALUES (5, 6)
INSERT OR REPLACE INTO ck VALUES (5, 6)
INSERT INTO ck VALUES (5, NULL) RETURNING rowid, *
UPDATE ck SET b = b + 4
UPDATE OR IGNORE ck SET b = b + 4
SELECT rowid, * FROM ck ORDER BY rowid
ALTER TABLE ck DROP COLUMN b
ALTER TABLE ck RENAME COLUMN b TO "b b"
UPDATE ck SET "b b" = 100
ALTER TABLE ck ADD COLUMN z INT CHECK (z <> 5) DEFAULT 5
ALTER TABLE ck ADD COLUMN z INT CHECK (z <> 5) DEFAULT 4
ALTER TABLE ck ADD COLUMN u INT UNIQUE
ALTER TABLE ck ADD COLUMN p INT PRIMARY KEY
ALTER TABLE ck ADD COLUMN d TEXT DEFAULT CURRENT_TIMESTAMP
ALTER TABLE ck ADD COLUMN e TEXT DEFAULT (1 + 1)
ALTER TABLE ck ADD COLUMN rf INT REFERENCES s DEFAULT 1
ALTER TABLE ck ADD COLUMN rf INT REFERENCES s
UPDATE ck SET rf = 9
UPDATE ck SET rf = 1 WHERE rowid = 1
DELETE FROM s WHERE id = 1
SELECT rowid, * FROM ck ORDER BY rowid
