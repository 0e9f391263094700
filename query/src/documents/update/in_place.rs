//! Changes that a partition makes by itself, as SQL: fields that are set to plain values, or counted up.
//!
//! Most updates of one document are such. They need no reading first, and nobody gets in their way.

use common::Value;
use serde_json::Value as Json;

use super::operation::Operation;
use super::target::Step;
use super::{Change, Update};
use crate::documents::filter::pushed::Sql;

/// Longest values that are sent, in bytes together.
const VALUES_MAX: usize = 1 << 20;
/// A document that is no longer than this has room for them.
const DOCUMENT_ROOM: i64 = 8 << 20;

/// A change of a document in the column `doc`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::documents) struct InPlace {
    /// The document as it is afterwards.
    pub(in crate::documents) document: Sql,
    /// Holds only for documents that the change is possible for, and surely changes.
    pub(in crate::documents) condition: Sql,
}

impl Update {
    /// What a partition can do; `None` if the document has to be changed here.
    pub(in crate::documents) fn in_place(&self) -> Option<InPlace> {
        let Update::Operators { changes, .. } = self else { return None };
        let (mut document, mut params) = ("\"doc\"".to_owned(), Vec::new());
        let (mut conditions, mut differences) = (Vec::new(), Vec::new());
        let mut size = 0;
        for change in changes {
            let field = Field::of(change)?;
            let (assigned, value) = match &change.operation {
                Operation::Set(value) => {
                    let text = value.to_string();
                    size += text.len();
                    differences.push(field.differs_from(value)?);
                    ("jsonb(?)".to_owned(), Value::Text(text))
                }
                Operation::Increment(by) => {
                    let by = by.as_i64().filter(|by| *by != 0)?;
                    conditions.push(field.can_grow_by(by));
                    (format!("({} + ?)", field.value()), by.into())
                }
                _ => return None,
            };
            document.push_str(&format!(", {}, {assigned}", field.path));
            params.push(value);
        }
        if size > VALUES_MAX {
            return None;
        }
        let mut terms: Vec<Sql> =
            vec![Sql { text: "octet_length(\"doc\") <= ?".to_owned(), params: vec![DOCUMENT_ROOM.into()] }];
        // A number that is counted up is another one already.
        if conditions.is_empty() {
            terms.push(joined(differences, " OR "));
        }
        terms.extend(conditions);
        let document = Sql { text: format!("jsonb_set({document})"), params };
        Some(InPlace { document, condition: joined(terms, " AND ") })
    }
}

fn joined(terms: Vec<Sql>, between: &str) -> Sql {
    let (texts, params): (Vec<String>, Vec<Vec<Value>>) =
        terms.into_iter().map(|term| (format!("({})", term.text), term.params)).unzip();
    Sql { text: texts.join(between), params: params.concat() }
}

/// A field of the document itself.
struct Field {
    /// Its path as a literal.
    path: String,
}

impl Field {
    fn of(change: &Change) -> Option<Field> {
        let [Step::Name(name)] = change.target.steps.as_slice() else { return None };
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_plain.then(|| Field { path: format!("'$.\"{name}\"'") })
    }

    fn kind(&self) -> String {
        format!("json_type(\"doc\", {})", self.path)
    }

    fn value(&self) -> String {
        format!("(\"doc\" ->> {})", self.path)
    }

    /// Whether something else lies there; `None` for a value of which that is not easily said.
    fn differs_from(&self, value: &Json) -> Option<Sql> {
        let kind = self.kind();
        let (kind_name, known) = match value {
            Json::Null => ("null", None),
            Json::Bool(true) => ("true", None),
            Json::Bool(false) => ("false", None),
            Json::String(text) if text.contains('\0') => return None,
            Json::String(text) => ("text", Some(Value::Text(text.clone()))),
            Json::Number(number) => ("integer", Some(Value::Integer(number.as_i64()?))),
            Json::Array(_) | Json::Object(_) => return None,
        };
        let text = match known {
            None => format!("{kind} IS NOT '{kind_name}'"),
            Some(_) => format!("{kind} IS NOT '{kind_name}' OR {} IS NOT ?", self.value()),
        };
        Some(Sql { text, params: known.into_iter().collect() })
    }

    /// Whether an integer lies there to which so much can be added.
    fn can_grow_by(&self, by: i64) -> Sql {
        let least = i64::MIN.saturating_sub(by.min(0));
        let greatest = i64::MAX.saturating_sub(by.max(0));
        Sql {
            text: format!("{} IS 'integer' AND {} BETWEEN ? AND ?", self.kind(), self.value()),
            params: vec![least.into(), greatest.into()],
        }
    }
}
