//! The same work as transactions over several requests, through SQL and through documents.

use std::time::{Duration, Instant};

use polylite_client::{Outcome, Result, Transaction as Open, TransactionOptions};
use serde_json::{Value as Json, json};

use super::{ACCOUNTS, LISTS, PAUSE, PURSES, Recording, VERSIONED, items};
use crate::histories::list_append::{Fate, Step};
use crate::histories::lost_update::Update;
use rand::Rng as _;

/// How long a commit is asked for whose fate is not known.
const FATE_MAX: Duration = Duration::from_secs(20);

/// Commits, and asks again while nobody says what became of it: what is said then counts.
async fn commit(open: &Open) -> Result<()> {
    let deadline = Instant::now() + FATE_MAX;
    loop {
        match open.commit().await {
            Err(error) if error.outcome == Outcome::Unknown && Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

impl Recording {
    pub(super) async fn begin(&mut self) -> Result<Open> {
        let pessimistic = self.random.random_bool(0.2);
        self.rows.begin(TransactionOptions { pessimistic, ..TransactionOptions::default() }).await
    }

    /// Appends to two lists, which answer what they hold then.
    pub(super) async fn append_to_both(&mut self) -> Result<()> {
        let first = self.random.random_range(0..LISTS);
        let lists = [first, (first + self.random.random_range(1..LISTS)) % LISTS];
        let (begun, value) = (self.now(), self.next);
        let open = self.begin().await?;
        let mut steps = Vec::new();
        for list in lists {
            let sql = "UPDATE lists SET items = items || ',' || ? WHERE id = ? RETURNING items";
            let statement = open.sql(sql).bind(i64::try_from(value).expect("small"));
            // Without its commit nothing of it can ever be seen.
            let changed = statement.bind(i64::try_from(list).expect("small")).execute().await?;
            steps.push(Step::Append(list, value));
            steps.push(Step::Read(list, items(&changed.rows.scalar::<String>()?)));
        }
        let committed = commit(&open).await;
        let fate = match &committed {
            Ok(()) => Fate::Committed,
            Err(error) if error.outcome == Outcome::NotApplied => Fate::Aborted,
            Err(_) => Fate::Unknown,
        };
        if fate != Fate::Committed {
            steps.retain(|step| matches!(step, Step::Append(..)));
        }
        self.record(steps, fate, begun);
        committed
    }

    /// Moves money between accounts: reads, decides, writes.
    pub(super) async fn transfer_after_a_look(&mut self) -> Result<()> {
        let from = self.random.random_range(0..ACCOUNTS);
        let to = (from + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let open = self.begin().await?;
        let read = async |account: i64| {
            let balance = open.sql("SELECT balance FROM accounts WHERE id = ?").bind(account);
            balance.query().await?.scalar::<i64>()
        };
        let (left, other) = (read(from).await?, read(to).await?);
        for (account, balance) in [(from, left - 1), (to, other + 1)] {
            let write = open.sql("UPDATE accounts SET balance = ? WHERE id = ?");
            write.bind(balance).bind(account).execute().await?;
        }
        open.commit().await
    }

    /// Moves coins between purses, which are documents; sometimes only counts them, at one moment.
    pub(super) async fn pass_coins(&mut self) -> Result<()> {
        if self.random.random_bool(0.3) {
            let reading = TransactionOptions { read_only: true, ..TransactionOptions::default() };
            let open = self.rows.begin(reading).await?;
            let pipeline = [json!({"$group": {"_id": null, "coins": {"$sum": "$coins"}}})];
            let sums: Vec<Json> = open.collection("purses").aggregate(&pipeline).await?;
            open.commit().await?;
            let coins = sums.first().and_then(|sum| sum["coins"].as_i64()).unwrap_or_default();
            self.seen.lock().expect("no client panics with it in hand").coins.push(vec![coins]);
            return Ok(());
        }
        let from = self.random.random_range(0..PURSES);
        let to = (from + self.random.random_range(1..PURSES)) % PURSES;
        let open = self.begin().await?;
        let purses = open.collection("purses");
        let purse: Option<Json> = purses.get(from).await?;
        let coins = purse.and_then(|purse| purse["coins"].as_i64()).unwrap_or_default();
        // One is counted and written as a whole, the other one changed where it is.
        purses.patch(from, &json!({ "coins": coins - 1 })).await?;
        purses.update_one(json!({ "_id": to }), json!({"$inc": {"coins": 1}})).await?;
        open.commit().await
    }

    /// Replaces a version that was read by one that nobody else writes, in a row or in a document.
    pub(super) async fn replace_version(&mut self) -> Result<()> {
        let id = self.random.random_range(0..VERSIONED);
        let (in_document, wrote) = (self.random.random_bool(0.5), self.next);
        let version = i64::try_from(wrote).expect("small");
        let open = self.begin().await?;
        let read: i64 = if in_document {
            let versioned = open.collection("versioned");
            let found: Option<Json> = versioned.get(id).await?;
            versioned.patch(id, &json!({ "version": version })).await?;
            found.and_then(|found| found["version"].as_i64()).expect("it is never deleted")
        } else {
            let read =
                open.sql("SELECT version FROM versions WHERE id = ?").bind(id).query().await?.scalar()?;
            let write = open.sql("UPDATE versions SET version = ? WHERE id = ?").bind(version).bind(id);
            write.execute().await?;
            read
        };
        commit(&open).await?;
        let key = u64::try_from(id).expect("small");
        let update = Update { key, read: u64::try_from(read).expect("small"), wrote };
        self.seen.lock().expect("no client panics with it in hand").updates[usize::from(in_document)]
            .push(update);
        Ok(())
    }

    /// Takes from one side what both sides cover together.
    pub(super) async fn withdraw_after_a_look(&mut self) -> Result<()> {
        let account = self.random.random_range(0..ACCOUNTS);
        let side = account + if self.random.random_bool(0.5) { 1_000 } else { 0 };
        let open = self.begin().await?;
        let both = open.sql("SELECT sum(balance) FROM sides WHERE id IN (?, ?)");
        let covered: i64 = both.bind(account).bind(account + 1_000).query().await?.scalar()?;
        if covered >= 60 {
            open.sql("UPDATE sides SET balance = balance - 60 WHERE id = ?").bind(side).execute().await?;
        }
        open.commit().await
    }
}
