//! The stages of a pipeline as read.

use super::group::Group;
use crate::documents::expression::Expression;
use crate::documents::filter::Filter;
use crate::documents::filter::path::FieldPath;
use crate::documents::find::projection::Projection;
use crate::documents::find::sort::Order;

/// A stage.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Match(Filter),
    /// `$project`, `$addFields`, `$set`, `$unset`.
    Project(Projection),
    /// `$group`, `$bucket`, `$sortByCount`.
    Group(Group),
    Sort(Order),
    Limit(u64),
    Skip(u64),
    Unwind(Unwind),
    Lookup(Lookup),
    Count(String),
    Facet(Vec<(String, Vec<Stage>)>),
    /// `$replaceRoot`, `$replaceWith`.
    ReplaceRoot(Expression),
    Sample(u64),
    UnionWith(String, Vec<Stage>),
}

impl Stage {
    /// Whether more is read than the documents that come in.
    pub(super) fn reads_another_collection(&self) -> bool {
        match self {
            Stage::Lookup(_) | Stage::UnionWith(..) => true,
            Stage::Facet(facets) => {
                facets.iter().flat_map(|(_, stages)| stages).any(Stage::reads_another_collection)
            }
            _ => false,
        }
    }
}

/// `$unwind`: a document for each element of an array.
#[derive(Clone, Debug)]
pub(super) struct Unwind {
    pub(super) path: FieldPath,
    /// The field that gets the index.
    pub(super) index: Option<FieldPath>,
    /// Whether documents without elements stay.
    pub(super) preserves: bool,
}

/// `$lookup`: documents of another collection as an array.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) from: String,
    /// Paths of values that must be equal, here and there.
    pub(super) fields: Option<(FieldPath, FieldPath)>,
    /// Variables of the pipeline that the other documents go through.
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) pipeline: Vec<Stage>,
    pub(super) to: FieldPath,
}
