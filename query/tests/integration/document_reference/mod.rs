//! What documents mean, written a second time from MongoDB's documentation: short and slow, over documents in
//! memory, sharing nothing with the product.

pub mod filters;
pub mod pipelines;
pub mod updates;
pub mod values;

use serde_json::{Map, Value as Json};

pub type Fields = Map<String, Json>;

/// The documents in the order of making, without the store's own fields but `_id`.
#[derive(Clone, Default)]
pub struct Model {
    pub documents: Vec<Fields>,
}

impl Model {
    /// What a filter finds, in an order, without the first and at most so many.
    pub fn find(&self, filter: &Json, sort: &Json, skip: usize, limit: usize) -> Vec<Fields> {
        let mut found: Vec<Fields> =
            self.documents.iter().filter(|document| filters::holds(document, filter)).cloned().collect();
        values::sort(&mut found, sort);
        let limit = if limit == 0 { usize::MAX } else { limit };
        found.into_iter().skip(skip).take(limit).collect()
    }

    pub fn of_id(&mut self, id: &Json) -> Option<&mut Fields> {
        self.documents.iter_mut().find(|document| document["_id"] == *id)
    }
}
