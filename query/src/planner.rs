//! What planning knows of one version of a database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use common::catalog::Database;
use common::names::quote_identifier;
use common::schema::{ObjectKind, SchemaObject};
use common::{Error, ErrorCode, Result};
use sqlite::Consequences;
use sqlite::schema::ForeignKey;

use crate::ast::{self, Cmd, Select, Stmt};
use crate::deferral::Deferral;
use crate::idle_databases::IdleDatabases;
use crate::nesting;
use crate::plan::{
    Action, Footprint, Insert, InsertSource, Narrowed, Objects, PlanNode, Planned, Rules, Source, View,
    narrowed, plan_change, plan_insert, plan_read,
};
use crate::plan_cache::PlanCache;
use crate::shadow::{Checked, Shadow};
use crate::statistics::Statistics;
use crate::table::{Key, Table};

/// SQLite's extended result code of a UNIQUE constraint.
const CONSTRAINT_UNIQUE: i32 = 2_067;
/// SQLite's extended code of a violated PRIMARY KEY.
const CONSTRAINT_PRIMARY_KEY: i32 = 1_555;

/// Plans statements against one version of a database's schema and partition map. Shared by requests.
pub struct Planner {
    database: Arc<Database>,
    shadow: Shadow,
    /// By name in lower case.
    tables: BTreeMap<String, Arc<Table>>,
    /// Views whose texts the parser understands, by name in lower case.
    views: BTreeMap<String, View>,
    plans: PlanCache,
    idle_databases: Arc<IdleDatabases>,
    statistics: Mutex<Arc<Statistics>>,
    rules: Rules,
    /// Plans without rules, if answers are checked.
    reference: Option<Box<Planner>>,
}

impl Planner {
    /// Reads the schema into an empty SQLite database and gathers what planning needs of it.
    /// `rules` are the shortcuts that it may take.
    pub fn new(database: Arc<Database>, rules: Rules) -> Result<Planner> {
        let shadow = Shadow::new(&database.schema)?;
        let tables = shadow
            .definitions()
            .into_iter()
            .map(|definition| {
                let spec = database.schema.table(&definition.name);
                (definition.name.to_ascii_lowercase(), Arc::new(Table::new(definition, spec)))
            })
            .collect();
        let views = database.schema.objects.iter().filter_map(|object| view(&object.sql)).collect();
        let reference = if rules.verifies() {
            Some(Box::new(Planner::new(Arc::clone(&database), Rules::none())?))
        } else {
            None
        };
        Ok(Planner {
            database,
            shadow,
            tables,
            views,
            plans: PlanCache::default(),
            idle_databases: Arc::default(),
            statistics: Mutex::default(),
            rules,
            reference,
        })
    }

    /// The database as planned on.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The shortcuts that it may take.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The planner whose answers this one's are compared with, if they are to be checked.
    pub(crate) fn reference(&self) -> Option<&Planner> {
        self.reference.as_deref()
    }

    /// The buckets of the database.
    pub(crate) fn buckets(&self) -> usize {
        self.database.buckets.len()
    }

    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// Databases of this schema's tables that are kept for the next statement.
    pub(crate) fn idle_databases(&self) -> &Arc<IdleDatabases> {
        &self.idle_databases
    }

    /// The table of that name, in any letter case.
    pub(crate) fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.tables.get(&name.to_ascii_lowercase()).cloned()
    }

    /// All tables, in the order of their names.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// The plan of a text: where it goes and what is pushed there.
    pub fn describe(&self, statement: &common::protocol::Statement) -> Result<PlanNode> {
        let planned = self.plan(&statement.sql)?;
        let mut plan = planned.describe(&self.database, &planned.values(&statement.params)?);
        plan.estimate(&self.statistics());
        Ok(plan)
    }

    /// What is known of how many rows there are.
    #[must_use]
    pub fn statistics(&self) -> Arc<Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over newer statistics. Plans that are kept stay as they are: statistics decide when a plan runs.
    pub fn set_statistics(&self, statistics: Arc<Statistics>) {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    }

    /// Whether the plan of a text is at hand; else planning it may take milliseconds.
    #[must_use]
    pub fn knows(&self, sql: &str) -> bool {
        self.plans.get(sql).is_some()
    }

    /// Plans a text for a request that follows. An error is kept for that request too.
    pub fn prepare(&self, sql: &str) {
        // The request that runs the text answers the error.
        let _ = self.plan(sql);
    }

    /// Whether a text only reads, as SQLite sees it. An error is the one that running it would answer.
    pub fn is_read(&self, sql: &str) -> Result<bool> {
        Ok(self.plan(sql)?.is_read)
    }

    /// Whether a text only reads rows and answers the same whenever it reads the same ones.
    #[must_use]
    pub fn is_repeatable(&self, sql: &str) -> bool {
        self.plan(sql).is_ok_and(|planned| {
            let reads_rows =
                matches!(planned.action, Action::OneBucket | Action::Read(_) | Action::Sequences);
            planned.is_read && planned.is_deterministic && reads_rows
        })
    }

    /// Checks and plans a text.
    pub(crate) fn plan(&self, sql: &str) -> Result<Arc<Planned>> {
        if let Some(found) = self.plans.get(sql) {
            return found;
        }
        let planned = self.plan_anew(sql).map(Arc::new);
        self.plans.insert(sql, planned.clone());
        planned
    }

    fn plan_anew(&self, sql: &str) -> Result<Planned> {
        if nesting::is_too_deep(sql) {
            return Err(Error::new(ErrorCode::SqlError, "the statement is nested too deep")
                .with_hint("a hundred parentheses or a thousand operators in one expression are the limit"));
        }
        let command = ast::parse(sql);
        if let Some(Cmd::Stmt(statement)) = &command {
            refuse_what_is_ours(statement)?;
            if let Some(deferral) = Deferral::of(statement) {
                return Ok(planned_deferral(sql, deferral));
            }
        }
        let checked = self.shadow.check(sql)?;
        let action = self.action(sql, command.as_ref(), &checked)?;
        let is_read = match action {
            Action::Explain(_) => true,
            Action::Definition => false,
            _ => checked.is_read,
        };
        let asks_of_statements_before = checked.asks_of_statements_before();
        let is_deterministic = checked.is_deterministic() && !names_time(sql);
        let tables = self.tables_that(&checked);
        let footprint_beside_others = match action {
            Action::OneBucket if self.database.column_groups.len() > 1 => {
                self.footprint_over_partitions(sql, command.as_ref(), &checked)
            }
            _ => None,
        };
        Ok(Planned {
            footprint_beside_others,
            text: sql.to_owned(),
            parameters: checked.parameters,
            columns: checked.columns,
            types: checked.types,
            is_read,
            is_ordered: orders_rows(command.as_ref()),
            is_deterministic,
            asks_of_statements_before,
            tables,
            action,
            sources_in_one_bucket: OnceLock::new(),
        })
    }

    /// The rows that a read may touch, by table, as if there were several buckets.
    pub(crate) fn sources_over_partitions(&self, sql: &str) -> Vec<Source> {
        let Ok(checked) = self.shadow.check(sql) else { return Vec::new() };
        match self.action_over_partitions(sql, ast::parse(sql).as_ref(), &checked) {
            Ok(Action::Read(read)) => read.sources,
            _ => Vec::new(),
        }
    }

    /// What a text touches if it is computed at the coordinator, although a partition might run it alone; `None` if it
    /// cannot be.
    pub(crate) fn footprint(&self, sql: &str) -> Option<Footprint> {
        let planned = self.plan(sql).ok()?;
        match planned.action {
            Action::OneBucket => {
                let checked = self.shadow.check(sql).ok()?;
                self.footprint_over_partitions(sql, ast::parse(sql).as_ref(), &checked)
            }
            _ => planned.footprint(),
        }
    }

    fn footprint_over_partitions(
        &self,
        sql: &str,
        command: Option<&Cmd>,
        checked: &Checked,
    ) -> Option<Footprint> {
        self.action_over_partitions(sql, command, checked).ok()?.footprint()
    }

    /// The tables of a text, if they are all ordinary ones of the database.
    fn tables_that(&self, checked: &Checked) -> Vec<String> {
        let named: Vec<&String> = checked.tables.keys().chain(&checked.mentions).collect();
        let is_view = |name: &str| self.views.keys().any(|view| view.eq_ignore_ascii_case(name));
        let all_known = named.iter().all(|name| self.table(name).is_some() || is_view(name));
        if checked.reads_schema || checked.reads_sequences || !all_known {
            return Vec::new();
        }
        named.into_iter().cloned().collect()
    }

    fn action(&self, sql: &str, command: Option<&Cmd>, checked: &Checked) -> Result<Action> {
        let statement = match command {
            Some(Cmd::Stmt(statement)) => Some(statement),
            Some(Cmd::ExplainQueryPlan { .. }) => return self.explain(sql),
            Some(Cmd::Explain(_)) => {
                return Err(Error::not_supported(
                    "EXPLAIN shows one file's program, and there are several files",
                    "use EXPLAIN QUERY PLAN",
                ));
            }
            None => None,
        };
        // IF EXISTS and IF NOT EXISTS may leave SQLite nothing to do.
        if checked.changes_schema || statement.is_some_and(defines) {
            return Ok(Action::Definition);
        }
        let is_pragma = matches!(statement, Some(Stmt::Pragma { .. }));
        let names_objects = checked.reads_view || !checked.mentions.is_empty();
        let reads_schema = checked.reads_schema || is_pragma;
        if checked.tables.is_empty() && checked.is_read && (reads_schema || !names_objects) {
            return Ok(match (checked.reads_sequences, reads_schema) {
                (true, _) => Action::Sequences,
                (false, true) => Action::Schema,
                (false, false) => Action::Evaluate,
            });
        }
        if checked.reads_schema {
            return self.action_with_schema(statement, checked);
        }
        if self.buckets() == 1
            && self.is_whole_in_anchor(checked)
            && self.objects(ObjectKind::Trigger).is_empty()
        {
            return Ok(Action::OneBucket);
        }
        self.action_over_partitions(sql, command, checked)
    }

    /// What is to be done where the schema is read together with rows, or while rows are changed: a database is made
    /// that has all objects, so that its schema is the client's.
    fn action_with_schema(&self, statement: Option<&Stmt>, checked: &Checked) -> Result<Action> {
        let tables = checked.tables.keys().filter_map(|name| self.table(name));
        let sources: Vec<Source> = tables.map(|table| Source::whole(&table)).collect();
        if checked.is_read {
            return Ok(Action::Compute(Box::new(Footprint::of_read_with_schema(checked, &sources))));
        }
        if let Some(target) = statement.and_then(target_of).and_then(|name| self.table(name.name.as_str())) {
            refuse_hidden_rowids(statement, &target)?;
        }
        // What an INSERT meets in its own table is looked up.
        let is_insert = matches!(statement, Some(Stmt::Insert { .. }));
        let sources = if is_insert { Vec::new() } else { sources };
        let (narrowed, find) = (Narrowed { sources, steps: Vec::new() }, |name: &str| self.table(name));
        Ok(Action::Compute(Box::new(Footprint::of_write(checked, narrowed, true, &find))))
    }

    /// What is to be done where rows lie in several partitions.
    fn action_over_partitions(&self, sql: &str, command: Option<&Cmd>, checked: &Checked) -> Result<Action> {
        let find = |name: &str| self.table(name);
        let statement = match command {
            Some(Cmd::Stmt(statement)) => Some(statement),
            _ => None,
        };
        if checked.is_read {
            let select = match statement {
                Some(Stmt::Select(select)) => Some(select),
                _ => None,
            };
            let objects = Objects { table: &find, view: &|name| self.views.get(&name.to_ascii_lowercase()) };
            let read = plan_read(select, checked, objects, self.rules, &|sql| self.plan(sql));
            let views_are_there = self.database.column_groups.len() == 1 || self.views.is_empty();
            return Ok(Action::Read(if views_are_there {
                read.within_a_group(select)
            } else {
                read.gathered()
            }));
        }
        self.write_action(sql, statement, checked)
    }

    /// Whether the partitions of the first column group have all that a statement names, and as the client
    /// declared it. Where there are several groups they have no views.
    fn is_whole_in_anchor(&self, checked: &Checked) -> bool {
        let is_whole = |name: &String| self.table(name).is_none_or(|table| !table.is_split());
        self.database.column_groups.len() == 1 || self.views.is_empty() && checked.tables.keys().all(is_whole)
    }

    fn write_action(&self, sql: &str, statement: Option<&Stmt>, checked: &Checked) -> Result<Action> {
        let find = |name: &str| self.table(name);
        let footprint = |narrowed, meets_rows| Footprint::of_write(checked, narrowed, meets_rows, &find);
        let (Some(statement), Some(name)) = (statement, statement.and_then(target_of)) else {
            let named = checked.tables.keys().filter_map(|name| self.table(name));
            let whole = named.map(|table| Source::whole(&table)).collect();
            return Ok(Action::Compute(Box::new(footprint(
                Narrowed { sources: whole, steps: Vec::new() },
                true,
            ))));
        };
        let Some(target) = self.table(name.name.as_str()) else {
            // A view whose triggers say what is to be done.
            return Ok(Action::Compute(Box::new(footprint(Narrowed::default(), true))));
        };
        refuse_hidden_rowids(Some(statement), &target)?;
        let Consequences { fires_triggers, checks_foreign_keys, .. } = checked.consequences;
        // A database's only partition checks foreign keys itself.
        let is_whole = self.buckets() == 1 && self.database.column_groups.len() == 1;
        let elsewhere = fires_triggers || (checks_foreign_keys && !is_whole);
        let named_once = self.is_named_once(sql, &target);
        let narrowed = |select: &Select| {
            let objects = Objects { table: &find, view: &|name| self.views.get(&name.to_ascii_lowercase()) };
            narrowed(select, checked, objects, self.rules)
        };
        if let Some(change) = plan_change(statement, &target, checked, named_once, &narrowed, &footprint) {
            return Ok(if elsewhere {
                Action::Compute(Box::new(change.into_computed()))
            } else {
                Action::Change(Box::new(change))
            });
        }
        let insert = plan_insert(statement, &target, &|sql| self.plan(sql), &footprint)?;
        // A parent alone cannot be missing.
        let is_parent_alone = |insert: &Insert| target.foreign_keys.is_empty() && !insert.meets_rows();
        Ok(match insert {
            Some(insert)
                if !target.has_computed_entries()
                    && (!elsewhere || (!fires_triggers && is_parent_alone(&insert))) =>
            {
                match &insert.source {
                    InsertSource::Query(query) if !matches!(query.action, Action::Evaluate) => {
                        Action::Compute(Box::new(insert.footprint))
                    }
                    _ => Action::Insert(Box::new(insert)),
                }
            }
            Some(insert) => Action::Compute(Box::new(insert.footprint)),
            None => Action::Compute(Box::new(footprint(Narrowed::default(), true))),
        })
    }

    /// Whether a text names a table a single time, and no view that might name it too.
    fn is_named_once(&self, sql: &str, table: &Table) -> bool {
        let words = |name: &str| {
            let is_it = |word: &&str| word.eq_ignore_ascii_case(name);
            sql.split(|character: char| !(character.is_alphanumeric() || "_$".contains(character)))
                .filter(is_it)
                .count()
        };
        let plain =
            |name: &str| name.chars().all(|character| character.is_alphanumeric() || character == '_');
        let views = self.objects(ObjectKind::View);
        plain(&table.name)
            && words(&table.name) == 1
            && views.iter().all(|view| plain(&view.name) && words(&view.name) == 0)
    }

    /// The client's objects of a kind, in order of creation.
    pub(crate) fn objects(&self, kind: ObjectKind) -> Vec<&SchemaObject> {
        self.database.schema.objects.iter().filter(|object| object.kind == kind).collect()
    }

    /// The foreign keys that refer to a table, with the tables that they are of.
    pub(crate) fn references_to(&self, table: &str) -> Vec<(Arc<Table>, ForeignKey)> {
        let refers = |key: &&ForeignKey| key.parent.eq_ignore_ascii_case(table);
        self.tables
            .values()
            .flat_map(|child| {
                child.foreign_keys.iter().filter(refers).map(|key| (Arc::clone(child), key.clone()))
            })
            .collect()
    }

    /// What deleting all rows of a table touches, if foreign keys refer to it.
    pub(crate) fn footprint_of_emptying(&self, table: &Arc<Table>) -> Option<Footprint> {
        if self.references_to(&table.name).is_empty() {
            return None;
        }
        let sql = format!("DELETE FROM {}", quote_identifier(&table.name));
        let find = |name: &str| self.table(name);
        Some(match self.shadow.check(&sql) {
            Ok(checked) => Footprint::of_write(&checked, Narrowed::to(Source::whole(table)), false, &find),
            // A foreign key that fits no key of its parent, or whose parent is gone, stops a DELETE. DROP TABLE
            // passes over it.
            Err(_) => Footprint::of_everything(self.tables.values()),
        })
    }

    fn explain(&self, sql: &str) -> Result<Action> {
        let lower = sql.to_ascii_lowercase();
        let inner = lower.find("plan").map(|at| &sql[at + "plan".len()..]).unwrap_or_default();
        Ok(Action::Explain(self.plan(inner)?))
    }

    /// Whether a unique violation of a table is one of its rowids.
    pub(crate) fn is_rowid_collision(&self, table: &str, message: &str) -> bool {
        let Some(table) = self.table(table) else { return false };
        let column = table.rowid_alias.map_or("rowid", |alias| table.columns[alias].name.as_str());
        message == format!("UNIQUE constraint failed: {}.{column}", table.name)
    }

    /// Gives a violation of a global index the words that one file would use.
    pub(crate) fn reword(&self, error: &mut Error) {
        if error.code != ErrorCode::UniqueViolation {
            return;
        }
        for table in self.tables.values() {
            for index in &table.global_indexes {
                if error.message.starts_with(&format!("UNIQUE constraint failed: {}.", index.table)) {
                    let columns = index.columns.iter().map(|column| format!("{}.{column}", table.name));
                    let violated = match &index.computed {
                        Some(computed) => computed.violated.clone(),
                        None => columns.collect::<Vec<String>>().join(", "),
                    };
                    error.message = format!("UNIQUE constraint failed: {violated}");
                    // The index's table has it as its primary key; the client's table may have another one.
                    let is_key = index.computed.is_none() && table.is_primary_key(&index.columns);
                    error.sqlite_code = Some(if is_key { CONSTRAINT_PRIMARY_KEY } else { CONSTRAINT_UNIQUE });
                    return;
                }
            }
        }
    }
}

/// The name in lower case and the query of a view, if the text makes one.
fn view(sql: &str) -> Option<(String, View)> {
    match ast::parse(sql)? {
        Cmd::Stmt(Stmt::CreateView { view_name, columns, select, .. }) => {
            let columns = columns.iter().map(|column| column.col_name.as_str().to_owned()).collect();
            Some((view_name.name.as_str().to_ascii_lowercase(), View { columns, select }))
        }
        _ => None,
    }
}

/// Where the rowid neither is a column nor chooses the bucket, nothing keeps a client's own rowids apart.
fn refuse_hidden_rowids(statement: Option<&Stmt>, target: &Table) -> Result<()> {
    if target.rowid_alias.is_some() || target.key == Key::Rowid {
        return Ok(());
    }
    let names: Vec<&ast::Name> = match statement {
        Some(Stmt::Insert { columns, .. }) => columns.iter().collect(),
        Some(Stmt::Update(update)) => update.sets.iter().flat_map(|set| &set.col_names).collect(),
        _ => Vec::new(),
    };
    if names.iter().any(|name| target.names_rowid(name.as_str())) {
        return Err(Error::not_supported(
            "the rowid of this table cannot be set over several partitions",
            "declare an INTEGER PRIMARY KEY and set that",
        ));
    }
    Ok(())
}

/// The table or view that a statement changes.
fn target_of(statement: &Stmt) -> Option<&ast::QualifiedName> {
    match statement {
        Stmt::Insert { tbl_name, .. } | Stmt::Delete { tbl_name, .. } => Some(tbl_name),
        Stmt::Update(update) => Some(&update.tbl_name),
        _ => None,
    }
}

/// A statement about whether foreign keys wait. SQLite would take the setting over while it checks the text.
fn planned_deferral(sql: &str, deferral: Deferral) -> Planned {
    let columns = deferral.columns();
    Planned {
        text: sql.to_owned(),
        parameters: Vec::new(),
        types: vec![String::new(); columns.len()],
        columns,
        is_read: true,
        is_ordered: false,
        is_deterministic: true,
        asks_of_statements_before: false,
        tables: Vec::new(),
        action: Action::DeferForeignKeys(deferral),
        footprint_beside_others: None,
        sources_in_one_bucket: OnceLock::new(),
    }
}

fn orders_rows(command: Option<&Cmd>) -> bool {
    matches!(command, Some(Cmd::Stmt(Stmt::Select(select))) if !select.order_by.is_empty())
}

/// Whether CURRENT_TIMESTAMP or its like may be meant; SQLite does not count them among the functions.
fn names_time(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("current_")
}

/// Whether a text is a statement of DDL, by its form alone.
pub(crate) fn is_definition(sql: &str) -> bool {
    matches!(ast::parse(sql), Some(Cmd::Stmt(statement)) if defines(&statement))
}

fn defines(statement: &Stmt) -> bool {
    matches!(
        statement,
        Stmt::AlterTable(_)
            | Stmt::CreateTable { .. }
            | Stmt::CreateIndex { .. }
            | Stmt::CreateView { .. }
            | Stmt::DropTable { .. }
            | Stmt::DropIndex { .. }
            | Stmt::DropView { .. }
            | Stmt::CreateTrigger { .. }
            | Stmt::DropTrigger { .. }
            | Stmt::Analyze { .. }
            | Stmt::Reindex { .. }
    )
}

/// What a client must not say, whatever SQLite would make of it.
fn refuse_what_is_ours(statement: &Stmt) -> Result<()> {
    let (what, hint) = match statement {
        Stmt::Begin { .. }
        | Stmt::Commit { .. }
        | Stmt::Rollback { .. }
        | Stmt::Savepoint { .. }
        | Stmt::Release { .. } => (
            "transaction control is not allowed in SQL",
            "a request with several statements is one transaction",
        ),
        Stmt::Attach { .. } | Stmt::Detach { .. } => {
            ("ATTACH and DETACH are not allowed", "a database is one namespace")
        }
        Stmt::Vacuum { .. } => ("VACUUM is not allowed", "partitions keep their files in shape themselves"),
        Stmt::CreateVirtualTable(_) => {
            return Err(Error::not_supported("virtual tables are not supported", "use an ordinary table"));
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorCode::SqlForbidden, what).with_hint(hint))
}
