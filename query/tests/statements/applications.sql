CREATE TABLE "django_migrations" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "app" varchar(255) NOT NULL, "name" varchar(255) NOT NULL, "applied" datetime NOT NULL)
CREATE TABLE "auth_user" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "password" varchar(128) NOT NULL, "is_superuser" bool NOT NULL, "username" varchar(150) NOT NULL UNIQUE, "email" varchar(254) NOT NULL, "age" integer unsigned NOT NULL CHECK ("age" >= 0), "data" text NULL CHECK ((JSON_VALID("data") OR "data" IS NULL)))
CREATE TABLE "auth_group" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "name" varchar(150) NOT NULL UNIQUE)
CREATE TABLE "auth_user_groups" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "user_id" integer NOT NULL REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED, "group_id" integer NOT NULL REFERENCES "auth_group" ("id") DEFERRABLE INITIALLY DEFERRED)
CREATE UNIQUE INDEX "auth_user_groups_uniq" ON "auth_user_groups" ("user_id", "group_id")
CREATE INDEX "auth_user_groups_user" ON "auth_user_groups" ("user_id")
INSERT INTO "django_migrations" ("app", "name", "applied") VALUES ('auth', '0001_initial', '2024-01-01 10:00:00') RETURNING "django_migrations"."id"
INSERT INTO "auth_user" ("password", "is_superuser", "username", "email", "age", "data") VALUES ('x', 1, 'ann', 'a@x', 30, '{"a": [1, 2]}'), ('y', 0, 'bob', 'b@x', 25, NULL), ('z', 0, 'cyd', 'c@x', 41, '[]') RETURNING "auth_user"."id"
INSERT INTO "auth_user" ("password", "is_superuser", "username", "email", "age") VALUES ('x', 1, 'dan', 'a@x', -1)
INSERT INTO "auth_user" ("password", "is_superuser", "username", "email", "age", "data") VALUES ('x', 1, 'dan', 'a@x', 1, '{')
INSERT OR IGNORE INTO "auth_group" ("name") VALUES ('staff'), ('admin'), ('staff') RETURNING "id"
SELECT count(*), min(name), max(name) FROM auth_group
INSERT INTO "auth_user_groups" ("user_id", "group_id") SELECT u.id, g.id FROM auth_user u CROSS JOIN auth_group g WHERE u.age > 26 RETURNING user_id, group_id
INSERT OR IGNORE INTO "auth_user_groups" ("user_id", "group_id") SELECT u.id, g.id FROM auth_user u CROSS JOIN auth_group g
SELECT "auth_user"."username", "auth_group"."name" FROM "auth_user" INNER JOIN "auth_user_groups" ON ("auth_user"."id" = "auth_user_groups"."user_id") INNER JOIN "auth_group" ON ("auth_user_groups"."group_id" = "auth_group"."id") WHERE "auth_group"."name" IN ('staff', 'admin') ORDER BY "auth_user"."username" ASC, "auth_group"."name" DESC LIMIT 21
SELECT "auth_user"."id", COUNT("auth_user_groups"."group_id") AS "n" FROM "auth_user" LEFT OUTER JOIN "auth_user_groups" ON ("auth_user"."id" = "auth_user_groups"."user_id") GROUP BY "auth_user"."id", "auth_user"."username" HAVING COUNT("auth_user_groups"."group_id") >= 2 ORDER BY "n" DESC, 1
SELECT EXISTS(SELECT 1 AS "a" FROM "auth_user" WHERE "auth_user"."username" = 'ann' LIMIT 1)
SELECT COUNT(*) AS "__count" FROM "auth_user" WHERE NOT EXISTS(SELECT 1 AS "a" FROM "auth_user_groups" U1 WHERE (U1."group_id" = 1 AND U1."user_id" = ("auth_user"."id")) LIMIT 1)
SELECT "auth_user"."username", (SELECT U0."name" FROM "auth_group" U0 INNER JOIN "auth_user_groups" U1 ON U0.id = U1.group_id WHERE U1."user_id" = ("auth_user"."id") ORDER BY U0."name" DESC LIMIT 1) AS "top" FROM "auth_user" ORDER BY 1
SELECT username, CASE WHEN JSON_TYPE("data", '$') = 'object' THEN JSON_EXTRACT("data", '$."a"[0]') END FROM auth_user ORDER BY id
UPDATE "auth_user" SET "email" = REPLACE("email", '@x', '@y'), "age" = ("auth_user"."age" + 1) WHERE "auth_user"."id" IN (SELECT U0."id" FROM "auth_user" U0 INNER JOIN "auth_user_groups" U1 ON (U0."id" = U1."user_id") WHERE U1."group_id" = 1)
DELETE FROM "auth_group" WHERE "auth_group"."id" IN (1)
BEGIN;\nDELETE FROM "auth_user_groups" WHERE "auth_user_groups"."group_id" IN (1);\nDELETE FROM "auth_group" WHERE "auth_group"."id" IN (1);\nCOMMIT
SELECT * FROM auth_user ORDER BY id
CREATE TABLE "new__auth_user" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "username" varchar(150) NOT NULL UNIQUE, "age" integer NOT NULL, "nick" varchar(10) DEFAULT 'none' NOT NULL)
INSERT INTO "new__auth_user" ("id", "username", "age", "nick") SELECT "id", "username", "age", substr(username, 1, 2) FROM "auth_user"
DELETE FROM auth_user_groups
DROP TABLE "auth_user"
ALTER TABLE "new__auth_user" RENAME TO "auth_user"
SELECT * FROM auth_user ORDER BY id
INSERT INTO auth_user (username, age) VALUES ('eve', 1) RETURNING id, nick
INSERT INTO auth_user_groups (user_id, group_id) VALUES (1, 2)
INSERT INTO auth_user_groups (user_id, group_id) VALUES (99, 2)
SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('table', 'index') AND NOT name = 'sqlite_sequence' ORDER BY name
SELECT sql FROM sqlite_master WHERE name IN ('auth_user', 'auth_user_groups') ORDER BY name
PRAGMA table_info("auth_user")
PRAGMA foreign_key_list("auth_user_groups")
PRAGMA index_list("auth_user_groups")
PRAGMA index_info("auth_user_groups_uniq")
SELECT seq FROM sqlite_sequence WHERE name = 'auth_user'

CREATE TABLE posts (id INTEGER PRIMARY KEY, title VARCHAR NOT NULL, body TEXT, score FLOAT DEFAULT 0.0, created_at DATETIME DEFAULT (datetime('2024-01-01')), tags JSON, published BOOLEAN DEFAULT FALSE)
CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id BIGINT, parent_id BIGINT, txt TEXT, FOREIGN KEY (post_id) REFERENCES posts (id) ON DELETE CASCADE, FOREIGN KEY (parent_id) REFERENCES comments (id) ON DELETE CASCADE)
INSERT INTO posts (title, body, tags, published) VALUES ('one', 'b1', '["x","y"]', TRUE), ('two', NULL, '["y"]', FALSE), ('three', 'b3', '[]', 1)
INSERT INTO comments (post_id, parent_id, txt) VALUES (1, NULL, 'c1'), (1, 1, 'c2'), (1, 2, 'c3'), (2, NULL, 'c4'), (3, NULL, NULL)
WITH RECURSIVE thread(id, txt, depth, path) AS (SELECT id, txt, 0, printf('%04d', id) FROM comments WHERE parent_id IS NULL AND post_id = 1 UNION ALL SELECT c.id, c.txt, depth + 1, path || '.' || printf('%04d', c.id) FROM comments c JOIN thread t ON c.parent_id = t.id) SELECT * FROM thread ORDER BY path
SELECT p.id, p.title, count(c.id) AS n, group_concat(c.txt, '|') FROM posts p LEFT JOIN (SELECT * FROM comments ORDER BY id) c ON c.post_id = p.id GROUP BY p.id ORDER BY n DESC, p.id
SELECT j.value tag, count(DISTINCT p.id) FROM posts p, json_each(p.tags) j WHERE p.published GROUP BY tag ORDER BY tag
SELECT p.* FROM posts p WHERE p.published IS TRUE AND p.body IS NOT NULL ORDER BY p.id
SELECT p.title, json_group_array(json_object('id', c.id, 'txt', c.txt)) FROM posts p JOIN comments c ON c.post_id = p.id WHERE p.id = 2 GROUP BY p.id
SELECT title, score, row_number() OVER (ORDER BY score DESC, id) rn, count(*) OVER () total FROM posts ORDER BY rn LIMIT 2 OFFSET 1
UPDATE posts SET score = (SELECT count(*) * 1.5 FROM comments WHERE post_id = posts.id), published = NOT published RETURNING id, score, published
INSERT INTO posts (id, title) VALUES (2, 'two!'), (9, 'nine') ON CONFLICT (id) DO UPDATE SET title = excluded.title, score = posts.score + 1 WHERE posts.title <> excluded.title RETURNING id, title, score
DELETE FROM comments WHERE id = 1 RETURNING id
SELECT id FROM comments ORDER BY id
DELETE FROM posts WHERE score < (SELECT avg(score) FROM posts) RETURNING id
SELECT * FROM comments ORDER BY id
SELECT id, title FROM posts ORDER BY title COLLATE NOCASE DESC
INSERT INTO posts (title) VALUES ('Nine')
CREATE INDEX posts_part ON posts (score) WHERE published
SELECT id FROM posts WHERE published AND score > 1 ORDER BY score, id
SELECT id FROM posts WHERE (score, title) > (1.0, 'a') ORDER BY id
SELECT max(created_at), min(date(created_at)) FROM posts
SELECT coalesce(sum(score), 0), ifnull(avg(score), -1) FROM posts WHERE id > 1000
SELECT typeof(published), published IS FALSE, count(*) FROM posts GROUP BY 1, 2 ORDER BY 1, 2
ALTER TABLE posts DROP COLUMN tags
SELECT * FROM posts ORDER BY id

CREATE TABLE inv (sku TEXT PRIMARY KEY, qty INT NOT NULL CHECK (qty >= 0), price DECIMAL(10, 2))
CREATE TABLE ord (id INTEGER PRIMARY KEY, sku TEXT NOT NULL REFERENCES inv (sku), n INT NOT NULL, at TEXT DEFAULT '2024')
CREATE TRIGGER take AFTER INSERT ON ord BEGIN UPDATE inv SET qty = qty - NEW.n WHERE sku = NEW.sku; END
CREATE TRIGGER back AFTER DELETE ON ord BEGIN UPDATE inv SET qty = qty + OLD.n WHERE sku = OLD.sku; END
CREATE TRIGGER diff AFTER UPDATE OF n, sku ON ord BEGIN UPDATE inv SET qty = qty + OLD.n WHERE sku = OLD.sku; UPDATE inv SET qty = qty - NEW.n WHERE sku = NEW.sku; END
INSERT INTO inv VALUES ('a', 10, 1.50), ('b', 5, '2.25'), ('c', 0, 3)
INSERT INTO ord (sku, n) VALUES ('a', 3), ('b', 2)
INSERT INTO ord (sku, n) VALUES ('a', 1), ('c', 1)
INSERT OR IGNORE INTO ord (sku, n) VALUES ('a', 1), ('c', 1)
UPDATE ord SET n = n * 2
UPDATE ord SET n = 100 WHERE id = 1
UPDATE ord SET sku = 'b', n = 1 WHERE id = 1
DELETE FROM ord WHERE sku = 'b' RETURNING *
INSERT INTO ord (sku, n) VALUES ('zz', 1)
SELECT * FROM inv ORDER BY sku
SELECT * FROM ord ORDER BY id
SELECT sku, qty * price v, sum(qty * price) OVER (ORDER BY sku) run, printf('%.2f', price) FROM inv ORDER BY sku
BEGIN;\nUPDATE inv SET qty = qty - 4 WHERE sku = 'a' AND qty >= 4;\nINSERT INTO ord (sku, n) SELECT 'b', changes();\nSELECT changes();\nCOMMIT
SELECT * FROM inv ORDER BY sku
UPDATE inv SET sku = 'A' WHERE sku = 'a'
DELETE FROM inv WHERE sku NOT IN (SELECT sku FROM ord) RETURNING sku
SELECT * FROM inv ORDER BY sku
