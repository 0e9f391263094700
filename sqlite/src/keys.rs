//! Idempotency keys that a partition remembers, with what their requests were answered.
//!
//! They lie in a table whose rows are captured and replicated like the client's: what expires is deleted by the
//! leader, by its own clock, and by everybody else because the leader did. Each request with a key pays for
//! removing a few expired ones, so that the table stays as small as its use.

use common::idempotency::{
    IdempotencyKey, KEPT_ANSWER_MAX, KEY_LIFE_MS, Kept, KeyedRequest, SESSION_KEYS_MAX, SESSION_LIFE_MS,
};
use common::{Error, ErrorCode, Hlc, Value};
use rusqlite::{Connection, OptionalExtension as _};

use crate::binding::bind_values;
use crate::connection::ours;
use crate::error::{Failure, Result};
use crate::system::decode;

pub(crate) const CREATE: &str = ours!(
    "CREATE TABLE _keys (key TEXT PRIMARY KEY, session TEXT, sequence INTEGER, kept_at INTEGER NOT NULL, ",
    "request BLOB NOT NULL, kept BLOB NOT NULL) WITHOUT ROWID, STRICT;",
    "CREATE INDEX _keys_age ON _keys(kept_at) WHERE session IS NULL;",
    "CREATE INDEX _keys_session ON _keys(session, sequence) WHERE session IS NOT NULL;"
);

/// Name of the table.
pub const TABLE: &str = "_keys";

/// Expired keys that one request removes.
const REMOVED_AT_ONCE: i64 = 16;
/// Bytes of what is kept beside the answer itself.
const OVERHEAD: usize = 4 << 10;

/// The table of keys in whatever transaction the connection has open.
pub(crate) struct Keys<'c> {
    raw: &'c Connection,
    now_ms: i64,
}

impl<'c> Keys<'c> {
    pub(crate) fn at(raw: &'c Connection, now: Hlc) -> Keys<'c> {
        Keys { raw, now_ms: milliseconds(now.millis()) }
    }

    /// What is known of a request's key. Fails if the key belongs to another request, or is too old for it to be
    /// known whether it was used.
    pub(crate) fn recall(&self, request: &KeyedRequest) -> Result<Option<Kept>> {
        let sql = ours!("SELECT kept_at, request, kept FROM _keys WHERE key = ?");
        let found = self
            .raw
            .prepare_cached(sql)?
            .query_row([request.key.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .optional()?;
        let session = request.key.session();
        let (kept_at, digest, kept) = match found {
            Some(found) => found,
            None => {
                if let Some((session, sequence)) = session {
                    self.check_not_older(session, sequence)?;
                }
                return Ok(None);
            }
        };
        if session.is_none() && kept_at.saturating_add(milliseconds(KEY_LIFE_MS)) <= self.now_ms {
            return Ok(None);
        }
        if digest != request.digest.to_le_bytes() {
            let message = "the Idempotency-Key was used with another request";
            return Err(Error::new(ErrorCode::IdempotencyMismatch, message)
                .with_hint("use a new key for each request, and send the same again only to repeat it")
                .into());
        }
        Ok(Some(decode(&kept)?))
    }

    fn check_not_older(&self, session: &str, sequence: i64) -> Result<()> {
        let newest = self.newest(session)?;
        if newest.is_some_and(|newest| sequence <= newest.saturating_sub(SESSION_KEYS_MAX)) {
            let message =
                format!("the Idempotency-Key is older than the newest {SESSION_KEYS_MAX} of its session");
            return Err(Error::new(ErrorCode::IdempotencyKeyGone, message).into());
        }
        Ok(())
    }

    fn newest(&self, session: &str) -> Result<Option<i64>> {
        let sql = ours!("SELECT max(sequence) FROM _keys WHERE session = ?");
        Ok(self.raw.prepare_cached(sql)?.query_row([session], |row| row.get(0))?)
    }

    /// Keeps what a request was answered, and removes what need not be remembered any more.
    pub(crate) fn keep(&self, request: &KeyedRequest, kept: &Kept) -> Result<()> {
        let kept = common::protocol::encode(kept);
        if kept.len() > KEPT_ANSWER_MAX + OVERHEAD {
            let message = format!("the answer is larger than {KEPT_ANSWER_MAX} bytes, too large to be kept");
            return Err(Error::new(ErrorCode::ResultTooBig, message)
                .with_hint("send the request without an Idempotency-Key, or let it answer less")
                .into());
        }
        let (session, sequence) = request.key.session().unzip();
        let sql = ours!("INSERT OR REPLACE INTO _keys VALUES (?, ?, ?, ?, ?, ?)");
        let digest = request.digest.to_le_bytes();
        let row = (request.key.as_str(), session, sequence, self.now_ms, digest, &kept[..]);
        self.raw.prepare_cached(sql)?.execute(row)?;
        match request.key.session() {
            None => self.forget_expired(),
            Some((session, _)) => self.forget_older(session),
        }
    }

    /// Remembers what another partition does, unless something newer is remembered, or the answer itself where the other
    /// one only knows who has it. Results were in that partition's state; here they are with what is written now.
    pub(crate) fn adopt(&self, row: &[Value], index: u64) -> Result<()> {
        let mut row = row.to_vec();
        let [key, _, _, Value::Integer(kept_at), _, Value::Blob(kept)] = &mut row[..] else {
            return Err(Failure::diverged("a key is not kept as keys are".to_owned()));
        };
        let mut adopted: Kept = decode(kept)?;
        if let Some((known_at, known)) = self.kept_under(key)? {
            let answers = |kept: &Kept| !matches!(kept, Kept::Elsewhere(_) | Kept::Decided(_));
            let stays = match (answers(&known), answers(&adopted)) {
                // Both were kept by one request, unless one has expired.
                (true, false) => *kept_at <= known_at.saturating_add(milliseconds(KEY_LIFE_MS)),
                (false, true) => known_at > kept_at.saturating_add(milliseconds(KEY_LIFE_MS)),
                (true, true) | (false, false) => known_at > *kept_at,
            };
            if stays {
                return Ok(());
            }
        }
        if let Kept::Results(results) = &mut adopted {
            results.index = index;
            *kept = common::protocol::encode(&adopted).to_vec();
        }
        let sql = ours!("INSERT OR REPLACE INTO _keys VALUES (?, ?, ?, ?, ?, ?)");
        let mut statement = self.raw.prepare_cached(sql)?;
        bind_values(&mut statement, 1, row)?;
        statement.raw_execute()?;
        Ok(())
    }

    fn kept_under(&self, key: &Value) -> Result<Option<(i64, Kept)>> {
        let mut statement =
            self.raw.prepare_cached(ours!("SELECT kept_at, kept FROM _keys WHERE key = ?"))?;
        bind_values(&mut statement, 1, std::slice::from_ref(key))?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((row.get(0)?, decode(&row.get::<_, Vec<u8>>(1)?)?)))
    }

    /// The key is free again.
    pub(crate) fn release(&self, key: &IdempotencyKey) -> Result<()> {
        let sql = ours!("DELETE FROM _keys WHERE key = ?");
        self.raw.prepare_cached(sql)?.execute([key.as_str()])?;
        Ok(())
    }

    fn forget_expired(&self) -> Result<()> {
        let sql = ours!(
            "DELETE FROM _keys WHERE key IN (SELECT key FROM _keys WHERE session IS NULL AND kept_at <= ? ",
            "ORDER BY kept_at LIMIT ?)"
        );
        let expired = self.now_ms.saturating_sub(milliseconds(KEY_LIFE_MS));
        self.raw.prepare_cached(sql)?.execute((expired, REMOVED_AT_ONCE))?;
        Ok(())
    }

    fn forget_older(&self, session: &str) -> Result<()> {
        let oldest = self.newest(session)?.unwrap_or_default().saturating_sub(SESSION_KEYS_MAX);
        self.forget_up_to(session, oldest)?;
        // Names of sessions are as good as random: to look at the next one each time finds all in the end.
        let sql = ours!(
            "SELECT coalesce((SELECT min(session) FROM _keys WHERE session > ?1), ",
            "(SELECT min(session) FROM _keys WHERE session IS NOT NULL))"
        );
        let next: Option<String> = self.raw.prepare_cached(sql)?.query_row([session], |row| row.get(0))?;
        let Some(next) = next.filter(|next| next != session) else { return Ok(()) };
        let sql =
            ours!("SELECT sequence, kept_at FROM _keys WHERE session = ? ORDER BY sequence DESC LIMIT 1");
        let (newest, used_at): (i64, i64) =
            self.raw.prepare_cached(sql)?.query_row([&next], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if used_at.saturating_add(milliseconds(SESSION_LIFE_MS)) <= self.now_ms {
            self.forget_up_to(&next, newest)?;
        }
        Ok(())
    }

    fn forget_up_to(&self, session: &str, sequence: i64) -> Result<()> {
        let sql = ours!(
            "DELETE FROM _keys WHERE key IN (SELECT key FROM _keys WHERE session = ? AND sequence <= ? ",
            "ORDER BY sequence LIMIT ?)"
        );
        self.raw.prepare_cached(sql)?.execute((session, sequence, REMOVED_AT_ONCE))?;
        Ok(())
    }
}

fn milliseconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
