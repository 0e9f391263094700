//! Random changes of the schema of tables that have rows.

use super::{Class, Column, Generator, Statement, Table};
use crate::compare::Order;

impl Generator {
    /// A statement that changes the schema. What it names need not be there.
    pub(super) fn definition(&mut self) -> Statement {
        let position = self.below(self.schema.tables.len());
        let table = self.schema.tables[position].clone();
        let sql = match self.below(12) {
            0..4 => self.add_column(position, &table),
            4 | 5 => self.drop_column(position, &table),
            6 => self.rename_column(position, &table),
            7..10 => self.create_index(&table),
            10 => format!("DROP INDEX IF EXISTS i{}", self.below(5)),
            _ if self.chance(30) => format!("DROP TABLE {}", table.name),
            _ => format!("DROP VIEW IF EXISTS v{}", self.below(3)),
        };
        Statement { sql, order: Order::Any, is_change: true }
    }

    /// Statements that make a request change the schema and rows, in order.
    pub(super) fn definitions_of_a_batch(&mut self) -> Vec<String> {
        let table = self.table();
        match self.below(4) {
            0 => vec![self.definition().sql],
            1 => self.copy_and_drop(&table),
            2 => self.rename_and_back(&table),
            _ => self.scratch(&table),
        }
    }

    fn copy_and_drop(&mut self, table: &Table) -> Vec<String> {
        let (first, second) = (self.updated(table), self.updated(table).name);
        let mut all = vec![
            format!("CREATE TABLE copy AS SELECT * FROM {} ORDER BY {}", table.name, table.order),
            format!("UPDATE copy SET {} = {} WHERE rowid % 3 = 0", first.name, self.literal(first.class)),
        ];
        if self.chance(40) {
            all.push(format!("CREATE UNIQUE INDEX copied ON copy ({second})"));
        }
        all.push("SELECT rowid, * FROM copy ORDER BY rowid".to_owned());
        all.push(format!(
            "UPDATE {} SET {second} = (SELECT {second} FROM copy ORDER BY rowid DESC LIMIT 1) WHERE {second} IS NULL",
            table.name
        ));
        all.extend(self.chance(85).then(|| "DROP TABLE copy".to_owned()));
        all
    }

    fn rename_and_back(&mut self, table: &Table) -> Vec<String> {
        let column = self.updated(table);
        let value = self.literal(column.class);
        vec![
            format!("ALTER TABLE {} RENAME TO moved", table.name),
            format!(
                "UPDATE moved SET {} = {value} WHERE {} IS NOT NULL",
                column.name,
                self.writable(table).name
            ),
            format!("SELECT * FROM moved ORDER BY {}", table.order),
            format!("ALTER TABLE moved RENAME TO {}", table.name),
        ]
    }

    fn scratch(&mut self, table: &Table) -> Vec<String> {
        let (first, second) = (self.writable(table).name, self.writable(table).name);
        let (name, clause) = (&table.name, self.pick(&["", " OR IGNORE", " OR REPLACE"]));
        vec![
            "CREATE TABLE scratch (id INTEGER PRIMARY KEY, x UNIQUE, y)".to_owned(),
            format!(
                "INSERT{clause} INTO scratch (x, y) SELECT {first}, {second} FROM {name} ORDER BY {}",
                table.order
            ),
            "CREATE UNIQUE INDEX scratched ON scratch (y) WHERE x IS NULL".to_owned(),
            format!("DELETE FROM {name} WHERE {first} IN (SELECT x FROM scratch WHERE id % 4 = 0)"),
            "SELECT * FROM scratch ORDER BY id".to_owned(),
            "DROP TABLE scratch".to_owned(),
        ]
    }

    fn add_column(&mut self, position: usize, table: &Table) -> String {
        let name = format!("{}{}", self.pick(&["h", "k", "l"]), table.columns.len());
        if self.chance(15) {
            let (body, constraint) = (self.generated_body(table), self.pick(&["", "", " NOT NULL"]));
            let column = Column { name: name.clone(), class: Class::Text, generated: true };
            self.schema.tables[position].columns.push(column);
            return format!("ALTER TABLE {} ADD COLUMN {name} TEXT AS ({body}){constraint}", table.name);
        }
        let choices = ["INT", "TEXT", "REAL", "BLOB"];
        let classes = [Class::Integer, Class::Text, Class::Real, Class::Blob];
        let kind = self.below(choices.len());
        let literal = self.literal(classes[kind]);
        let constraint = match self.below(8) {
            0 | 1 => format!(" DEFAULT {literal}"),
            2 => format!(" NOT NULL DEFAULT {literal}"),
            3 => format!(" CHECK ({name} IS NOT 3)"),
            4 => format!(" DEFAULT {literal} CHECK (length({name}) < 4)"),
            5 => " COLLATE NOCASE".to_owned(),
            _ => String::new(),
        };
        self.schema.tables[position].columns.push(Column {
            name: name.clone(),
            class: classes[kind],
            generated: false,
        });
        format!("ALTER TABLE {} ADD COLUMN {name} {}{constraint}", table.name, choices[kind])
    }

    fn drop_column(&mut self, position: usize, table: &Table) -> String {
        let column = self.writable(table).name;
        let is_key = table.uniques.iter().flatten().any(|name| *name == column);
        let written = table.columns.iter().filter(|column| !column.generated).count();
        if !is_key && table.columns.len() > 3 && written > 1 && self.chance(70) {
            self.schema.tables[position].columns.retain(|other| other.name != column);
        }
        format!("ALTER TABLE {} DROP COLUMN {column}", table.name)
    }

    fn rename_column(&mut self, position: usize, table: &Table) -> String {
        let (from, to) = (self.writable(table).name, format!("n{}", self.below(1_000)));
        let is_key = table.uniques.iter().flatten().any(|name| *name == from);
        if is_key {
            return format!("ALTER TABLE {} RENAME COLUMN {from} TO {from}", table.name);
        }
        for column in &mut self.schema.tables[position].columns {
            if column.name == from {
                column.name.clone_from(&to);
            }
        }
        format!("ALTER TABLE {} RENAME COLUMN {from} TO {to}", table.name)
    }

    fn create_index(&mut self, table: &Table) -> String {
        let (first, second) = (self.writable(table).name, self.writable(table).name);
        let unique = if self.chance(60) { "UNIQUE " } else { "" };
        let terms = match self.below(5) {
            0 => format!("lower({first})"),
            1 | 2 if first != second => format!("{first}, {second}"),
            _ => first,
        };
        let filter = if self.chance(15) { format!(" WHERE {second} IS NOT NULL") } else { String::new() };
        format!("CREATE {unique}INDEX i{} ON {} ({terms}){filter}", self.below(5), table.name)
    }
}
