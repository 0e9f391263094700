//! What clients do with documents: the same histories as of rows, through the functions behind the routes of documents.

use common::Result;
use query::documents::{self, Precondition};
use rand::Rng as _;
use serde_json::{Value as Json, json};

use super::clients::{Client, in_database, in_time, options};
use super::database::ROWS;
use super::recorded::{COUNTERS, Kind, PURSES};

impl Client {
    pub(super) async fn work_on_documents(&mut self) -> Result<()> {
        match self.random.random_range(0..7) {
            0 | 1 => self.tick().await,
            2 => self.read_ticks().await,
            3 => self.read_purses().await,
            4 => self.tally().await,
            _ => self.pass_coins().await,
        }
    }

    /// All documents of a collection, in the order of their ids.
    async fn all_documents(&mut self, collection: &'static str) -> Result<Vec<Json>> {
        let (coordinator, options) = (self.coordinator(), options());
        let request = &json!({"sort": {"_id": 1}});
        let found = in_database(&coordinator.gateway, ROWS, &options, move |session| async move {
            documents::find(&session.planner, &session.access, collection, request).await
        });
        let found = in_time(coordinator.serve(found)).await?;
        Ok(serde_json::from_str(found.text()).expect("documents are JSON"))
    }

    /// Changes the documents that a filter matches.
    async fn update(&mut self, collection: &'static str, request: Json) -> Result<()> {
        let (coordinator, options) = (self.coordinator(), options());
        let (request, moment) = (&request, self.coordinators().moment());
        let changed = in_database(&coordinator.gateway, ROWS, &options, move |session| async move {
            documents::update(&session.planner, &session.access, collection, request, moment).await
        });
        in_time(coordinator.serve(changed)).await.map(drop)
    }

    /// Adds one to a document, by a write of one partition.
    async fn tick(&mut self) -> Result<()> {
        let id = self.one_of(COUNTERS);
        let done = self.update("ticks", json!({"filter": {"_id": id}, "update": {"$inc": {"n": 1}}})).await;
        self.count("ticks", &[id], done)
    }

    async fn read_ticks(&mut self) -> Result<()> {
        let found = numbers_in(&self.all_documents("ticks").await?, "n");
        self.recorded.seen().counts.entry(Kind::Documents).or_default().push(found);
        Ok(())
    }

    async fn read_purses(&mut self) -> Result<()> {
        let found = numbers_in(&self.all_documents("purses").await?, "coins");
        self.recorded.seen().totals.entry(Kind::Documents).or_default().push(found);
        Ok(())
    }

    /// Adds one to two documents by one request, which is one write: all or nothing.
    async fn tally(&mut self) -> Result<()> {
        let (first, second) = self.two_of(COUNTERS);
        let add = |id: i64| json!({"updateOne": {"filter": {"_id": id}, "update": {"$inc": {"n": 1}}}});
        let request = json!({"operations": [add(first), add(second)], "atomic": true});
        let (coordinator, options) = (self.coordinator(), options());
        let (request, moment) = (&request, self.coordinators().moment());
        let changed = in_database(&coordinator.gateway, ROWS, &options, move |session| async move {
            documents::bulk(&session.planner, &session.access, "tallies", request, moment).await
        });
        let done = in_time(coordinator.serve(changed)).await;
        self.count("tallies", &[first, second], done.map(drop))
    }

    /// Moves a coin from one purse to another, in a transaction of several requests. One is counted and written as a
    /// whole, the other one changed where it is.
    async fn pass_coins(&mut self) -> Result<()> {
        let (from, to) = self.two_of(PURSES);
        let open = self.begin().await?;
        let purse = from.to_string();
        let found = open
            .run(|session| {
                let purse = purse.clone();
                async move { documents::get(&session.planner, &session.access, "purses", &purse).await }
            })
            .await?;
        let found: Json = serde_json::from_str(&found.text).expect("documents are JSON");
        let coins = found["coins"].as_i64().expect("a number");
        let moment = self.coordinators().moment();
        open.run(|session| {
            let (purse, patch) = (purse.clone(), json!({"coins": coins - 1}));
            async move {
                let (planner, access) = (&session.planner, &session.access);
                documents::patch(planner, access, "purses", &purse, patch, Precondition::None, moment).await
            }
        })
        .await?;
        open.run(|session| async move {
            let request = json!({"filter": {"_id": to}, "update": {"$inc": {"coins": 1}}});
            documents::update(&session.planner, &session.access, "purses", &request, moment).await
        })
        .await?;
        self.commit(&open).await
    }
}

/// A number of each document.
pub(super) fn numbers_in(documents: &[Json], field: &str) -> Vec<i64> {
    documents.iter().map(|document| document[field].as_i64().expect("a number")).collect()
}
