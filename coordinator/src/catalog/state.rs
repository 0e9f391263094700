//! The state machine behind the catalog's log: the catalog, and the answers to the newest proposals.

use std::collections::{HashMap, VecDeque};

use common::catalog::Catalog;
use common::{Error, RequestId, Result};
use serde::{Deserialize, Serialize};

use super::apply::apply;
use super::command::{Answer, FORMAT, Proposal};

/// Proposals whose answers are remembered. A proposal is sent again for some seconds at most; this many are
/// not decided in that time.
const ANSWERS_KEPT: usize = 16_384;

/// Why bytes are not a state or a proposal that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Written by a newer version of the program.
    #[error("written in format {0}; this version reads up to {FORMAT}")]
    Newer(u32),
    /// Not what it should be.
    #[error("malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The catalog together with what makes a repeated proposal harmless.
#[derive(Clone, Debug, Default)]
pub struct CatalogState {
    /// The catalog.
    pub catalog: Catalog,
    answers: HashMap<RequestId, Result<Answer>>,
    order: VecDeque<RequestId>,
}

/// A state as written into a snapshot.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    catalog: Catalog,
    answers: Vec<(RequestId, Result<Answer>)>,
}

/// What is read first, from any version.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl CatalogState {
    /// Carries out the proposal that stands at a place in the log, unless it was carried out before.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Result<Answer> {
        self.catalog.version = index;
        if let Some(answer) = self.answers.get(&proposal.request) {
            return answer.clone();
        }
        let answer = apply(&mut self.catalog, proposal.at, &proposal.command);
        self.remember(proposal.request, answer.clone());
        answer
    }

    /// The answer to a proposal that was carried out not long ago.
    #[must_use]
    pub fn answer_to(&self, request: RequestId) -> Option<Result<Answer>> {
        self.answers.get(&request).cloned()
    }

    fn remember(&mut self, request: RequestId, answer: Result<Answer>) {
        self.answers.insert(request, answer);
        self.order.push_back(request);
        if self.order.len() > ANSWERS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    /// The state as bytes for a snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let answers = self.order.iter().map(|request| (*request, self.answers[request].clone())).collect();
        let written = Written { format: FORMAT, catalog: self.catalog.clone(), answers };
        serde_json::to_vec(&written).expect("every part of the catalog has an encoding")
    }

    /// The state out of a snapshot's bytes.
    pub fn decode(bytes: &[u8]) -> Result<CatalogState, FormatError> {
        check_format(bytes)?;
        let written: Written = serde_json::from_slice(bytes)?;
        let mut state = CatalogState { catalog: written.catalog, ..CatalogState::default() };
        for (request, answer) in written.answers {
            state.remember(request, answer);
        }
        Ok(state)
    }
}

impl Proposal {
    /// The proposal as bytes for the log. What does not survive its encoding (an infinite split point) is
    /// refused here: in the log it would stop every coordinator.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let unfit = |error: &dyn std::fmt::Display| Error::bad_request(format!("not storable: {error}"));
        let bytes = serde_json::to_vec(self).map_err(|error| unfit(&error))?;
        match Proposal::decode(&bytes) {
            Ok(read) if read == *self => Ok(bytes),
            Ok(_) => Err(unfit(&"a value changes in its encoding")),
            Err(error) => Err(unfit(&error)),
        }
    }

    /// The proposal out of the log's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Proposal, FormatError> {
        check_format(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }
}

fn check_format(bytes: &[u8]) -> Result<(), FormatError> {
    match serde_json::from_slice::<Format>(bytes)?.format {
        format if format > FORMAT => Err(FormatError::Newer(format)),
        _ => Ok(()),
    }
}
