//! Answers to changes of the catalog that have an idempotency key.

use common::catalog::{Catalog, KeptAnswer};
use common::idempotency::{IdempotencyKey, KEY_LIFE_MS, KeyedRequest, SESSION_KEYS_MAX};
use common::{Error, ErrorCode, Result};

/// Answers that are kept at most: the catalog is held in memory by every coordinator.
const ANSWERS_MAX: usize = 10_000;

/// The answer that a request was given, if it was. Fails if its key belongs to another request, or is too old.
pub fn recall(catalog: &Catalog, now_ms: u64, request: &KeyedRequest) -> Result<Option<String>> {
    match catalog.kept_answers.get(request.key.as_str()) {
        Some(kept) if is_alive(&request.key, kept, now_ms) => {
            if kept.digest != digest_text(request) {
                let message = "the Idempotency-Key was used with another request";
                return Err(Error::new(ErrorCode::IdempotencyMismatch, message)
                    .with_hint("use a new key for each request, and send the same again only to repeat it"));
            }
            Ok(Some(kept.answer.clone()))
        }
        _ => check_not_older(catalog, request).map(|()| None),
    }
}

fn is_alive(key: &IdempotencyKey, kept: &KeptAnswer, now_ms: u64) -> bool {
    key.session().is_some() || kept.at.saturating_add(KEY_LIFE_MS) > now_ms
}

fn check_not_older(catalog: &Catalog, request: &KeyedRequest) -> Result<()> {
    let Some((session, sequence)) = request.key.session() else { return Ok(()) };
    if newest(catalog, session).is_some_and(|newest| sequence <= newest.saturating_sub(SESSION_KEYS_MAX)) {
        let message =
            format!("the Idempotency-Key is older than the newest {SESSION_KEYS_MAX} of its session");
        return Err(Error::new(ErrorCode::IdempotencyKeyGone, message));
    }
    Ok(())
}

fn newest(catalog: &Catalog, session: &str) -> Option<i64> {
    catalog
        .kept_answers
        .values()
        .filter(|kept| kept.session.as_deref() == Some(session))
        .map(|kept| kept.sequence)
        .max()
}

/// Keeps an answer, unless one is kept, and forgets what is old. Deterministic: time is the proposal's.
pub(super) fn keep(catalog: &mut Catalog, at: u64, key: &str, digest: &str, answer: &str) -> Result<()> {
    let key = IdempotencyKey::parse(key.as_bytes())?;
    let known = catalog.kept_answers.get(key.as_str());
    if known.is_none_or(|kept| !is_alive(&key, kept, at)) {
        let (session, sequence) = key.session().unzip();
        let kept = KeptAnswer {
            digest: digest.to_owned(),
            answer: answer.to_owned(),
            session: session.map(str::to_owned),
            sequence: sequence.unwrap_or_default(),
            at,
        };
        catalog.kept_answers.insert(key.as_str().to_owned(), kept);
        forget(catalog, at, session);
    }
    Ok(())
}

fn forget(catalog: &mut Catalog, at: u64, session: Option<&str>) {
    let oldest = session.and_then(|session| newest(catalog, session)).map(|newest| newest - SESSION_KEYS_MAX);
    catalog.kept_answers.retain(|_, kept| match (&kept.session, oldest) {
        (None, _) => kept.at.saturating_add(KEY_LIFE_MS) > at,
        (Some(of), Some(oldest)) if Some(of.as_str()) == session => kept.sequence > oldest,
        _ => true,
    });
    while catalog.kept_answers.len() > ANSWERS_MAX {
        let first = catalog.kept_answers.iter().min_by_key(|(_, kept)| kept.at).map(|(key, _)| key.clone());
        match first {
            Some(key) => catalog.kept_answers.remove(&key),
            None => break,
        };
    }
}

/// A request's digest as the catalog keeps it.
#[must_use]
pub fn digest_text(request: &KeyedRequest) -> String {
    format!("{:032x}", request.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, digest: u128) -> KeyedRequest {
        KeyedRequest { key: IdempotencyKey::parse(key.as_bytes()).unwrap(), digest }
    }

    fn keep_at(catalog: &mut Catalog, at: u64, request: &KeyedRequest, answer: &str) {
        keep(catalog, at, request.key.as_str(), &digest_text(request), answer).unwrap();
    }

    #[test]
    fn the_first_answer_stays_until_its_time_is_up() {
        let (mut catalog, k) = (Catalog::default(), request("k", 1));
        assert_eq!(recall(&catalog, 0, &k), Ok(None));
        keep_at(&mut catalog, 0, &k, "first");
        keep_at(&mut catalog, 5, &k, "second");
        assert_eq!(recall(&catalog, 5, &k), Ok(Some("first".into())));
        assert_eq!(recall(&catalog, 5, &request("k", 2)).unwrap_err().code, ErrorCode::IdempotencyMismatch);
        assert_eq!(recall(&catalog, KEY_LIFE_MS, &k), Ok(None));
        keep_at(&mut catalog, KEY_LIFE_MS, &request("other", 1), "x");
        assert_eq!(catalog.kept_answers.len(), 1);
    }

    #[test]
    fn the_newest_of_a_session_stay() {
        let mut catalog = Catalog::default();
        for sequence in 1..=1_001 {
            keep_at(&mut catalog, 0, &request(&format!("s.{sequence}"), 1), "x");
        }
        assert_eq!(catalog.kept_answers.len(), 1_000);
        assert_eq!(recall(&catalog, 0, &request("s.1", 1)).unwrap_err().code, ErrorCode::IdempotencyKeyGone);
        assert!(recall(&catalog, u64::MAX, &request("s.2", 1)).unwrap().is_some());
    }
}
