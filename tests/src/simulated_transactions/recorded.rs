//! What clients saw, and what must hold of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use common::Value;
use common::catalog::Catalog;
use common::partition_map::bucket_of_key;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::clients::{in_database, numbers, options, run_sql};
use super::coordinator::Coordinators;
use super::database::{COLUMNS, ROWS, statement};
use crate::histories::counters::{self, Additions};
use crate::histories::list_append::{self, Fate, Transaction};
use crate::histories::lost_update::{self, Update};
use crate::histories::{bank, long_fork, vertical_rows, write_skew};
use crate::simulated_cluster::Violation;

/// Enough of each to lie in all partitions, and few enough to be fought over.
pub(super) const LISTS: u64 = 6;
pub(super) const ACCOUNTS: u64 = 8;
pub(super) const BALANCE: i64 = 100;
pub(super) const SIDES: u64 = 5;
pub(super) const SIDE_BALANCE: i64 = 50;
pub(super) const COUNTERS: u64 = 6;
pub(super) const VERSIONED: u64 = 3;
pub(super) const WIDE_ROWS: u64 = 3;
pub(super) const PURSES: u64 = 6;
pub(super) const COINS: i64 = 10;

/// What a run reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A hash over what happened, in order.
    pub fingerprint: u64,
    /// Requests and transactions acknowledged.
    pub acknowledged: u64,
    /// Those refused.
    pub refused: u64,
    /// Those of which nobody heard again.
    pub unknown: u64,
    /// Those of a list that are known to have committed.
    pub lists: u64,
    /// Reads of all accounts, or of all purses.
    pub totals: u64,
    /// Reads of all counters, or of all documents that count.
    pub counts: u64,
    /// Versions replaced, in rows and in documents.
    pub replaced: u64,
    /// Additions with an idempotency key that were answered.
    pub keyed: u64,
    /// Those of them whose first answer was lost.
    pub found_again: u64,
    /// Commits whose fate was learnt by asking for it again.
    pub asked_again: u64,
    /// Storage nodes that lost power.
    pub crashes: u64,
    /// Raft messages lost.
    pub lost: u64,
}

impl Report {
    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Report) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.lists += other.lists;
        self.totals += other.totals;
        self.counts += other.counts;
        self.replaced += other.replaced;
        self.keyed += other.keyed;
        self.found_again += other.found_again;
        self.asked_again += other.asked_again;
        self.crashes += other.crashes;
        self.lost += other.lost;
    }
}

/// Where something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Rows,
    Documents,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) lists: Vec<Transaction>,
    /// Balances of all accounts, and coins of all purses.
    pub(super) totals: BTreeMap<Kind, Vec<Vec<i64>>>,
    /// Counters that grow by writes of one partition each.
    pub(super) counts: BTreeMap<Kind, Vec<Vec<i64>>>,
    pub(super) updates: BTreeMap<Kind, Vec<Update>>,
    pub(super) wide_rows: Vec<Vec<i64>>,
    /// Additions to each counter, by where it is and whether the request has a key.
    pub(super) additions: BTreeMap<(&'static str, i64), Additions>,
    /// What a client has found that cannot be.
    pub(super) wrong: Option<String>,
    pub(super) report: Report,
}

/// What all clients have seen. Clones are the same.
#[derive(Clone)]
pub(super) struct Recorded {
    begun: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Recorded {
    pub(super) fn new(begun: Instant) -> Recorded {
        Recorded { begun, seen: Arc::default() }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("a panic ends the run")
    }

    /// Microseconds since the beginning.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn report(&self, world: crate::simulated_placement::Report) -> Report {
        let seen = self.seen();
        let lists = seen.lists.iter().filter(|transaction| transaction.fate == Fate::Committed).count();
        let count =
            |reads: &BTreeMap<Kind, Vec<Vec<i64>>>| reads.values().map(Vec::len).sum::<usize>() as u64;
        Report {
            fingerprint: world.fingerprint,
            lists: lists as u64,
            totals: count(&seen.totals),
            counts: count(&seen.counts),
            replaced: seen.updates.values().map(Vec::len).sum::<usize>() as u64,
            crashes: world.crashes,
            lost: world.lost,
            ..seen.report
        }
    }

    /// Checks everything that was seen, and what is there in the end.
    pub(super) async fn check(&self, coordinators: &Coordinators) -> Result<(), Violation> {
        self.check_seen(&coordinators.catalog())?;
        let end = |sql: &'static str, database: &'static str| async move {
            let gateway = &coordinators.at(0).gateway;
            let found = run_sql(gateway, database, vec![statement(sql, &[])], &options()).await;
            found.and_then(|mut results| numbers(&results.remove(0))).map_err(unread)
        };
        let accounts = end("SELECT balance FROM accounts", ROWS).await?.concat();
        check("the end", bank::check(total(Kind::Rows), &[accounts]))?;
        check("audits", bank::check(total(Kind::Rows), &end("SELECT total FROM audits", ROWS).await?))?;
        let sides: BTreeMap<i64, i64> = end("SELECT id, balance FROM sides", ROWS)
            .await?
            .into_iter()
            .map(|row| (row[0], row[1]))
            .collect();
        let pairs: Vec<(i64, i64)> =
            (0..SIDES as i64).map(|side| (sides[&side], sides[&(side + 1_000)])).collect();
        check("pairs", write_skew::check(&pairs))?;
        check(
            "wide rows in the end",
            vertical_rows::check(&end("SELECT a, b, c FROM wide", COLUMNS).await?),
        )?;
        for (table, sql) in [("counters", "SELECT id, n FROM counters"), ("marks", "SELECT id, n FROM marks")]
        {
            self.check_additions(table, &end(sql, ROWS).await?)?;
        }
        for (collection, field) in [("tallies", "n"), ("ticks", "n"), ("purses", "coins")] {
            let found = documents(coordinators, collection, field).await?;
            if field == "coins" {
                let coins = found.iter().map(|row| row[1]).collect();
                check("purses in the end", bank::check(total(Kind::Documents), &[coins]))?;
            } else {
                self.check_additions(collection, &found)?;
            }
        }
        Ok(())
    }

    fn check_seen(&self, catalog: &Catalog) -> Result<(), Violation> {
        let seen = self.seen();
        seen.wrong.clone().map_or(Ok(()), |wrong| Err(Violation(wrong)))?;
        for (kind, reads) in &seen.totals {
            check(&format!("totals of {kind:?}"), bank::check(total(*kind), reads))?;
        }
        for (kind, reads) in &seen.counts {
            check(&format!("a long fork of {kind:?}"), long_fork::check_counters(reads))?;
        }
        for (kind, updates) in &seen.updates {
            check(&format!("updates of {kind:?}"), lost_update::check(updates))?;
        }
        check("wide rows", vertical_rows::check(&seen.wide_rows))?;
        let database = &catalog.databases[ROWS];
        let bucket_of = |list: u64| {
            let key = [Value::Integer(i64::try_from(list).expect("few lists"))];
            bucket_of_key(&database.buckets, &key) as u64
        };
        check("lists", list_append::check(&seen.lists, bucket_of))
    }

    fn check_additions(&self, of: &'static str, found: &[Vec<i64>]) -> Result<(), Violation> {
        let seen = self.seen();
        for row in found {
            let additions = seen.additions.get(&(of, row[0])).copied().unwrap_or_default();
            let counter = u64::try_from(row[1]).expect("counters grow");
            check(&format!("additions to {of} {}", row[0]), counters::check(additions, counter))?;
        }
        Ok(())
    }
}

/// What all accounts or all purses hold together.
fn total(kind: Kind) -> i64 {
    match kind {
        Kind::Rows => ACCOUNTS as i64 * BALANCE,
        Kind::Documents => PURSES as i64 * COINS,
    }
}

fn check<E: std::fmt::Debug>(what: &str, checked: Result<(), E>) -> Result<(), Violation> {
    checked.map_err(|found| Violation(format!("{what}: {found:?}")))
}

fn unread(error: common::Error) -> Violation {
    Violation(format!("what is there in the end cannot be read: {error:?}"))
}

/// Ids and a number of all documents.
async fn documents(
    coordinators: &Coordinators,
    collection: &'static str,
    field: &'static str,
) -> Result<Vec<Vec<i64>>, Violation> {
    let (coordinator, options) = (coordinators.at(0), options());
    let found = in_database(&coordinator.gateway, ROWS, &options, move |session| async move {
        query::documents::find(&session.planner, &session.access, collection, &json!({"sort": {"_id": 1}}))
            .await
    });
    let found: Json = serde_json::from_str(found.await.map_err(unread)?.text()).expect("documents are JSON");
    let number = |json: &Json| json.as_i64().expect("a number");
    let row = |document: &Json| vec![number(&document["_id"]), number(&document[field])];
    Ok(found.as_array().expect("a list").iter().map(row).collect())
}
