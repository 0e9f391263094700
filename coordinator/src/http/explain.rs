//! `/databases/{db}/explain`: how a statement is run, as a tree.

use axum::extract::State;
use common::catalog::{Catalog, Database};
use common::names::check_database_name;
use query::PlanNode;
use serde_json::{Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::JsonBody;
use super::failure::Answer;
use super::fields::missing;
use super::request::{Query, Segments};
use super::sql::statement;

/// Tells how a statement is run; with `analyze`, runs a reading one and tells what it took.
#[utoipa::path(post, path = "/databases/{db}/explain", tag = "Queries", params(("db" = String, Path)),
    request_body(content = Object, description = "`sql`* with `params`; `analyze` (false), `level`, `timeout_ms`"),
    responses((status = 200, description = "The plan as a tree: `node`, `detail`, `partitions` and \
        `partitions_pruned` (ids, or null), `rows_estimated` and `children` of the same form; with `analyze` also \
        `rows`, `bytes` and `milliseconds`")))]
pub async fn post(
    State(app): State<App>,
    Segments(name): Segments<String>,
    query: Query,
    JsonBody(mut body): JsonBody,
) -> Answer {
    check_database_name("database", &name)?;
    let options = query.options(&mut body)?;
    let analyze = body.flag("analyze")?.unwrap_or(false);
    let sql = body.take("sql").ok_or_else(|| missing("sql"))?;
    let statement = statement(sql, body.take("params"))?;
    body.done()?;
    let explained = app.gateway.run(&name, &options, |session| {
        let statement = statement.clone();
        async move {
            session.prepare(std::slice::from_ref(&statement)).await;
            let plan = query::sql::explain(&session.planner, &session.access, statement, analyze).await?;
            Ok((plan, session.planner.database().clone()))
        }
    });
    let ((plan, database), bookmark) = explained.await?;
    Ok(success_seen(tree(&plan, &database, &app.catalog.view()), &bookmark))
}

/// A step and those below it. Partitions are named as `/partitions/{db}` names them.
pub(super) fn tree(node: &PlanNode, database: &Database, catalog: &Catalog) -> Json {
    let names = |partitions: &[usize]| -> Vec<String> {
        let ids = partitions.iter().filter_map(|index| database.partition(*index).map(|(_, _, id)| id));
        ids.filter_map(|id| catalog.partitions.get(&id).map(|partition| partition.uuid.clone())).collect()
    };
    let children: Vec<Json> = node.children.iter().map(|child| tree(child, database, catalog)).collect();
    let mut shown = json!({
        "node": node.node,
        "detail": node.detail,
        "partitions": node.partitions.as_ref().map(|partitions| names(&partitions.asked)),
        "partitions_pruned": node.partitions.as_ref().map(|partitions| names(&partitions.pruned)),
        "rows_estimated": node.rows_estimated,
        "children": children,
    });
    if let Some(measured) = &node.measured {
        shown["rows"] = json!(measured.rows);
        shown["bytes"] = json!(measured.bytes);
        shown["milliseconds"] = json!(measured.time.as_secs_f64() * 1_000.0);
    }
    shown
}
