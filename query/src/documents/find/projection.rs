//! Which fields of a document are answered, of `find` and of the stage `$project`
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/project/>).

use common::Result;
use serde_json::{Map, Value as Json};

use crate::documents::attributes::Touched;
use crate::documents::expression::{Expression, Scope, parse_slice};
use crate::documents::filter::Filter;
use crate::documents::filter::parse::{is_operators, object as parse_filter};
use crate::documents::filter::path::FieldPath;
use crate::documents::place::Place;
use crate::documents::value::{Fields, as_object, extended};

/// Fields to keep or to leave out, and fields to be computed.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    root: Node,
    /// Whether only what is named is answered.
    keeps: bool,
    /// The array of which the element is answered because of which the filter holds (`"a.$"`).
    positional: Option<Vec<String>>,
}

/// What becomes of a field.
#[derive(Clone, Debug)]
enum Node {
    Keep,
    Drop,
    Compute(Expression),
    /// Some elements of an array: from where, and how many.
    Slice(Option<i64>, i64),
    /// The first element that is an object for which the filter holds.
    Element(Filter),
    Fields(Vec<(String, Node)>),
}

impl Node {
    fn touch(&self, touched: &mut Touched) {
        match self {
            Node::Compute(expression) => touched.expression(expression),
            Node::Fields(nodes) => nodes.iter().for_each(|(_, node)| node.touch(touched)),
            Node::Keep | Node::Drop | Node::Slice(..) | Node::Element(_) => {}
        }
    }
}

/// Whose projection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Find,
    Stage,
}

impl Projection {
    /// Reads `{"a":1,"b.c":1}` or `{"a":0}`, or a list of names to keep; `_id` may be said apart. `None` if
    /// everything is answered.
    pub(crate) fn parse(json: Option<&Json>, of: Of, place: &Place<'_>) -> Result<Option<Projection>> {
        let named;
        let fields = match json {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::Object(fields)) => fields,
            Some(Json::Array(names)) if of == Of::Find => {
                let names =
                    names.iter().map(|name| name.as_str().map(|name| (name.to_owned(), Json::from(1))));
                named = names.collect::<Option<Fields>>().ok_or_else(|| wrong(place))?;
                &named
            }
            Some(_) => return Err(wrong(place)),
        };
        if fields.is_empty() {
            return if of == Of::Find {
                Ok(None)
            } else {
                Err(place.wrong("$project needs at least one field"))
            };
        }
        let mut reader = Reader { of, root: Vec::new(), keeps: None, id: None, positional: None };
        reader.fields(fields, &[], place)?;
        let keeps = reader.keeps.unwrap_or(reader.id == Some(true));
        let mut root = reader.root;
        match reader.id {
            Some(true) if keeps => root.insert(0, ("_id".to_owned(), Node::Keep)),
            Some(false) if !keeps => root.push(("_id".to_owned(), Node::Drop)),
            None if keeps && !root.iter().any(|(name, _)| name == "_id") => {
                root.insert(0, ("_id".to_owned(), Node::Keep));
            }
            _ => {}
        }
        Ok(Some(Projection { root: Node::Fields(root), keeps, positional: reader.positional }))
    }

    /// Whether only what is named is answered.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
    }

    /// What it looks at beside the documents that pass.
    pub(crate) fn touch(&self, touched: &mut Touched) {
        if let Node::Fields(nodes) = &self.root {
            for (name, node) in nodes {
                touched.name(name);
                node.touch(touched);
            }
        }
    }

    /// The array of which only the element is wanted that the filter found.
    pub(crate) fn positional(&self) -> Option<&[String]> {
        self.positional.as_deref()
    }

    /// Expressions that are added to documents, of `$addFields`.
    pub(crate) fn additions(fields: &Fields, place: &Place<'_>) -> Result<Projection> {
        let mut root = Vec::new();
        for (name, value) in fields {
            let place = place.field(name);
            let path = FieldPath::parse(name, &place)?;
            add_computed(&mut root, &path.names, value, &place)?;
        }
        Ok(Projection { root: Node::Fields(root), keeps: false, positional: None })
    }

    /// Fields that are left out, of `$unset`.
    pub(crate) fn removals(names: &[&str], place: &Place<'_>) -> Result<Projection> {
        let mut root = Vec::new();
        for name in names {
            insert(&mut root, &FieldPath::parse(name, place)?.names, Node::Drop, place)?;
        }
        Ok(Projection { root: Node::Fields(root), keeps: false, positional: None })
    }

    /// The document with the fields that are wanted.
    pub(crate) fn apply(&self, document: &Fields, scope: &Scope<'_>) -> Result<Fields> {
        match &self.root {
            Node::Fields(nodes) => fields_of(document, nodes, self.keeps, scope),
            _ => Ok(document.clone()),
        }
    }
}

fn wrong(place: &Place<'_>) -> common::Error {
    place.wrong("a projection is an object of fields")
}

fn add_computed(
    nodes: &mut Vec<(String, Node)>,
    names: &[String],
    value: &Json,
    place: &Place<'_>,
) -> Result<()> {
    match value {
        Json::Object(fields)
            if is_operators(value).is_none() && !extended::is_value(fields) && !fields.is_empty() =>
        {
            for (name, value) in fields {
                let place = place.field(name);
                let inner = FieldPath::parse(name, &place)?.names;
                add_computed(nodes, &[names, &inner].concat(), value, &place)?;
            }
            Ok(())
        }
        value => insert(nodes, names, Node::Compute(Expression::parse(value, place)?), place),
    }
}

struct Reader {
    of: Of,
    root: Vec<(String, Node)>,
    keeps: Option<bool>,
    id: Option<bool>,
    positional: Option<Vec<String>>,
}

impl Reader {
    fn fields(&mut self, fields: &Fields, within: &[String], place: &Place<'_>) -> Result<()> {
        place.check_depth()?;
        for (name, value) in fields {
            let place = place.field(name);
            if let (Of::Find, Some(array)) = (self.of, name.strip_suffix(".$")) {
                let path = [within, &FieldPath::parse(array, &place)?.names].concat();
                if self.positional.replace(path.clone()).is_some() {
                    return Err(place.wrong("a projection has one position only"));
                }
                self.direction(true, &place)?;
                insert(&mut self.root, &path, Node::Keep, &place)?;
                continue;
            }
            let path = [within, &FieldPath::parse(name, &place)?.names].concat();
            self.field(&path, value, &place)?;
        }
        Ok(())
    }

    fn field(&mut self, path: &[String], value: &Json, place: &Place<'_>) -> Result<()> {
        let flag = match value {
            Json::Bool(flag) => Some(*flag),
            Json::Number(number) => Some(number.as_f64() != Some(0.0)),
            _ => None,
        };
        if let Some(flag) = flag {
            if path == ["_id"] {
                self.id = Some(flag);
                return Ok(());
            }
            self.direction(flag, place)?;
            return insert(&mut self.root, path, if flag { Node::Keep } else { Node::Drop }, place);
        }
        if let (Of::Find, Some(operators)) = (self.of, is_operators(value)) {
            if let Some(slice) = operators.get("$slice").filter(|_| operators.len() == 1)
                && let Some((from, count)) = parse_slice(slice)
            {
                return insert(&mut self.root, path, Node::Slice(from, count), place);
            }
            if let Some(inner) = operators.get("$elemMatch").filter(|_| operators.len() == 1) {
                let place = place.field("$elemMatch");
                let Json::Object(inner) = inner else {
                    return Err(place.wrong("$elemMatch needs an object"));
                };
                self.direction(true, &place)?;
                return insert(&mut self.root, path, Node::Element(parse_filter(inner, &place)?), &place);
            }
        }
        match value {
            Json::Object(fields)
                if is_operators(value).is_none() && !extended::is_value(fields) && !fields.is_empty() =>
            {
                self.fields(fields, path, place)
            }
            value => {
                self.direction(true, place)?;
                insert(&mut self.root, path, Node::Compute(Expression::parse(value, place)?), place)
            }
        }
    }

    fn direction(&mut self, keeps: bool, place: &Place<'_>) -> Result<()> {
        match self.keeps.replace(keeps) {
            Some(other) if other != keeps => {
                Err(place.wrong("a projection either keeps fields or leaves them out"))
            }
            _ => Ok(()),
        }
    }
}

fn insert(nodes: &mut Vec<(String, Node)>, names: &[String], node: Node, place: &Place<'_>) -> Result<()> {
    let Some((first, rest)) = names.split_first() else { return Err(wrong(place)) };
    let found = nodes.iter_mut().find(|(name, _)| name == first);
    match (found, rest.is_empty()) {
        (None, true) => nodes.push((first.clone(), node)),
        (None, false) => {
            let mut inner = Vec::new();
            insert(&mut inner, rest, node, place)?;
            nodes.push((first.clone(), Node::Fields(inner)));
        }
        (Some((_, Node::Fields(inner))), false) => insert(inner, rest, node, place)?,
        (Some(_), _) => return Err(place.wrong(format!("'{first}' is said twice"))),
    }
    Ok(())
}

fn fields_of(fields: &Fields, nodes: &[(String, Node)], keeps: bool, scope: &Scope<'_>) -> Result<Fields> {
    let mut result = Map::with_capacity(fields.len());
    for (name, value) in fields {
        let node = nodes.iter().find(|(named, _)| named == name).map(|(_, node)| node);
        let kept = match node {
            None => (!keeps).then(|| value.clone()),
            Some(Node::Keep) => Some(value.clone()),
            Some(Node::Drop) => None,
            // An expression's value takes the place of the field.
            Some(Node::Compute(expression)) => expression.evaluate(scope)?,
            Some(Node::Slice(from, count)) => Some(match value {
                Json::Array(items) => Json::Array(crate::documents::expression::sliced(items, *from, *count)),
                other => other.clone(),
            }),
            Some(Node::Element(filter)) => element(value, filter)?,
            Some(Node::Fields(inner)) => within(value, inner, keeps, scope)?,
        };
        if let Some(kept) = kept {
            result.insert(name.clone(), kept);
        }
    }
    for (name, node) in nodes.iter().filter(|(name, _)| !fields.contains_key(name)) {
        if let Some(value) = computed(node, scope)? {
            result.insert(name.clone(), value);
        }
    }
    Ok(result)
}

fn element(value: &Json, filter: &Filter) -> Result<Option<Json>> {
    let Json::Array(items) = value else { return Ok(None) };
    for item in items {
        if let Some(fields) = as_object(item)
            && filter.matches(fields)?
        {
            return Ok(Some(Json::Array(vec![item.clone()])));
        }
    }
    Ok(None)
}

fn has_computed(nodes: &[(String, Node)]) -> bool {
    nodes.iter().any(|(_, node)| match node {
        Node::Compute(_) => true,
        Node::Fields(inner) => has_computed(inner),
        _ => false,
    })
}

/// What a path leads on to: objects, also those in arrays.
fn within(value: &Json, nodes: &[(String, Node)], keeps: bool, scope: &Scope<'_>) -> Result<Option<Json>> {
    match (value, as_object(value)) {
        (_, Some(fields)) => fields_of(fields, nodes, keeps, scope).map(|fields| Some(Json::Object(fields))),
        (Json::Array(items), None) => {
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                kept.extend(within(item, nodes, keeps, scope)?);
            }
            Ok(Some(Json::Array(kept)))
        }
        // What is computed makes an object of a scalar.
        _ if has_computed(nodes) => {
            fields_of(&Map::new(), nodes, keeps, scope).map(|fields| Some(Json::Object(fields)))
        }
        (scalar, None) => Ok((!keeps).then(|| scalar.clone())),
    }
}

/// What a field that is not there becomes.
fn computed(node: &Node, scope: &Scope<'_>) -> Result<Option<Json>> {
    match node {
        Node::Compute(expression) => expression.evaluate(scope),
        Node::Fields(inner) if has_computed(inner) => {
            fields_of(&Map::new(), inner, true, scope).map(|fields| Some(Json::Object(fields)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn projected(projection: Json) -> Json {
        let Json::Object(document) =
            json!({"_id": 1, "a": {"b": 2, "c": 3}, "d": [{"e": 4, "f": 5}, 6, {"e": 7}]})
        else {
            panic!()
        };
        let place = Place::root("projection");
        let projection = Projection::parse(Some(&projection), Of::Find, &place).unwrap().unwrap();
        Json::Object(projection.apply(&document, &Scope::of_document(&document)).unwrap())
    }

    #[test]
    fn fields_are_kept_or_left_out() {
        assert_eq!(projected(json!({"a.b": 1})), json!({"_id": 1, "a": {"b": 2}}));
        assert_eq!(projected(json!({"a": {"b": 1}})), json!({"_id": 1, "a": {"b": 2}}));
        assert_eq!(projected(json!({"d.e": 1, "_id": 0})), json!({"d": [{"e": 4}, {"e": 7}]}));
        assert_eq!(
            projected(json!({"d.e": 0, "a.b": 0})),
            json!({"_id": 1, "a": {"c": 3}, "d": [{"f": 5}, 6, {}]})
        );
        assert_eq!(projected(json!({"_id": 0, "d": 0})), json!({"a": {"b": 2, "c": 3}}));
        assert_eq!(projected(json!({"_id": 1})), json!({"_id": 1}));
        assert_eq!(projected(json!(["a"])), json!({"_id": 1, "a": {"b": 2, "c": 3}}));
        assert_eq!(projected(json!({"d": {"$slice": -1}, "a": 0})), json!({"_id": 1, "d": [{"e": 7}]}));
        assert_eq!(
            projected(json!({"d": {"$elemMatch": {"e": {"$gt": 4}}}})),
            json!({"_id": 1, "d": [{"e": 7}]})
        );
        assert_eq!(
            projected(json!({"a.b": 1, "n": {"$add": ["$a.b", "$a.c"]}})),
            json!({"_id": 1, "a": {"b": 2}, "n": 5})
        );
        let place = Place::root("projection");
        for bad in [
            json!({"a": 1, "b": 0}),
            json!({"a": 1, "a.b": 1}),
            json!({"a.$": 1, "d.$": 1}),
            json!({"a.$": 1, "d": 0}),
            json!(5),
        ] {
            assert!(Projection::parse(Some(&bad), Of::Find, &place).is_err(), "{bad}");
        }
    }
}
