//! Subqueries whose rows often lie where the row around them lies: a column that tables may be divided by equals one around.

use super::expression::Scope;
use super::select::relation_of;
use super::{Class, Generator, Relation};

/// Columns that tables are often divided by.
const KEYS: [&str; 4] = ["rowid", "id", "a", "b"];

impl Generator {
    /// A condition over such a subquery; `None` if nothing around has such a column.
    pub(super) fn of_one_place(&mut self, scope: &Scope) -> Option<String> {
        let table = self.table();
        let alias = self.alias("q");
        let own = relation_of(&table, &alias);
        let around = scope.relations.first()?.clone();
        let declared = self.schema.partition_key.clone();
        let key = match declared {
            Some(key) if self.chance(50) => key,
            _ => self.pick(&KEYS).to_owned(),
        };
        let (mine, other) = (named(&own, &key)?, named(&around, &key)?);
        let inner = Scope { relations: vec![own], levels: 0, ..self.inner(scope) };
        let (column, class) = self.column(&Scope::of(inner.relations.clone(), 0));
        let rest =
            if self.chance(60) { format!(" AND {}", self.condition(&inner, 1)) } else { String::new() };
        let from = format!("FROM {} {alias} WHERE {mine} = {other}{rest}", table.name);
        let not = self.pick(&["", "NOT "]);
        Some(match self.below(6) {
            0 | 1 => format!("{not}EXISTS (SELECT * {from})"),
            2 => format!("{other} {not}IN (SELECT {mine} FROM {} {alias})", table.name),
            3 => format!("{} {not}IN (SELECT {column} {from})", self.column(scope).0),
            4 => {
                let aggregate = self.pick(&["count", "min", "max", "total", "sum", "avg"]);
                let near = self.literal(if class == Class::Rowid { Class::Integer } else { class });
                format!("(SELECT {aggregate}({column}) {from}) {} {near}", self.pick(&["<", ">=", "=", "IS"]))
            }
            _ => {
                let order = table.order.split(", ").map(|term| format!("{alias}.{term} DESC"));
                let order = order.collect::<Vec<_>>().join(", ");
                format!("(SELECT {column} {from} ORDER BY {order} LIMIT 1) IS NOT {}", self.column(scope).0)
            }
        })
    }
}

/// A column by its name, if the relation has it.
fn named(relation: &Relation, name: &str) -> Option<String> {
    let is_there = relation.columns.iter().any(|(column, _)| column == name);
    (is_there || name == "rowid" && relation.has_rowid).then(|| format!("{}.{name}", relation.name))
}
