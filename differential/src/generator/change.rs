//! Random INSERT, UPDATE and DELETE statements.

use super::expression::Scope;
use super::select::relation_of;
use super::{Class, Column, Generator, Relation, Statement, Table};
use crate::compare::Order;

const CLAUSES: [&str; 8] = ["", "", "", "", " OR IGNORE", " OR REPLACE", " OR ABORT", " OR FAIL"];

impl Generator {
    /// A statement that changes rows.
    pub(super) fn change(&mut self) -> Statement {
        let table = self.table();
        if !self.schema.written_views.is_empty() && self.chance(8) {
            return Statement { sql: self.view_change(), order: Order::Any, is_change: true };
        }
        let sql = match self.below(20) {
            0 | 1 => self.delete(&table),
            2..5 => self.update(&table),
            5 => self.change_by_with(&table),
            6 => self.update_from(&table),
            7 | 8 => self.insert_select(&table),
            9 => format!("INSERT INTO {} DEFAULT VALUES{}", table.name, self.returning(&table)),
            10..12 => self.upsert(&table),
            _ => self.insert(&table),
        };
        Statement { sql, order: Order::Any, is_change: true }
    }

    /// A change of a view's rows.
    fn view_change(&mut self) -> String {
        let (view, event) = self.schema.written_views[0];
        let (name, columns) = self.schema.views[view].clone();
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let relation = Relation { name: name.clone(), columns: columns.clone(), has_rowid: false };
        let scope = Scope::of(vec![relation], 0);
        match event {
            "INSERT" => {
                let values: Vec<String> = columns.iter().map(|(_, class)| self.literal(*class)).collect();
                format!("INSERT INTO {name} ({}) VALUES ({})", names.join(", "), values.join(", "))
            }
            "DELETE" => format!("DELETE FROM {name} WHERE {}", self.condition(&scope, 1)),
            _ => {
                let value = self.literal(columns[0].1);
                format!("UPDATE {name} SET k0 = {value} WHERE {}", self.condition(&scope, 1))
            }
        }
    }

    /// The table's own columns, without an alias.
    fn own_scope(&self, table: &Table, levels: usize) -> Scope {
        let relation = relation_of(table, &table.name);
        Scope::of(vec![relation], levels)
    }

    fn returning(&mut self, table: &Table) -> String {
        match self.below(6) {
            0 => " RETURNING *".to_owned(),
            1 => {
                let scope = self.own_scope(table, 0);
                format!(" RETURNING {}, {}", self.expression(&scope, 1).0, self.column(&scope).0)
            }
            _ => String::new(),
        }
    }

    /// Columns to be written: all that can be, or some.
    fn written_columns(&mut self, table: &Table) -> Vec<Column> {
        let all: Vec<Column> = table.columns.iter().filter(|column| !column.generated).cloned().collect();
        if self.chance(70) {
            return all;
        }
        let some: Vec<Column> = all.iter().filter(|_| self.chance(70)).cloned().collect();
        if some.is_empty() { all } else { some }
    }

    fn row(&mut self, columns: &[Column]) -> String {
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                if self.chance(6) {
                    let scope = Scope::default();
                    return self.expression(&scope, 1).0;
                }
                self.literal(column.class)
            })
            .collect();
        format!("({})", values.join(", "))
    }

    /// Rows to insert; one row where some may be left out, which may leave gaps between the rowids that others
    /// get.
    fn rows(&mut self, table: &Table, columns: &[Column], skips: bool) -> String {
        let most = if table.has_rowid && (skips || table.lenient) { 1 } else { 6 };
        let count = [1, 1, 1, 2, 3, 6][self.below(6)].min(most);
        (0..count).map(|_| self.row(columns)).collect::<Vec<_>>().join(", ")
    }

    fn insert(&mut self, table: &Table) -> String {
        let columns = self.written_columns(table);
        let names = names_of(&columns);
        let clause = CLAUSES[self.below(CLAUSES.len())];
        let rows = self.rows(table, &columns, !clause.is_empty());
        let returning = self.returning(table);
        format!("INSERT{clause} INTO {} ({names}) VALUES {rows}{returning}", table.name)
    }

    fn upsert(&mut self, table: &Table) -> String {
        let columns = self.written_columns(table);
        let names = names_of(&columns);
        let rows = self.rows(table, &columns, true);
        let returning = self.returning(table);
        if table.uniques.is_empty() && table.targets.is_empty() || self.chance(25) {
            return format!(
                "INSERT INTO {} ({names}) VALUES {rows} ON CONFLICT DO NOTHING{returning}",
                table.name
            );
        }
        let keys = table.uniques.iter().map(|columns| format!("({})", columns.join(", ")));
        let keys: Vec<String> = keys.chain(table.targets.iter().cloned()).collect();
        let conflict = &keys[self.below(keys.len())];
        if self.chance(20) {
            return format!(
                "INSERT INTO {} ({names}) VALUES {rows} ON CONFLICT {conflict} DO NOTHING{returning}",
                table.name
            );
        }
        let (set, from) = (self.updated(table).name, self.writable(table).name);
        let scope = self.own_scope(table, 0);
        let value = match self.below(3) {
            0 => format!("excluded.{from}"),
            1 => format!("coalesce({}.{set}, excluded.{from})", table.name),
            _ => self.expression(&scope, 1).0,
        };
        let filter =
            if self.chance(25) { format!(" WHERE {}", self.condition(&scope, 0)) } else { String::new() };
        // What the first clause does not name is left to the second.
        let second = match self.below(6) {
            0 => " ON CONFLICT DO NOTHING".to_owned(),
            1 => format!(" ON CONFLICT DO UPDATE SET {set} = excluded.{from}"),
            _ => String::new(),
        };
        format!(
            "INSERT INTO {} ({names}) VALUES {rows} ON CONFLICT {conflict} DO UPDATE SET {set} = {value}{filter}{second}{returning}",
            table.name
        )
    }

    fn insert_select(&mut self, table: &Table) -> String {
        let source = self.table();
        let columns: Vec<Column> =
            self.written_columns(table).into_iter().filter(|column| column.class != Class::Rowid).collect();
        if columns.is_empty() {
            return self.insert(table);
        }
        let alias = self.alias("q");
        let scope = Scope::of(vec![relation_of(&source, &alias)], 1);
        let terms: Vec<String> = columns.iter().map(|_| self.expression(&scope, 1).0).collect();
        let order: Vec<String> = source.order.split(", ").map(|term| format!("{alias}.{term}")).collect();
        let clause = self.pick(&["", "", "", " OR IGNORE", " OR REPLACE"]);
        let condition = self.condition(&scope, 1);
        let returning = self.returning(table);
        format!(
            "INSERT{clause} INTO {} ({}) SELECT {} FROM {} {alias} WHERE {condition} ORDER BY {} LIMIT {}{returning}",
            table.name,
            names_of(&columns),
            terms.join(", "),
            source.name,
            order.join(", "),
            if table.has_rowid && (table.lenient || !clause.is_empty()) { 1 } else { 1 + self.below(6) }
        )
    }

    /// A column to be changed. AUTOINCREMENT does not count rowids that an UPDATE sets, while partitions do.
    pub(super) fn updated(&mut self, table: &Table) -> Column {
        loop {
            let column = self.writable(table);
            if !(table.autoincrement && column.class == Class::Rowid) {
                return column;
            }
        }
    }

    fn update(&mut self, table: &Table) -> String {
        let scope = self.own_scope(table, 1);
        let clause = CLAUSES[self.below(CLAUSES.len())];
        let column = self.updated(table);
        let value = if self.chance(50) { self.literal(column.class) } else { self.expression(&scope, 2).0 };
        let mut set = format!("{} = {value}", column.name);
        if self.chance(25) {
            let other = self.updated(table);
            if other.name != column.name {
                set = format!("{set}, {} = {}", other.name, self.column(&scope).0);
            }
        } else if self.chance(8) {
            let other = self.updated(table);
            if other.name != column.name {
                set = format!("({}, {}) = ({value}, {})", column.name, other.name, self.literal(other.class));
            }
        }
        let condition = self.condition(&scope, 2);
        let returning = self.returning(table);
        format!("UPDATE{clause} {} SET {set} WHERE {condition}{returning}", table.name)
    }

    fn update_from(&mut self, table: &Table) -> String {
        let source = self.table();
        let alias = self.alias("q");
        let mut scope = self.own_scope(table, 0);
        let own = self.column(&scope).0;
        let set = self.updated(table).name;
        let order = source.order.clone();
        let (key, value) = (self.writable(&source).name, self.writable(&source).name);
        scope.relations.push(relation_of(&source, &alias));
        // One row for each key: of several that match, SQLite does not promise which is taken.
        format!(
            "UPDATE {} SET {set} = {alias}.v FROM (SELECT {key} AS k, {value} AS v FROM {} ORDER BY {order} LIMIT 1) AS {alias} WHERE {own} = {alias}.k",
            table.name, source.name
        )
    }

    /// A change of the rows that a query in front of it names.
    fn change_by_with(&mut self, table: &Table) -> String {
        let with = self.with_clause();
        let named = self.with[self.with.len() - 1].clone();
        let (name, from) = (&named.columns[self.below(named.columns.len())].0, &named.name);
        let scope = self.own_scope(table, 0);
        let own = self.column(&scope).0;
        let returning = self.returning(table);
        if self.chance(40) {
            return format!(
                "{with}DELETE FROM {} WHERE {own} IN (SELECT {name} FROM {from}){returning}",
                table.name
            );
        }
        let set = self.updated(table).name;
        let value = self.pick(&["count(*)", "count(DISTINCT typeof(value))", "max(typeof(value))"]);
        let value = value.replace("value", name);
        format!(
            "{with}UPDATE {} SET {set} = (SELECT {value} FROM {from}) WHERE {own} IN (SELECT {name} FROM {from}){returning}",
            table.name
        )
    }

    fn delete(&mut self, table: &Table) -> String {
        let scope = self.own_scope(table, 1);
        let (first, second) = (self.condition(&scope, 1), self.condition(&scope, 1));
        let returning = self.returning(table);
        format!("DELETE FROM {} WHERE {first} AND {second}{returning}", table.name)
    }
}

fn names_of(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
