//! Which column group can answer a SELECT by itself.

use super::Source;
use crate::ast::Select;

/// The column group whose partitions can run the text over the tables as they are there: they lack columns that
/// the text does not read, and have stamps that `*` would show and a NATURAL join would compare.
pub(super) fn common(select: Option<&Select>, sources: &[Source]) -> Option<usize> {
    if sources.iter().all(|source| !source.table.is_split()) {
        return Some(0);
    }
    select.filter(|select| names_all_it_reads(select))?;
    let holds = |group: usize, source: &Source| {
        let part = source.table.parts.iter().find(|part| part.group == group);
        part.is_some_and(|part| part.holds(&source.columns))
    };
    let mut groups = sources.iter().flat_map(|source| source.table.parts.iter().map(|part| part.group));
    groups.find(|&group| sources.iter().all(|source| holds(group, source)))
}

/// Whether no column and no index is meant that the text does not name, anywhere in it. An index may be on
/// columns of another group.
fn names_all_it_reads(select: &Select) -> bool {
    let text = select.to_string().to_ascii_uppercase().replace("COUNT(*)", "").replace("COUNT (*)", "");
    !["*", "NATURAL", "INDEXED"].iter().any(|word| text.contains(word))
}
