//! The first documents in an order that partitions can tell.
//!
//! Partitions put documents in order by type and value of their fields, which is the order of documents as long as
//! no array and no object lies there. Documents for which that is not so, or of which it is not known whether
//! they match, are put in front of all others: where none of them is among the first, there is none at all, and
//! the answer is exact. Else the documents are sorted here.

use common::protocol::Statement;
use common::{Error, Result, Value};

use super::Find;
use super::source::Source;
use crate::access::PartitionAccess;
use crate::documents::filter::pushed::{Path, Sql};
use crate::documents::stored::Stored;
use crate::planner::Planner;
use crate::sql::run_one;

/// Most documents that partitions send along for this.
const WANTED_MAX: u64 = 10_000;

/// The first documents, those that are skipped among them; `None` if they have to be sorted here.
pub(crate) async fn first(
    planner: &Planner,
    access: &impl PartitionAccess,
    source: &Source,
    find: &Find,
) -> Result<Option<Vec<Stored>>> {
    let Some(statement) = statement(source, find) else { return Ok(None) };
    let result = run_one(planner, access, &statement, u32::MAX).await?;
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    let is_in_doubt = |row: &Vec<Value>| row.last() != Some(&Value::Integer(0));
    if rows.first().is_some_and(is_in_doubt) || result.truncated {
        return Ok(None);
    }
    rows.into_iter().map(Stored::of).collect::<Result<Vec<Stored>>>().map(Some)
}

/// What partitions are asked; `None` if they cannot tell.
pub(crate) fn statement(source: &Source, find: &Find) -> Option<Statement> {
    let wanted = find.wanted().filter(|wanted| *wanted <= WANTED_MAX)?;
    let (flag, order) = terms(source, find)?;
    let extra = Sql { text: format!(", {}", flag.text), params: flag.params.clone() };
    let mut rest = Sql {
        text: format!(" ORDER BY {} DESC, {}, rowid LIMIT ?", flag.text, order.join(", ")),
        params: flag.params,
    };
    rest.params.push(i64::try_from(wanted).unwrap_or(i64::MAX).into());
    Some(source.select(&extra, rest))
}

/// 1 for documents whose place is in doubt, and the terms of ORDER BY for the others.
fn terms(source: &Source, find: &Find) -> Option<(Sql, Vec<String>)> {
    let (mut doubts, mut order) = (Vec::new(), Vec::new());
    for field in &find.order.fields {
        let direction = if field.descending { " DESC" } else { "" };
        if field.path.text == "_id" {
            order.push(format!("\"_id\"{direction}"));
            continue;
        }
        let path = Path::of(&field.path, source.attributes())?;
        doubts.push(format!("({})", path.has_no_plain_order()));
        order.extend(path.sort_terms().map(|term| format!("{term}{direction}")));
    }
    let mut params = Vec::new();
    if let Some(undecided) = source.undecided() {
        if undecided.text == "NULL" {
            return None;
        }
        doubts.push(format!("({}) IS NULL", undecided.text));
        params = undecided.params;
    }
    let flag = if doubts.is_empty() {
        "coalesce(0, 0)".to_owned()
    } else {
        format!("coalesce({}, 0)", doubts.join(" OR "))
    };
    Some((Sql { text: flag, params }, order))
}
