//! Random tables with keys, collations, constraints and defaults of every kind.

use std::fmt::Write as _;

use super::{Class, Features, Generator};

/// What statements are made over.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// What makes it, in order.
    pub ddl: Vec<String>,
    /// The tables.
    pub tables: Vec<Table>,
    /// Views, each with its columns.
    pub views: Vec<(String, Vec<(String, Class)>)>,
    /// Positions of views that triggers make writable, with the event.
    pub written_views: Vec<(usize, &'static str)>,
    /// The column by which a database with a partition key of its own divides those tables that have it.
    pub partition_key: Option<String>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Whether its rows have a rowid.
    pub has_rowid: bool,
    /// Lists of columns that keep its rows apart.
    pub uniques: Vec<Vec<String>>,
    /// What else an UPSERT may name: the key of a unique index over expressions, or one with a WHERE.
    pub targets: Vec<String>,
    /// Terms that order its rows unambiguously.
    pub order: String,
    /// Whether its rowids come from a counter.
    pub autoincrement: bool,
    /// Whether its columns take values of their own type alone.
    pub strict: bool,
    /// Whether rows that a constraint refuses are skipped, or replace others, without the statement's saying so.
    pub lenient: bool,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it mostly holds.
    pub class: Class,
    /// Whether it is computed and cannot be written.
    pub generated: bool,
}

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// Declared types with what they mostly hold.
const TYPES: [(&str, Class); 14] = [
    ("INT", Class::Integer),
    ("INTEGER", Class::Integer),
    ("BIGINT", Class::Integer),
    ("BOOLEAN", Class::Integer),
    ("TEXT", Class::Text),
    ("TEXT COLLATE NOCASE", Class::Text),
    ("TEXT COLLATE RTRIM", Class::Text),
    ("VARCHAR(10)", Class::Text),
    ("REAL", Class::Real),
    ("DOUBLE PRECISION", Class::Real),
    ("NUMERIC", Class::Any),
    ("", Class::Any),
    ("COLLATE NOCASE", Class::Any),
    ("BLOB", Class::Blob),
];

const STRICT_TYPES: [(&str, Class); 6] = [
    ("INT", Class::Integer),
    ("INTEGER", Class::Integer),
    ("TEXT", Class::Text),
    ("REAL", Class::Real),
    ("BLOB", Class::Blob),
    ("ANY", Class::Any),
];

impl Generator {
    pub(super) fn make_schema(&mut self, features: Features) {
        for number in 0..2 + self.below(2) {
            let name = ["t", "u", "w"][number];
            self.make_table(name, features);
        }
        if self.chance(30) {
            self.schema.partition_key = Some(NAMES[self.below(3)].to_owned());
        }
        for number in 0..self.below(3) {
            self.make_index(number);
        }
        for number in 0..self.below(3) {
            self.make_view(number);
        }
        if features.triggers {
            self.make_triggers();
        }
    }

    fn make_table(&mut self, name: &str, features: Features) {
        let strict = self.chance(15);
        let mut table = Table { name: name.to_owned(), has_rowid: true, strict, ..Table::default() };
        let mut parts = Vec::new();
        let key = self.below(10);
        if key < 4 {
            let autoincrement = features.autoincrement && self.chance(30);
            table.autoincrement = autoincrement;
            parts
                .push(format!("id INTEGER PRIMARY KEY{}", if autoincrement { " AUTOINCREMENT" } else { "" }));
            table.columns.push(Column { name: "id".into(), class: Class::Rowid, generated: false });
            table.uniques.push(vec!["id".into()]);
        }
        let count = 2 + self.below(4);
        for name in &NAMES[..count] {
            parts.push(self.column_definition(&mut table, name, key));
        }
        if self.chance(35) {
            parts.push(self.generated_column(&mut table, "computed"));
            if self.chance(30) {
                parts.push(self.generated_column(&mut table, "derived"));
            }
        }
        let mut options: Vec<&str> = strict.then_some("STRICT").into_iter().collect();
        match key {
            5 | 6 => {
                let terms =
                    self.pick(&["a, b", "a, b DESC", "a COLLATE NOCASE, b", "a, b COLLATE BINARY DESC"]);
                self.primary_key(&mut table, &mut parts, terms);
                if key == 6 {
                    options.push("WITHOUT ROWID");
                    table.has_rowid = false;
                }
            }
            7 => {
                let terms = self.pick(&["b", "b", "b DESC", "b COLLATE NOCASE", "b COLLATE BINARY"]);
                self.primary_key(&mut table, &mut parts, terms);
                if self.chance(50) {
                    options.push("WITHOUT ROWID");
                    table.has_rowid = false;
                }
            }
            _ => {}
        }
        if count > 2 && self.chance(20) {
            let clause = self.pick(&["", "", "", " ON CONFLICT IGNORE", " ON CONFLICT REPLACE"]);
            table.lenient |= !clause.is_empty();
            parts.push(format!("UNIQUE (c, a){clause}"));
            table.uniques.push(vec!["c".into(), "a".into()]);
        }
        if features.foreign_keys && name != "t" && self.chance(60) {
            parts.extend(self.foreign_key(&table));
        }
        // Without a rowid the primary key alone is sure to have no NULLs.
        if table.has_rowid {
            table.order = "rowid".into();
        }
        self.schema.ddl.push(format!("CREATE TABLE {name} ({}) {}", parts.join(", "), options.join(", ")));
        self.schema.tables.push(table);
    }

    /// Adds a primary key of several columns, or of one that is no INTEGER.
    fn primary_key(&mut self, table: &mut Table, parts: &mut Vec<String>, terms: &str) {
        parts.push(format!("PRIMARY KEY ({terms})"));
        table.order = terms.replace(" DESC", "");
        if terms.contains("COLLATE") {
            // No foreign key can refer to it.
            table.targets.push(format!("({})", table.order));
        } else {
            table.uniques.push(table.order.split(", ").map(str::to_owned).collect());
        }
    }

    /// A column computed from one or two others, which may be computed themselves.
    fn generated_column(&mut self, table: &mut Table, name: &str) -> String {
        let body = self.generated_body(table);
        let kind = if table.strict { " TEXT" } else { self.pick(&["", " TEXT", " TEXT COLLATE NOCASE"]) };
        let stored = self.pick(&["STORED", "VIRTUAL", ""]);
        let constraint = match self.below(10) {
            0 => " NOT NULL".to_owned(),
            1 => format!(" CHECK ({name} IS NOT '3x')"),
            2 => {
                table.targets.push(format!("({name})"));
                " UNIQUE".to_owned()
            }
            _ => String::new(),
        };
        table.columns.push(Column { name: name.to_owned(), class: Class::Text, generated: true });
        format!("{name}{kind} AS ({body}) {stored}{constraint}")
    }

    /// What a generated column is computed by: a text or NULL.
    pub(super) fn generated_body(&mut self, table: &Table) -> String {
        // Bytes that are no text in UTF-8 would reach clients otherwise than they are.
        let text = |generator: &mut Generator| {
            let name = &table.columns[generator.below(table.columns.len())].name;
            format!("iif(typeof({name}) = 'blob', hex({name}), {name})")
        };
        let (of, other) = (text(self), text(self));
        let value = match self.below(6) {
            0 => format!("{of} || 'x'"),
            1 => format!("typeof({of})"),
            2 => format!("coalesce({of}, 'none')"),
            3 => format!("{of} = {other}"),
            4 => format!("coalesce({of}, {other})"),
            _ => format!("{of} || {other}"),
        };
        format!("CAST({value} AS TEXT)")
    }

    fn column_definition(&mut self, table: &mut Table, name: &str, key: usize) -> String {
        let choices: &[(&str, Class)] = if table.strict { &STRICT_TYPES } else { &TYPES };
        let (declared, class) = choices[self.below(choices.len())];
        let names_rowid = declared == "INTEGER" && [(4, "a"), (7, "b")].contains(&(key, name));
        let class = if names_rowid { Class::Rowid } else { class };
        table.columns.push(Column { name: name.to_owned(), class, generated: false });
        let mut definition = format!("{name} {declared}");
        // A key of WITHOUT ROWID and an ordinary one alike: the column `a` of tables with a key of its own.
        if key == 4 && name == "a" {
            definition.push_str(" PRIMARY KEY");
            table.uniques.push(vec!["a".into()]);
        }
        if self.chance(12) {
            definition.push_str(" NOT NULL");
        }
        if self.chance(15) {
            let literal = self.literal(class);
            let default = match self.below(4) {
                0 => "(1 + 1)".to_owned(),
                1 => "(lower('AB') || 'c')".to_owned(),
                _ => literal,
            };
            let _ = write!(definition, " DEFAULT {default}");
        }
        if self.chance(12) {
            definition.push_str(" UNIQUE");
            let clause = self.pick(&["", "", "", " ON CONFLICT REPLACE", " ON CONFLICT IGNORE"]);
            table.lenient |= !clause.is_empty();
            definition.push_str(clause);
            table.uniques.push(vec![name.to_owned()]);
        }
        if self.chance(12) {
            let check = match self.below(3) {
                0 => format!("{name} IS NOT 3"),
                1 => format!("length({name}) < 8"),
                _ => format!("typeof({name}) <> 'blob' OR {name} = x'00'"),
            };
            let _ = write!(definition, " CHECK ({check})");
        }
        definition
    }

    fn foreign_key(&mut self, child: &Table) -> Option<String> {
        let parents: Vec<(String, String, Class)> = self
            .schema
            .tables
            .iter()
            .flat_map(|table| {
                let single = table.uniques.iter().filter(|columns| columns.len() == 1);
                single.map(|columns| {
                    let column = table.columns.iter().find(|column| column.name == columns[0]);
                    (table.name.clone(), columns[0].clone(), column.map_or(Class::Any, |column| column.class))
                })
            })
            .collect();
        if parents.is_empty() {
            return None;
        }
        let (parent, target, class) = parents[self.below(parents.len())].clone();
        let same = |column: &&Column| {
            !column.generated
                && (column.class == class || (class == Class::Rowid && column.class == Class::Integer))
        };
        let of = child.columns.iter().find(same).or(child.columns.iter().find(|column| !column.generated))?;
        let on_delete = self.pick(&[
            "",
            " ON DELETE CASCADE",
            " ON DELETE SET NULL",
            " ON DELETE RESTRICT",
            " ON DELETE SET DEFAULT",
        ]);
        let on_update = self.pick(&["", " ON UPDATE CASCADE", " ON UPDATE SET NULL", " ON UPDATE RESTRICT"]);
        let deferred = self.pick(&["", "", " DEFERRABLE INITIALLY DEFERRED"]);
        Some(format!(
            "FOREIGN KEY ({}) REFERENCES {parent} ({target}){on_delete}{on_update}{deferred}",
            of.name
        ))
    }

    fn make_index(&mut self, number: usize) {
        let table = self.table();
        let column = |generator: &mut Generator| {
            let columns: Vec<&Column> = table.columns.iter().collect();
            columns[generator.below(columns.len())].name.clone()
        };
        let (first, second) = (column(self), column(self));
        let terms = match self.below(5) {
            0 if first != second => format!("{first}, {second} DESC"),
            1 => format!("lower({first})"),
            2 => format!("{first} COLLATE NOCASE"),
            _ => first.clone(),
        };
        let filter = if self.chance(20) { format!(" WHERE {second} IS NOT NULL") } else { String::new() };
        let unique = self.chance(30);
        self.schema.ddl.push(format!(
            "CREATE {}INDEX i{number} ON {} ({terms}){filter}",
            if unique { "UNIQUE " } else { "" },
            table.name
        ));
        if unique {
            let table = self.schema.tables.iter_mut().find(|other| other.name == table.name);
            let table = table.expect("the table is one of them");
            if terms == first && filter.is_empty() {
                table.uniques.push(vec![first]);
            } else {
                table.targets.push(format!("({terms}){filter}"));
            }
        }
    }

    fn make_view(&mut self, number: usize) {
        let name = format!("v{number}");
        self.next_alias = 100 * (number + 1);
        let select = self.view_body();
        let columns: Vec<(String, Class)> =
            select.classes.iter().enumerate().map(|(index, class)| (format!("k{index}"), *class)).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        self.schema.ddl.push(format!("CREATE VIEW {name} ({}) AS {}", names.join(", "), select.sql));
        self.schema.views.push((name, columns));
    }

    /// Triggers, of which no two have the same table, event and time: which of them fires first is not defined.
    fn make_triggers(&mut self) {
        self.schema.ddl.push("CREATE TABLE log (what, old, new)".into());
        let mut taken = Vec::new();
        for number in 0..1 + self.below(3) {
            let on = self.below(self.schema.tables.len());
            let (when, event) = (self.pick(&["BEFORE", "AFTER"]), self.pick(&["INSERT", "DELETE", "UPDATE"]));
            if !taken.contains(&(on, when, event)) {
                taken.push((on, when, event));
                self.make_trigger(number, on, when, event);
            }
        }
        if !self.schema.views.is_empty() && self.chance(60) {
            let (view, event) =
                (self.below(self.schema.views.len()), self.pick(&["INSERT", "DELETE", "UPDATE"]));
            self.make_view_trigger(view, event);
        }
    }

    fn make_trigger(&mut self, number: usize, on: usize, when: &str, event: &str) {
        let tables = self.schema.tables.clone();
        let (on, into) = (&tables[on], &tables[self.below(tables.len())]);
        let source = on.columns[self.below(on.columns.len())].name.clone();
        let (old, new) = match event {
            "INSERT" => ("NULL".to_owned(), format!("NEW.{source}")),
            "DELETE" => (format!("OLD.{source}"), "NULL".to_owned()),
            _ => (format!("OLD.{source}"), format!("NEW.{source}")),
        };
        let value = if event == "DELETE" { &old } else { &new };
        let target = self.writable(into).name;
        let body = match self.below(9) {
            0 => format!("UPDATE {} SET {target} = {target} WHERE {target} IS {value}", into.name),
            1 => format!("DELETE FROM {} WHERE {target} = 5", into.name),
            2 => format!("INSERT OR IGNORE INTO {} ({target}) VALUES ({value})", into.name),
            3 => format!("SELECT RAISE(IGNORE) WHERE {value} IS 3"),
            4 => format!("SELECT RAISE(ABORT, 'not 4') WHERE {value} IS 4"),
            5 => format!(
                "INSERT INTO log SELECT 'counted', count(*), max({target}) FROM {} WHERE {target} IS NOT {value}",
                into.name
            ),
            _ => format!("INSERT INTO log VALUES ('{event}', {old}, {new})"),
        };
        let more = if self.chance(25) {
            format!(" INSERT INTO log VALUES ('{when}', {old}, {new});")
        } else {
            String::new()
        };
        let columns = if event == "UPDATE" && self.chance(40) {
            format!(" OF {}", self.writable(on).name)
        } else {
            String::new()
        };
        let condition = if self.chance(30) { format!(" WHEN {value} IS NOT 2") } else { String::new() };
        self.schema.ddl.push(format!(
            "CREATE TRIGGER r{number} {when} {event}{columns} ON {} FOR EACH ROW{condition} BEGIN {body};{more} END",
            on.name
        ));
    }

    /// A trigger that says what a change of a view's rows is.
    fn make_view_trigger(&mut self, view: usize, event: &'static str) {
        let (name, into) = (self.schema.views[view].0.clone(), self.table());
        let target = self.writable(&into).name;
        let body = match event {
            "INSERT" => format!("INSERT OR IGNORE INTO {} ({target}) VALUES (NEW.k0)", into.name),
            "DELETE" => format!("DELETE FROM {} WHERE {target} = OLD.k0", into.name),
            _ => format!("UPDATE OR IGNORE {} SET {target} = NEW.k0 WHERE {target} IS OLD.k0", into.name),
        };
        self.schema.ddl.push(format!("CREATE TRIGGER rv INSTEAD OF {event} ON {name} BEGIN {body}; END"));
        self.schema.written_views.push((view, event));
    }

    /// A column that can be written.
    pub(super) fn writable(&mut self, table: &Table) -> Column {
        let columns: Vec<&Column> = table.columns.iter().filter(|column| !column.generated).collect();
        columns[self.below(columns.len())].clone()
    }
}
