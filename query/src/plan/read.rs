//! Plans of SELECT.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::catalog::Database;
use common::{Result, Value};
use sqlite::schema::IndexTerm;

use super::join::{self, LocalJoin, Objects, Reference, Sending, Step};
use super::push::{self, Pushed};
use super::{Narrowed, PlanNode, Planned, Rule, Rules, Source, describe, groups};
use crate::ast::Select;
use crate::filter::Filter;
use crate::route::{KeyColumn, Route};
use crate::shadow::{Checked, Usage};
use crate::table::Table;

/// How rows are read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// What to gather, one per table.
    pub(crate) sources: Vec<Source>,
    /// For each place where the statement names a table, where the rows are that matter there; none if the
    /// statement is not understood. If all lead to one bucket, the statement can be answered there.
    routes: Vec<(Arc<Table>, Route)>,
    /// The column group whose partitions have every column that is needed, if the text may run there.
    pub(crate) group: usize,
    /// What is fetched before the rest, for the values that the rest is compared with.
    pub(crate) steps: Vec<Step>,
    /// What partitions can do of it, if the statement is of one table; or why they cannot.
    pub(crate) pushed: Result<Pushed, push::Why>,
    /// What is sent to the partitions for that, in the order of the parameters that hold it.
    pub(crate) sent: Vec<Sent>,
    /// Parameters of the client.
    parameters: usize,
}

/// Rows that are sent to partitions along with a text.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// Of a source, by its number.
    Table(usize),
    /// What a subquery answers.
    Answer(push::Answer),
}

impl Read {
    /// The one partition, by index, that can answer the client's text by itself.
    pub(crate) fn single(&self, database: &Database, params: &[Value]) -> Option<usize> {
        let mut found = None;
        // A reference table can be read wherever the others are.
        let of_one = self.routes.iter().filter(|(table, _)| !table.reference);
        for (table, route) in of_one {
            let buckets = route.buckets(database, table, params);
            let &[bucket] = buckets.as_slice() else { return None };
            if found.is_some_and(|other| other != bucket) {
                return None;
            }
            found = Some(bucket);
        }
        let any =
            || self.routes.first().and_then(|(table, route)| route.buckets(database, table, params).pop());
        found.or_else(any).map(|bucket| database.partition_index(self.group, bucket))
    }

    /// The partitions, by index, that may be asked for rows, in order.
    pub(crate) fn partitions(&self, database: &Database, params: &[Value]) -> Vec<usize> {
        let mut found = BTreeSet::new();
        for source in &self.sources {
            found.extend(source.partitions(database, params));
        }
        if let Ok(pushed) = &self.pushed {
            found.extend(pushed.partitions(database, self.group, params));
        }
        found.into_iter().collect()
    }

    /// How many reads of one partition may be under way at once.
    pub(crate) fn reads_at_once(&self) -> usize {
        self.sources.iter().map(Source::reads_at_once).sum()
    }

    /// The same on the partitions of the column group that has all that is needed; without one, only gathering
    /// is left.
    pub(crate) fn within_a_group(self, select: Option<&Select>) -> Read {
        match groups::common(select, &self.sources) {
            Some(group) => Read { group, ..self },
            None => self.gathered(),
        }
    }

    /// The same without what partitions could answer by themselves. Queries within it have their own column groups.
    pub(crate) fn gathered(self) -> Read {
        if matches!(self.pushed, Ok(Pushed::Composed(_))) {
            return Read { routes: Vec::new(), ..self };
        }
        Read {
            routes: Vec::new(),
            pushed: Err("the columns lie in several groups"),
            sent: Vec::new(),
            ..self
        }
    }

    /// Whether the client's text meets rows in the order of an index: it runs on one partition, whose tables
    /// have indexes.
    pub(crate) fn follows_indexes(&self, database: &Database, params: &[Value]) -> bool {
        self.single(database, params).is_some()
            && self.routes.iter().any(|(table, _)| !table.indexes.is_empty())
    }

    /// The parameters of a pushed plan: the client's and behind them the rows that are sent, by source.
    pub(crate) fn with_sent(&self, params: &[Value], sent: impl IntoIterator<Item = Value>) -> Vec<Value> {
        params.iter().take(self.parameters).cloned().chain(sent).collect()
    }

    fn describe_sent(&self, sent: &Sent, database: &Database, params: &[Value]) -> PlanNode {
        let own = |answer: &push::Answer| answer.planned.parameters.len().min(params.len());
        let (what, how) = match sent {
            Sent::Answer(answer) if answer.stays => {
                let how = answer.planned.describe(database, &params[..own(answer)]);
                return PlanNode::new("ANSWER", answer.planned.text.clone()).over([how]);
            }
            Sent::Table(source) => {
                let source = &self.sources[*source];
                (source.table.name.as_str(), PlanNode::fragment(source, database, params))
            }
            Sent::Answer(answer) => {
                ("a subquery's answer", answer.planned.describe(database, &params[..own(answer)]))
            }
        };
        PlanNode::new("SEND", format!("{what} to the partitions")).over([how])
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        if let Some(bucket) = self.single(database, params) {
            return PlanNode::single(database, bucket);
        }
        let why_not_single = if self.routes.is_empty() {
            "not one partition: only SQLite understands the whole statement"
        } else {
            "not one partition: no condition on the partition key leaves a single one"
        };
        let node = match &self.pushed {
            Ok(pushed) => {
                match pushed.describe(
                    database,
                    self.group,
                    &self.with_sent(params, self.sent.iter().map(|_| Value::Null)),
                ) {
                    Some(node) => {
                        node.over(self.sent.iter().map(|sent| self.describe_sent(sent, database, params)))
                    }
                    None => self.describe_gather(database, params, "LIMIT is no integer"),
                }
            }
            Err(why) => self.describe_gather(database, params, why),
        };
        node.over([PlanNode::why(why_not_single)])
    }

    fn describe_gather(&self, database: &Database, params: &[Value], why_not_pushed: &str) -> PlanNode {
        let why = PlanNode::why(format!("not pushed: {why_not_pushed}"));
        describe::gather("MERGE", &self.sources, database, params)
            .over(describe::shipments(&self.steps, &self.sources))
            .over([why])
    }
}

/// Plans a SELECT; `select` is `None` if only SQLite understands it.
pub(crate) fn plan_read<'a>(
    select: Option<&'a Select>,
    checked: &Checked,
    objects: Objects<'a>,
    rules: Rules,
    prepare: &dyn Fn(&str) -> Result<Arc<Planned>>,
) -> Read {
    let references = select.and_then(|select| join::references(select, checked, objects));
    let mut references = references.unwrap_or_default();
    if !rules.has(Rule::Filters) {
        references.iter_mut().for_each(Reference::want_all);
    }
    let mut sources = sources(checked, objects, &references);
    let steps = if rules.has(Rule::KeyShipping) { join::steps(&sources, &references) } else { Vec::new() };
    let routes = references.into_iter().map(|reference| (reference.table, reference.route)).collect();
    let parameters = checked.parameters.len();
    let flattened =
        select.filter(|_| rules.has(Rule::Flattening)).and_then(|select| push::flattened(select, objects));
    let pushing = Pushing { rules, objects, sources: &sources, parameters, steps: &steps };
    let found = match flattened.as_ref().or(select) {
        Some(select) => pushing.plan(select, prepare),
        None => Err("only SQLite understands the whole statement"),
    };
    let (mut pushed, mut sent) = match found {
        Ok((pushed, sent)) => (Ok(pushed), sent),
        Err(why) => (Err(why), Vec::new()),
    };
    if let (Err(_), Some(select)) = (&pushed, select.filter(|_| rules.has(Rule::Composition)))
        && let Some((composed, answers)) = push::composed(select, parameters, objects, prepare)
    {
        sent = answers.into_iter().map(Sent::Answer).collect();
        pushed = Ok(Pushed::Composed(Box::new(composed)));
    }
    if pushed.is_err() && steps.is_empty() {
        // Rows of several column groups are not put together for nothing.
        let whole = sources.iter_mut().filter(|source| !source.table.is_split());
        whole.for_each(|source| source.filters.retain(|filter| !filter.leaves_out_few()));
    }
    Read { sources, routes, group: 0, steps, pushed, sent, parameters }
}

/// What is known when it is decided what partitions do.
struct Pushing<'a, 'o> {
    rules: Rules,
    objects: Objects<'o>,
    sources: &'a [Source],
    /// Parameters of the client.
    parameters: usize,
    /// What would be fetched first, were the statement gathered.
    steps: &'a [Step],
}

impl Pushing<'_, '_> {
    /// What partitions can do of a SELECT, and what is sent to them for it.
    fn plan(
        &self,
        select: &Select,
        prepare: &dyn Fn(&str) -> Result<Arc<Planned>>,
    ) -> Result<(Pushed, Vec<Sent>), push::Why> {
        // What partitions know by themselves need not be sent.
        let is_local = self.rules.has(Rule::LocalSubqueries) && join::has_subqueries(select);
        if is_local && let Ok(found) = self.over(select, Vec::new()) {
            return Ok(found);
        }
        let answered = match self.may_send(Rule::Subqueries, select) {
            true => push::answered_first(select, self.parameters, prepare),
            false => None,
        };
        match answered {
            Some((select, answers)) => self.over(&select, answers.into_iter().map(Sent::Answer).collect()),
            None => self.over(select, Vec::new()),
        }
    }

    /// Keys that are sent the other way may leave few rows to be gathered, but do not make groups of them.
    fn may_send(&self, rule: Rule, select: &Select) -> bool {
        self.rules.has(rule) && (self.steps.is_empty() || push::makes_groups(select))
    }

    /// The same, with what is sent already.
    fn over(&self, select: &Select, mut sent: Vec<Sent>) -> Result<(Pushed, Vec<Sent>), push::Why> {
        let why = match push::plan_push(select, self.rules, self.objects.table) {
            Ok(pushed) => return Ok((pushed, sent)),
            Err(why) => why,
        };
        let (pushed, tables) = self.join(select, sent.len()).map_err(|other| other.unwrap_or(why))?;
        sent.extend(tables.into_iter().map(Sent::Table));
        Ok((pushed, sent))
    }

    /// What partitions can do of a SELECT over a join whose rows each lie in one partition, and the sources that are
    /// sent for it. Without a reason the statement does not join.
    fn join(&self, select: &Select, sent: usize) -> Result<(Pushed, Vec<usize>), Option<push::Why>> {
        if !self.rules.has(Rule::CoLocatedJoins) {
            return Err(None);
        }
        let is_allowed = self.may_send(Rule::Broadcast, select);
        let sending = Sending { is_allowed, sources: self.sources, parameters: self.parameters + sent };
        let join = LocalJoin::of(select, self.objects, sending, self.rules.has(Rule::LocalSubqueries))?;
        let pushed = push::plan_push(&join.select, self.rules, &|_| Some(Arc::clone(&join.table)))?;
        Ok((pushed, join.sent))
    }
}

/// What a statement that changes rows needs of each table, as the SELECT that looks for them does; `None` if that
/// is not understood.
pub(crate) fn narrowed<'a>(
    select: &'a Select,
    checked: &Checked,
    objects: Objects<'a>,
    rules: Rules,
) -> Option<Narrowed> {
    if !rules.has(Rule::Filters) {
        return None;
    }
    let references = join::references(select, checked, objects)?;
    let sources = sources(checked, objects, &references);
    let steps = if rules.has(Rule::KeyShipping) { join::steps(&sources, &references) } else { Vec::new() };
    Some(Narrowed { sources, steps })
}

/// What is gathered of each table.
fn sources(checked: &Checked, objects: Objects<'_>, references: &[Reference]) -> Vec<Source> {
    let mut sources: Vec<Source> = checked
        .tables
        .iter()
        .filter_map(|(name, usage)| Some(source(&(objects.table)(name)?, usage, references)))
        .collect();
    // SQLite does not report a table of which a NATURAL join compares columns and nothing else is read.
    for reference in references {
        if !sources.iter().any(|source| source.table.name == reference.table.name) {
            sources.push(source(&reference.table, &Usage::of_all(&reference.table), references));
        }
    }
    for name in &checked.mentions {
        if let Some(table) = (objects.table)(name)
            && !sources.iter().any(|source| source.table.name == table.name)
        {
            sources.push(Source { columns: Vec::new(), route: Route::nowhere(), ..Source::whole(&table) });
        }
    }
    sources
}

/// What is gathered of a table, given all places that name it.
fn source(table: &Arc<Table>, usage: &Usage, references: &[Reference]) -> Source {
    let columns = usage.positions(table);
    let named: Vec<&Reference> =
        references.iter().filter(|reference| reference.table.name == table.name).collect();
    if named.is_empty() {
        return Source { columns, ..Source::whole(table) };
    }
    let route = Route::either(named.iter().map(|reference| reference.route.clone()).collect());
    let filters = Filter::either(named.iter().map(|reference| reference.filters.clone()).collect());
    let lookups = lookups(table, &named);
    Source { table: Arc::clone(table), columns, route, filters, lookups }
}

/// The columns by which a table's rows are looked up, each once. By the rowid they are found anyway.
fn lookups(table: &Table, named: &[&Reference]) -> Vec<IndexTerm> {
    let mut lookups: Vec<IndexTerm> = Vec::new();
    for (column, collation) in named.iter().flat_map(|reference| &reference.lookups) {
        let &KeyColumn::Position(position) = column else { continue };
        let term = IndexTerm { column: Some(position), collation: collation.clone(), descending: false };
        if table.rowid_alias != Some(position) && !lookups.contains(&term) {
            lookups.push(term);
        }
    }
    lookups
}
