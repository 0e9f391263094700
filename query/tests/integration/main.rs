//! What the crate promises, tested from outside. One program, because linking one for each file would take longer than running them.

mod attribute_groups;
mod column_groups;
mod computed_writes;
mod definitions;
mod differential;
mod differential_joins;
mod differential_keys;
mod differential_relations;
mod document_operators;
mod document_reference;
mod documents;
mod documents_random;
mod earthquakes;
mod exactness;
mod key_shipping;
mod local_joins;
mod objects;
mod plans;
mod pushdown;
mod random_statements;
mod reference_tables;
mod sqllogictest;
mod statements;
mod support;
mod tpch;
mod unique_indexes;
