//! How databases under comparison are divided, as data.

/// A way to divide a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// For people.
    pub name: &'static str,
    /// Horizontal buckets, by hash.
    pub buckets: u32,
    /// Column groups; 1 where rows stay whole. A cluster has as many storage nodes, because columns of
    /// tables made by SQL are spread over as many groups as there are nodes.
    pub column_groups: u32,
}

/// Rows by hash.
pub const HORIZONTAL: Layout = Layout { name: "8 horizontal", buckets: 8, column_groups: 1 };

/// Columns.
pub const VERTICAL: Layout = Layout { name: "3 vertical", buckets: 1, column_groups: 3 };

/// Both.
pub const MIXED: Layout = Layout { name: "4 x 2 mixed", buckets: 4, column_groups: 2 };

/// The layouts that databases can have.
pub const LAYOUTS: [Layout; 3] = [HORIZONTAL, VERTICAL, MIXED];
