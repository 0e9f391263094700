//! Reading a request: which schema each statement finds, what it means for the partitions, and whose rows it looks at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use common::protocol::{Params, Statement};
use common::schema::{ObjectKind, Schema};
use common::{Error, Result};
use sqlite::TrialStep;

use super::versions::Versions;
use crate::Planner;
use crate::ast::{self, AlterTableBody, Cmd, Expr, InsertBody, OneSelect, Stmt};
use crate::plan::{Action, Footprint};
use crate::planner::is_definition;
use crate::schema::{Definition, define};
use crate::sql::{Limits, batch, collections, only_reads};

/// A request as it is read.
pub(super) struct Script<'a> {
    pub(super) versions: Versions<'a>,
    pub(super) steps: Vec<TrialStep>,
    /// By the numbers of steps, those that change the schema, in order.
    pub(super) changes: Vec<(usize, Change)>,
    /// Names of the tables of before whose rows are looked at.
    pub(super) wanted: BTreeSet<String>,
    /// Whether AUTOINCREMENT's counters are read.
    pub(super) reads_sequences: bool,
    /// Whether foreign keys wait for the end of the request, after the last step.
    deferred: bool,
    /// What stopped the reading behind the last step.
    pub(super) failed: Option<Error>,
    /// What the tables of the newest schema were called before the request, by name in lower case; `None` for those
    /// that it has made.
    origins: BTreeMap<String, Option<String>>,
    /// INSERTs of constants whose like was met already.
    inserts: HashSet<(usize, String)>,
}

/// A change of the schema.
pub(super) struct Change {
    pub(super) definition: Definition,
    /// The number of the schema that it finds; the next one is that which it leaves.
    pub(super) version: usize,
    /// The table that it fills with rows of others.
    pub(super) filled: Option<String>,
    /// The table that goes, whose rows need not go one by one.
    pub(super) dropped: Option<String>,
}

impl<'a> Script<'a> {
    /// Reads statements, up to the first that is refused.
    pub(super) fn read(planner: &'a Planner, statements: &[Statement], limits: Limits) -> Script<'a> {
        let tables =
            planner.tables().map(|table| (table.name.to_ascii_lowercase(), Some(table.name.clone())));
        let mut script = Script {
            origins: tables.collect(),
            versions: Versions::beginning_with(planner),
            steps: Vec::with_capacity(statements.len()),
            changes: Vec::new(),
            wanted: BTreeSet::new(),
            reads_sequences: false,
            deferred: false,
            failed: None,
            inserts: HashSet::new(),
        };
        for (index, statement) in statements.iter().enumerate() {
            if let Err(error) = script.add(statement, limits) {
                script.failed = Some(error.at_statement(index));
                break;
            }
        }
        script
    }

    /// Whether it leaves another schema than it found.
    pub(super) fn changes_schema(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The schema that it leaves, one version further, once AUTOINCREMENT has counted so far.
    pub(super) fn schema_after(&self, counters: &HashMap<String, i64>) -> Schema {
        let mut schema = self.versions.database(self.versions.newest()).schema.clone();
        schema.version = self.versions.database(0).schema.version + 1;
        for (name, spec) in &mut schema.tables {
            let may_have_rows = match self.origins.get(name) {
                Some(Some(origin)) => self.wanted.contains(origin),
                _ => true,
            };
            // The greatest rowid is looked up before the next one is handed out.
            spec.rowids_set_by_client |= may_have_rows;
            if let Some(counter) = counters.get(&spec.name) {
                spec.next_rowid = spec.next_rowid.max(counter.saturating_add(1));
            }
        }
        schema
    }

    fn add(&mut self, statement: &Statement, limits: Limits) -> Result<()> {
        let command = ast::parse(&statement.sql);
        let parsed = match &command {
            Some(Cmd::Stmt(parsed)) => Some(parsed),
            _ => None,
        };
        let version = self.versions.newest();
        if let Some(like) = parsed.and_then(insert_of_constants).filter(|_| statement.params == Params::None)
        {
            if !self.inserts.contains(&(version, like.clone())) {
                self.add_rows(statement, parsed, limits)?;
                self.inserts.insert((version, like));
                return Ok(());
            }
            self.steps.push(TrialStep::Statement(statement.clone()));
            return Ok(());
        }
        if is_definition(&statement.sql) {
            return self.define(statement, parsed, limits);
        }
        self.add_rows(statement, parsed, limits)
    }

    /// Adds a statement that reads or changes rows.
    fn add_rows(&mut self, statement: &Statement, parsed: Option<&Stmt>, limits: Limits) -> Result<()> {
        let planner = self.versions.planner(self.versions.newest())?;
        let planned = planner.plan(&statement.sql)?;
        if matches!(planned.action, Action::Definition) {
            return self.define(statement, parsed, limits);
        }
        if limits.read_only && !planned.is_read {
            return Err(only_reads());
        }
        let values = planned.values(&statement.params)?;
        collections::check_write(planner, &planned, limits.writer)?;
        let footprint = planned.footprint().or_else(|| planner.footprint(&statement.sql));
        let step = batch::step(planner, &planned, &values, statement, self.deferred);
        self.want(&footprint.ok_or_else(batch::cannot_be_computed)?);
        self.steps.push(step);
        self.deferred = planned.deferral().map_or(self.deferred, |deferral| deferral.after(self.deferred));
        Ok(())
    }

    /// Adds a statement that changes the schema.
    fn define(&mut self, statement: &Statement, parsed: Option<&Stmt>, limits: Limits) -> Result<()> {
        if limits.read_only {
            return Err(only_reads());
        }
        let version = self.versions.newest();
        let before = self.versions.database(version);
        let Some(definition) = define(before, &statement.sql)? else {
            self.steps.push(TrialStep::Definition { sql: None, reads: Vec::new() });
            return Ok(());
        };
        let (before, after) = (before.schema.clone(), definition.change.schema.clone());
        self.versions.push(after.clone());
        self.want_for(parsed, &definition, version)?;
        self.follow_names(parsed, (&before, &after));
        let filled = definition.fill.as_ref().and_then(|_| only_in(&after, &before));
        let dropped = only_in(&before, &after).filter(|_| matches!(parsed, Some(Stmt::DropTable { .. })));
        let indexed = definition.builds.iter().map(|build| build.table.clone());
        let reads: BTreeSet<String> = indexed.chain(filled.clone()).collect();
        // Statistics are the partitions' own, and so are the indexes that are made anew.
        let is_upkeep = before.objects == after.objects;
        let sql = (!is_upkeep).then(|| statement.sql.clone());
        self.changes.push((self.steps.len(), Change { definition, version, filled, dropped }));
        self.steps.push(TrialStep::Definition { sql, reads: reads.into_iter().collect() });
        Ok(())
    }

    /// Notes the rows that decide whether the schema can be changed so, or that change with it.
    fn want_for(&mut self, parsed: Option<&Stmt>, definition: &Definition, version: usize) -> Result<()> {
        for build in &definition.builds {
            self.want_table(&build.table);
        }
        match parsed {
            Some(Stmt::AlterTable(alter)) => match &alter.body {
                AlterTableBody::AddColumn(column)
                    if !column.constraints.is_empty()
                        || self.is_strict(alter.name.name.as_str(), version) =>
                {
                    self.want_table(alter.name.name.as_str());
                }
                _ => {}
            },
            Some(Stmt::CreateIndex { unique, tbl_name, columns, where_clause, .. }) => {
                let is_plain =
                    columns.iter().all(|column| matches!(*column.expr, Expr::Id(_) | Expr::Name(_)));
                if *unique || !is_plain || where_clause.is_some() {
                    self.want_table(tbl_name.as_str());
                }
            }
            Some(Stmt::DropTable { tbl_name, .. }) if self.has_references(version) => {
                let planner = self.versions.planner(version)?;
                let table = planner.table(tbl_name.name.as_str());
                if let Some(footprint) = table.and_then(|table| planner.footprint_of_emptying(&table)) {
                    self.want(&footprint);
                }
            }
            _ => {}
        }
        if let Some(fill) = &definition.fill {
            let planner = self.versions.planner(version + 1)?;
            planner.plan(fill)?;
            self.want(&planner.footprint(fill).ok_or_else(batch::cannot_be_computed)?);
        }
        Ok(())
    }

    fn is_strict(&self, table: &str, version: usize) -> bool {
        let objects = &self.versions.database(version).schema.objects;
        let mut tables = objects.iter().filter(|object| object.kind == ObjectKind::Table);
        let table = tables.find(|object| object.name.eq_ignore_ascii_case(table));
        table.is_some_and(|table| table.sql.to_ascii_uppercase().contains("STRICT"))
    }

    fn has_references(&self, version: usize) -> bool {
        let objects = &self.versions.database(version).schema.objects;
        objects.iter().any(|object| object.sql.to_ascii_uppercase().contains("REFERENCES"))
    }

    fn want(&mut self, footprint: &Footprint) {
        self.reads_sequences |= footprint.reads_sequences;
        footprint.tables.iter().for_each(|table| self.want_table(&table.name));
    }

    /// Notes that the rows of a table, by its name of now, are looked at.
    fn want_table(&mut self, name: &str) {
        if let Some(Some(origin)) = self.origins.get(&name.to_ascii_lowercase()) {
            self.wanted.insert(origin.clone());
        }
    }

    /// Follows which table has which name.
    fn follow_names(&mut self, parsed: Option<&Stmt>, (before, after): (&Schema, &Schema)) {
        if let Some(Stmt::AlterTable(alter)) = parsed
            && let AlterTableBody::RenameTo(to) = &alter.body
            && let Some(origin) = self.origins.remove(&alter.name.name.as_str().to_ascii_lowercase())
        {
            self.origins.insert(to.as_str().to_ascii_lowercase(), origin);
            return;
        }
        self.origins.retain(|name, _| after.tables.contains_key(name));
        let made = after.tables.keys().filter(|name| !before.tables.contains_key(*name));
        self.origins.extend(made.map(|name| (name.clone(), None)));
    }
}

/// The table that one schema has and the other has not.
fn only_in(schema: &Schema, other: &Schema) -> Option<String> {
    let mut only = schema.tables.iter().filter(|(name, _)| !other.tables.contains_key(*name));
    only.next().map(|(_, spec)| spec.name.clone())
}

/// What is the same of all INSERTs that touch the same, if one inserts rows of constants: of thousands, one is planned.
fn insert_of_constants(statement: &Stmt) -> Option<String> {
    let Stmt::Insert { with: None, or_conflict, tbl_name, columns, body, returning } = statement else {
        return None;
    };
    let InsertBody::Select(select, None) = body else { return None };
    let OneSelect::Values(rows) = &select.body.select else { return None };
    let is_alone = select.body.compounds.is_empty()
        && select.with.is_none()
        && select.order_by.is_empty()
        && select.limit.is_none();
    if !is_alone || !returning.is_empty() || !rows.iter().flatten().all(|value| is_constant(value)) {
        return None;
    }
    let columns: Vec<&str> = columns.iter().map(ast::Name::as_str).collect();
    Some(format!("{or_conflict:?} {tbl_name:?} {columns:?}"))
}

fn is_constant(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(_) => true,
        Expr::Unary(_, inner) => is_constant(inner),
        _ => false,
    }
}
