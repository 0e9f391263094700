//! Random SELECT statements.

use super::expression::Scope;
use super::{Class, Generator, Relation, Statement, Table, one_of};
use crate::compare::Order;

/// A SELECT without ORDER BY.
pub(super) struct Select {
    pub(super) sql: String,
    /// What its columns mostly hold.
    pub(super) classes: Vec<Class>,
}

impl Generator {
    /// A SELECT on its own.
    pub(super) fn query(&mut self) -> Statement {
        let with = if self.chance(20) { self.with_clause() } else { String::new() };
        let select = match self.below(20) {
            0..=2 => self.compound(),
            3 => self.over_answers(),
            _ => self.core(&Scope::of(Vec::new(), 2), None),
        };
        let (tail, order) = self.order_and_limit(select.classes.len());
        Statement { sql: format!("{with}{}{tail}", select.sql), order, is_change: false }
    }

    /// Expressions over one or two queries, of which each answers few rows of what it reads.
    fn over_answers(&mut self) -> Select {
        let (mut items, mut relations) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.below(2) {
            let scope = Scope::of(Vec::new(), 1);
            let inner = match self.below(4) {
                0 => self.aggregated(&scope, Some(2)),
                1 => {
                    let select = self.plain_select(&scope, 2);
                    Select { sql: select.sql.replacen("SELECT", "SELECT DISTINCT", 1), ..select }
                }
                2 => {
                    let select = self.plain_select(&scope, 2);
                    Select { sql: format!("{} ORDER BY 1, 2 LIMIT {}", select.sql, self.below(6)), ..select }
                }
                _ => self.grouped(&scope, Some(2)),
            };
            let (column, alias) = (self.alias("c"), self.alias("q"));
            items.push(format!("(WITH {column} (y0, y1) AS ({}) SELECT * FROM {column}) {alias}", inner.sql));
            let columns = (0..2).map(|index| (format!("y{index}"), Class::Any)).collect();
            relations.push(Relation { name: alias, columns, has_rowid: false });
        }
        let scope = Scope { relations, ..Scope::of(Vec::new(), 1) };
        let (term, class) = self.expression(&scope, 1);
        let filter = self.where_clause(&scope);
        Select {
            sql: format!("SELECT {term} FROM {}{filter}", items.join(" CROSS JOIN ")),
            classes: vec![class],
        }
    }

    /// What a view is made of.
    pub(super) fn view_body(&mut self) -> Select {
        if self.chance(15) { self.compound() } else { self.core(&Scope::of(Vec::new(), 1), None) }
    }

    /// ORDER BY over all columns, so that rows that are ordered alike are alike; LIMIT only behind it.
    fn order_and_limit(&mut self, width: usize) -> (String, Order) {
        if self.chance(35) {
            return (String::new(), Order::Any);
        }
        let mut positions: Vec<usize> = (1..=width).collect();
        for index in (1..width).rev() {
            positions.swap(index, self.below(index + 1));
        }
        let terms: Vec<String> = positions
            .iter()
            .map(|position| {
                let direction = self.pick(&["", "", "", " DESC", " ASC NULLS LAST", " DESC NULLS FIRST"]);
                format!("{position}{direction}")
            })
            .collect();
        let mut tail = format!(" ORDER BY {}", terms.join(", "));
        if self.chance(45) {
            let limit = self.pick(&["0", "1", "2", "3", "5", "10", "-1", "100"]);
            tail.push_str(&format!(" LIMIT {limit}"));
            if self.chance(40) {
                tail.push_str(&format!(" OFFSET {}", self.pick(&["0", "1", "2", "7", "-1"])));
            }
        }
        (tail, Order::Kept)
    }

    fn compound(&mut self) -> Select {
        let width = 1 + self.below(3);
        let scope = Scope::of(Vec::new(), 1);
        let first = self.core(&scope, Some(width));
        let mut sql = first.sql;
        for _ in 0..1 + self.below(2) {
            let operator = self.pick(&["UNION", "UNION ALL", "UNION ALL", "INTERSECT", "EXCEPT"]);
            let next = self.core(&scope, Some(width)).sql;
            sql = format!("{sql} {operator} {next}");
        }
        Select { sql, classes: first.classes }
    }

    pub(super) fn with_clause(&mut self) -> String {
        if self.chance(35) {
            return self.recursive_with();
        }
        let mut parts = Vec::new();
        for _ in 0..1 + self.below(2) {
            let name = self.alias("c");
            let select = self.core(&Scope::of(Vec::new(), 1), None);
            let columns: Vec<(String, Class)> = select
                .classes
                .iter()
                .enumerate()
                .map(|(index, class)| (format!("x{index}"), *class))
                .collect();
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let hint = self.pick(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            parts.push(format!("{name} ({}) AS {hint}({})", names.join(", "), select.sql));
            self.with.push(Relation { name, columns, has_rowid: false });
        }
        format!("WITH {} ", parts.join(", "))
    }

    fn recursive_with(&mut self) -> String {
        let name = self.alias("c");
        let table = self.table();
        let (column, other) = (self.any_column(&table), self.any_column(&table));
        let body = if self.chance(50) {
            format!(
                "SELECT 1, 'a' UNION ALL SELECT n + 1, x || 'b' FROM {name} WHERE n < {}",
                2 + self.below(5)
            )
        } else {
            let (alias, starting) = (self.alias("r"), self.table());
            let start = self.any_column(&starting);
            format!(
                "SELECT 0, {start} FROM {} UNION SELECT n + 1, {alias}.{other} FROM {name} JOIN {} {alias} ON {alias}.{column} = {name}.x WHERE n < 3",
                starting.name, table.name
            )
        };
        let columns = vec![("n".to_owned(), Class::Integer), ("x".to_owned(), Class::Any)];
        self.with.push(Relation { name: name.clone(), columns, has_rowid: false });
        format!("WITH RECURSIVE {name} (n, x) AS ({body}) ")
    }

    pub(super) fn table(&mut self) -> Table {
        one_of(&mut self.random, &self.schema.tables)
    }

    fn any_column(&mut self, table: &Table) -> String {
        table.columns[self.below(table.columns.len())].name.clone()
    }

    /// A SELECT of one of all shapes, of a given width if there is one.
    fn core(&mut self, scope: &Scope, width: Option<usize>) -> Select {
        match self.below(10) {
            0 | 1 => self.grouped(scope, width),
            2 => self.aggregated(scope, width),
            3 => {
                let select = self.plain_select(scope, width.unwrap_or(2));
                Select { sql: select.sql.replacen("SELECT", "SELECT DISTINCT", 1), ..select }
            }
            4 if width.is_none() => self.windowed(scope),
            5 if width.is_none() => self.everything(scope),
            6 if self.chance(30) => self.values(width.unwrap_or(2)),
            _ => {
                let width = width.unwrap_or_else(|| 1 + self.below(4));
                self.plain_select(scope, width)
            }
        }
    }

    /// Expressions over joined tables.
    pub(super) fn plain_select(&mut self, scope: &Scope, width: usize) -> Select {
        let (from, scope) = self.joined_in_scope(scope, 3);
        let (mut terms, mut classes) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (term, class) = self.expression(&scope, 2);
            terms.push(term);
            classes.push(class);
        }
        let filter = self.where_clause(&scope);
        Select { sql: format!("SELECT {} FROM {from}{filter}", terms.join(", ")), classes }
    }

    /// SELECT * over one table or two.
    fn everything(&mut self, scope: &Scope) -> Select {
        let (from, scope) = self.joined_in_scope(scope, 2);
        let filter = self.where_clause(&scope);
        let relation = &scope.relations[0];
        let classes = relation.columns.iter().map(|(_, class)| *class).collect();
        Select { sql: format!("SELECT {}.* FROM {from}{filter}", relation.name), classes }
    }

    fn values(&mut self, width: usize) -> Select {
        let rows: Vec<String> = (0..1 + self.below(3))
            .map(|_| {
                let values: Vec<String> = (0..width).map(|_| self.literal(Class::Any)).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        Select {
            sql: format!("SELECT * FROM (VALUES {})", rows.join(", ")),
            classes: vec![Class::Any; width],
        }
    }

    fn aggregated(&mut self, scope: &Scope, width: Option<usize>) -> Select {
        let (from, scope) = self.joined_in_scope(scope, 2);
        let filter = self.where_clause(&scope);
        let width = width.unwrap_or_else(|| 1 + self.below(4));
        let terms: Vec<String> = (0..width).map(|_| self.aggregate(&scope)).collect();
        let having =
            if self.chance(15) { format!(" HAVING {} > 1", self.aggregate(&scope)) } else { String::new() };
        Select {
            sql: format!("SELECT {} FROM {from}{filter}{having}", terms.join(", ")),
            classes: vec![Class::Integer; width],
        }
    }

    fn grouped(&mut self, scope: &Scope, width: Option<usize>) -> Select {
        let (from, scope) = self.joined_in_scope(scope, 2);
        let filter = self.where_clause(&scope);
        let width = width.unwrap_or_else(|| 2 + self.below(3));
        let mut keys = Vec::new();
        for _ in 0..1 + self.below(2) {
            keys.push(if self.chance(70) { self.column(&scope).0 } else { self.expression(&scope, 1).0 });
        }
        // A number would be a position, and a bare text an error.
        let keys: Vec<String> =
            keys.into_iter()
                .map(|key| {
                    if key.starts_with(|c: char| c.is_ascii_alphabetic()) { key } else { format!("+({key})") }
                })
                .collect();
        let terms: Vec<String> = (0..width)
            .map(|index| match keys.get(index) {
                Some(key) if self.chance(80) => key.clone(),
                _ => self.aggregate(&scope),
            })
            .collect();
        let having = match self.below(5) {
            0 => format!(" HAVING {} > {}", self.aggregate(&scope), self.below(3)),
            1 => " HAVING count(*) > 1".to_owned(),
            _ => String::new(),
        };
        Select {
            sql: format!(
                "SELECT {} FROM {from}{filter} GROUP BY {}{having}",
                terms.join(", "),
                keys.join(", ")
            ),
            classes: vec![Class::Any; width],
        }
    }

    fn aggregate(&mut self, scope: &Scope) -> String {
        let argument = if self.chance(75) { self.column(scope).0 } else { self.expression(scope, 1).0 };
        let distinct = if self.chance(20) { "DISTINCT " } else { "" };
        let call = match self.below(12) {
            0 | 1 => "count(*)".to_owned(),
            2 => format!("count({distinct}{argument})"),
            3 | 4 => format!("sum({distinct}{argument})"),
            5 => format!("total({argument})"),
            6 => format!("avg({argument})"),
            7 | 8 => format!("min({argument})"),
            9 => format!("max({argument})"),
            10 => format!(
                "group_concat({argument}, ',' ORDER BY typeof({argument}), {argument} COLLATE BINARY)"
            ),
            _ => format!("json_group_array(quote({argument}) ORDER BY quote({argument}))"),
        };
        if self.chance(12) { format!("{call} FILTER (WHERE {})", self.condition(scope, 1)) } else { call }
    }

    fn windowed(&mut self, scope: &Scope) -> Select {
        let table = self.table();
        let alias = self.alias("q");
        let relation = relation_of(&table, &alias);
        let scope = Scope { relations: vec![relation], ..scope.clone() };
        let order: Vec<String> = table.order.split(", ").map(|term| format!("{alias}.{term}")).collect();
        let (column, partition) = (self.column(&scope), self.column(&scope));
        let function = match self.below(9) {
            0 => "row_number()".to_owned(),
            1 => "rank()".to_owned(),
            2 => format!("lag({})", column.0),
            3 => format!("lead({}, 2, 'none')", column.0),
            4 => format!("sum({})", column.0),
            5 => format!("first_value({})", column.0),
            6 => "ntile(3)".to_owned(),
            7 => format!("count({}) FILTER (WHERE {})", column.0, self.condition(&scope, 1)),
            _ => format!("group_concat({}, '')", column.0),
        };
        let framed = !["row", "ran", "lag", "lea", "nti"].iter().any(|name| function.starts_with(name));
        let frame = if framed && self.chance(40) {
            self.pick(&[
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS UNBOUNDED PRECEDING",
                " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW",
            ])
        } else {
            ""
        };
        let by = if self.chance(60) { format!("PARTITION BY {} ", partition.0) } else { String::new() };
        let filter = self.where_clause(&scope);
        let sql = format!(
            "SELECT {}, {function} OVER ({by}ORDER BY {}{frame}) FROM {} {alias}{filter}",
            column.0,
            order.join(", "),
            table.name
        );
        Select { sql, classes: vec![column.1, Class::Any] }
    }

    fn where_clause(&mut self, scope: &Scope) -> String {
        if self.chance(65) { format!(" WHERE {}", self.condition(scope, 2)) } else { String::new() }
    }

    fn joined_in_scope(&mut self, scope: &Scope, most: usize) -> (String, Scope) {
        // Deep inside, every further relation multiplies the work.
        let most = if scope.outer.is_empty() { most } else { 1 };
        let (from, relations) = self.joined_relations(scope, most);
        (from, Scope { relations, ..scope.clone() })
    }

    /// A FROM clause of up to `most` relations, joined in some way.
    pub(super) fn joined_relations(&mut self, scope: &Scope, most: usize) -> (String, Vec<Relation>) {
        let count = [1, 1, 1, 2, 2, 3][self.below(6)].min(most);
        let (mut sql, first) = self.relation(scope);
        let mut relations = vec![first];
        for _ in 1..count {
            let (item, relation) = self.relation(scope);
            let shared = relation.columns.iter().find(|(name, _)| {
                relations.iter().filter(|known| known.columns.iter().any(|(other, _)| other == name)).count()
                    == 1
            });
            let using = shared.filter(|_| relations.len() == 1).map(|(name, _)| name.clone());
            relations.push(relation);
            let join = self.pick(&[
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "CROSS JOIN",
                ",",
            ]);
            let inner = Scope { relations: relations.clone(), levels: 0, ..scope.clone() };
            let on = match using {
                Some(name) if self.chance(20) && join != "," => format!(" USING ({name})"),
                _ if join == "," || join == "CROSS JOIN" => String::new(),
                _ => {
                    let (left, right) = (&relations[self.below(relations.len() - 1)], relations.last());
                    let right = right.expect("one was pushed");
                    let on = format!(
                        "{}.{} = {}.{}",
                        left.name,
                        left.columns[self.below(left.columns.len())].0,
                        right.name,
                        right.columns[self.below(right.columns.len())].0
                    );
                    if self.chance(25) {
                        format!(" ON {on} AND {}", self.condition(&inner, 0))
                    } else {
                        format!(" ON {on}")
                    }
                }
            };
            sql = if join == "," { format!("{sql}, {item}") } else { format!("{sql} {join} {item}{on}") };
        }
        (sql, relations)
    }

    fn relation(&mut self, scope: &Scope) -> (String, Relation) {
        if !self.with.is_empty() && self.chance(50) {
            let known = one_of(&mut self.random, &self.with);
            let alias = self.alias("q");
            return (format!("{} {alias}", known.name), Relation { name: alias, ..known });
        }
        let alias = self.alias("q");
        if !self.schema.views.is_empty() && self.chance(12) {
            let (view, columns) = one_of(&mut self.random, &self.schema.views);
            return (format!("{view} {alias}"), Relation { name: alias, columns, has_rowid: false });
        }
        if scope.levels > 0 && self.chance(12) {
            let inner = Scope::of(Vec::new(), scope.levels - 1);
            let select = self.core(&inner, Some(2));
            let columns: Vec<(String, Class)> = select
                .classes
                .iter()
                .enumerate()
                .map(|(index, class)| (format!("y{index}"), *class))
                .collect();
            let (column, table) = (self.alias("c"), format!("({})", select.sql));
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let renamed =
                format!("(WITH {column} ({}) AS {table} SELECT * FROM {column}) {alias}", names.join(", "));
            return (renamed, Relation { name: alias, columns, has_rowid: false });
        }
        let table = self.table();
        let relation = relation_of(&table, &alias);
        (format!("{} {alias}", table.name), relation)
    }
}

pub(super) fn relation_of(table: &Table, alias: &str) -> Relation {
    Relation {
        name: alias.to_owned(),
        columns: table.columns.iter().map(|column| (column.name.clone(), column.class)).collect(),
        has_rowid: table.has_rowid,
    }
}
