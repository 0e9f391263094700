//! Random expressions over the columns that are in scope.

use super::{Class, Generator, Relation};

/// What names mean at a place in a statement.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// Relations of the statements around it.
    pub(super) outer: Vec<Relation>,
    /// How many more levels of subqueries there may be.
    pub(super) levels: usize,
}

impl Scope {
    pub(super) fn of(relations: Vec<Relation>, levels: usize) -> Scope {
        Scope { relations, outer: Vec::new(), levels }
    }
}

impl Generator {
    /// A column in scope with what it mostly holds.
    pub(super) fn column(&mut self, scope: &Scope) -> (String, Class) {
        let from_outside = !scope.outer.is_empty() && self.chance(25);
        let relations = if from_outside { &scope.outer } else { &scope.relations };
        if relations.is_empty() {
            return (self.literal(Class::Integer), Class::Integer);
        }
        let relation = &relations[self.below(relations.len())];
        if relation.has_rowid && self.chance(5) {
            return (format!("{}.rowid", relation.name), Class::Rowid);
        }
        let (column, class) = &relation.columns[self.below(relation.columns.len())];
        let name =
            if relation.name.is_empty() { column.clone() } else { format!("{}.{column}", relation.name) };
        (name, *class)
    }

    /// A value: a column, a literal, or something computed.
    pub(super) fn expression(&mut self, scope: &Scope, depth: usize) -> (String, Class) {
        if depth == 0 || self.chance(45) {
            if self.chance(80) {
                return self.column(scope);
            }
            let class = self.any_class();
            return (self.literal(class), class);
        }
        let deeper = depth - 1;
        match self.below(12) {
            0..3 => {
                let operator = self.pick(&["+", "-", "*", "/", "%", "&", "|", "<<", ">>"]);
                let (left, right) = (self.expression(scope, deeper).0, self.expression(scope, deeper).0);
                (format!("({left} {operator} {right})"), Class::Integer)
            }
            3 => {
                let (left, right) = (self.expression(scope, deeper).0, self.expression(scope, deeper).0);
                (format!("({left} || {right})"), Class::Text)
            }
            4..7 => self.call(scope, deeper),
            7 => {
                let (test, yes, no) = (
                    self.condition(scope, deeper),
                    self.expression(scope, deeper).0,
                    self.expression(scope, deeper).0,
                );
                (format!("CASE WHEN {test} THEN {yes} ELSE {no} END"), Class::Any)
            }
            8 => {
                let value = self.expression(scope, deeper).0;
                let (kind, class) = [
                    ("INTEGER", Class::Integer),
                    ("TEXT", Class::Text),
                    ("REAL", Class::Real),
                    ("NUMERIC", Class::Any),
                    ("BLOB", Class::Blob),
                ][self.below(5)];
                (format!("CAST({value} AS {kind})"), class)
            }
            9 if scope.levels > 0 => (self.scalar_subquery(scope), Class::Any),
            10 => {
                let (value, class) = self.expression(scope, deeper);
                (format!("{value} COLLATE {}", self.pick(&["NOCASE", "BINARY", "RTRIM"])), class)
            }
            _ => (format!("({})", self.condition(scope, deeper)), Class::Integer),
        }
    }

    fn any_class(&mut self) -> Class {
        [Class::Integer, Class::Text, Class::Real, Class::Any][self.below(4)]
    }

    fn call(&mut self, scope: &Scope, depth: usize) -> (String, Class) {
        let value = |generator: &mut Generator| generator.expression(scope, depth).0;
        let (a, b) = (value(self), value(self));
        match self.below(22) {
            0 => (format!("length({a})"), Class::Integer),
            1 => (format!("upper({a})"), Class::Text),
            2 => (format!("lower({a})"), Class::Text),
            3 => (format!("typeof({a})"), Class::Text),
            4 => (format!("coalesce({a}, {b}, 0)"), Class::Any),
            5 => (format!("nullif({a}, {b})"), Class::Any),
            6 => (format!("substr({a}, {}, 2)", self.pick(&["1", "-1", "2", "0"])), Class::Text),
            7 => (format!("trim({a})"), Class::Text),
            8 => (format!("round({a}, 1)"), Class::Real),
            9 => (format!("hex({a})"), Class::Text),
            10 => (format!("instr({a}, {b})"), Class::Integer),
            11 => (format!("replace({a}, 'a', {b})"), Class::Text),
            12 => (format!("iif({a}, {b}, 7)"), Class::Any),
            13 => (format!("max({a}, {b})"), Class::Any),
            14 => (format!("min({a}, {b})"), Class::Any),
            15 => (format!("quote({a})"), Class::Text),
            16 => (format!("sign({a})"), Class::Integer),
            17 => (format!("printf('%s-%d', {a}, {b})"), Class::Text),
            18 => (format!("json_array(quote({a}), {b} IS NULL)"), Class::Text),
            19 => (format!("json_object('k', typeof({a}), 'l', length({b})) ->> '$.l'"), Class::Integer),
            20 => (format!("json_extract(json_array(quote({a}), 2), '$[{}]')", self.below(3)), Class::Any),
            _ => (format!("unicode({a})"), Class::Integer),
        }
    }

    /// A literal that compares well with a value of this class.
    fn near(&mut self, class: Class) -> String {
        let class = if class == Class::Rowid { Class::Integer } else { class };
        self.literal(class)
    }

    /// A truth value.
    pub(super) fn condition(&mut self, scope: &Scope, depth: usize) -> String {
        let (column, class) = self.column(scope);
        if depth > 0 && self.chance(35) {
            let deeper = depth - 1;
            return match self.below(5) {
                0 => format!("({} OR {})", self.condition(scope, deeper), self.condition(scope, deeper)),
                1 => format!("NOT ({})", self.condition(scope, deeper)),
                _ => format!("{} AND {}", self.condition(scope, deeper), self.condition(scope, deeper)),
            };
        }
        match self.below(19) {
            0 => format!("{column} IS NULL"),
            1 => format!("{column} IS NOT NULL"),
            2 => {
                let not = self.pick(&["", "", "NOT "]);
                format!("{column} {not}IN ({}, {}, {})", self.near(class), self.near(class), self.near(class))
            }
            3 => format!("{column} BETWEEN {} AND {}", self.near(class), self.near(class)),
            4 => {
                let pattern = self.pick(&["'a%'", "'%1%'", "'_'", "'A%'", "'%'", "'%b'"]);
                format!("{column} {}LIKE {pattern}", self.pick(&["", "NOT "]))
            }
            5 => format!("{column} GLOB {}", self.pick(&["'a*'", "'*1*'", "'?'", "'[a-c]*'"])),
            6 => {
                let operator = self.pick(&["IS", "IS NOT", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
                format!("{column} {operator} {}", self.near(class))
            }
            7 if depth > 0 => {
                let (left, right) =
                    (self.expression(scope, depth - 1).0, self.expression(scope, depth - 1).0);
                format!("{left} {} {right}", self.pick(&["=", "<", ">=", "<>", "IS"]))
            }
            8 => {
                let (other, second) = (self.column(scope).0, self.near(class));
                let near = self.near(class);
                format!("({column}, {other}) {} ({near}, {second})", self.pick(&["<", "=", ">=", "<>", "IS"]))
            }
            9 if scope.levels > 0 => self.membership(scope, &column),
            10 if scope.levels > 0 => match self.chance(40) {
                true => self.of_one_place(scope).unwrap_or_else(|| self.existence(scope)),
                false => self.existence(scope),
            },
            11 => format!("{column} {} {}", self.pick(&["=", "<", ">="]), self.column(scope).0),
            12 => column,
            13..16 => format!("{column} {} {}", self.pick(&["<", "<=", ">", ">=", "<>"]), self.near(class)),
            _ => format!("{column} = {}", self.near(class)),
        }
    }

    fn membership(&mut self, scope: &Scope, column: &str) -> String {
        let not = self.pick(&["", "", "NOT "]);
        let (value, width) = if self.chance(25) {
            (format!("({column}, {})", self.column(scope).0), 2)
        } else {
            (column.to_owned(), 1)
        };
        let select = self.subquery(scope, width);
        // A result's own collation counts only where SQLite does not find the column by an index.
        if select.contains("COLLATE") {
            return format!("{not}EXISTS ({select})");
        }
        format!("{value} {not}IN ({select})")
    }

    fn existence(&mut self, scope: &Scope) -> String {
        let not = self.pick(&["", "NOT "]);
        let select = self.subquery(scope, 1);
        format!("{not}EXISTS ({select})")
    }

    /// One value: an aggregate, of which there is exactly one.
    fn scalar_subquery(&mut self, scope: &Scope) -> String {
        let inner = self.inner(scope);
        let (from, relations) = self.joined_relations(&inner, 1);
        // An aggregate over columns of the statement around it would belong to that statement.
        let own = Scope::of(relations, 0);
        let column = self.column(&own).0;
        let condition = self.condition(&Scope { relations: own.relations, ..inner }, 1);
        let aggregate = self.pick(&["count", "min", "max", "total", "sum"]);
        format!("(SELECT {aggregate}({column}) FROM {from} WHERE {condition})")
    }

    fn subquery(&mut self, scope: &Scope, width: usize) -> String {
        let inner = self.inner(scope);
        self.plain_select(&inner, width).sql
    }

    /// The scope of a subquery, before it has a FROM of its own.
    pub(super) fn inner(&self, scope: &Scope) -> Scope {
        let outer = scope.relations.iter().chain(&scope.outer).cloned().collect();
        Scope { relations: Vec::new(), outer, levels: scope.levels.saturating_sub(1) }
    }
}
