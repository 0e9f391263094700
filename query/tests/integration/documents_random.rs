//! Random documents, changes and filters against a small evaluator written from the interface's description.

use std::cmp::Ordering;

use crate::support::{Cluster, moment};
use query::documents::{self, Precondition};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value as Json, json};

/// Seeds that run always; more with `POLYLITE_SEEDS=<count>`.
const SEEDS: u64 = 6;

type Fields = Map<String, Json>;

/// The documents in the order of making, without the store's own fields but `_id`.
#[derive(Default)]
struct Model {
    documents: Vec<Fields>,
}

impl Model {
    fn find(&self, filter: &Fields) -> Vec<Json> {
        self.documents.iter().filter(|document| holds(document, filter)).cloned().map(Json::Object).collect()
    }

    fn of_id(&mut self, id: &Json) -> Option<&mut Fields> {
        self.documents.iter_mut().find(|document| document["_id"] == *id)
    }
}

fn holds(document: &Fields, filter: &Fields) -> bool {
    let parts = |parts: &Json| -> Vec<Fields> {
        parts.as_array().unwrap().iter().map(|part| part.as_object().unwrap().clone()).collect()
    };
    filter.iter().all(|(field, wanted)| match field.as_str() {
        "$and" => parts(wanted).iter().all(|part| holds(document, part)),
        "$or" => parts(wanted).iter().any(|part| holds(document, part)),
        _ => {
            let found =
                field.split('.').try_fold(&Json::Object(document.clone()), |at, name| at.get(name)).cloned();
            match wanted.as_object().filter(|object| object.keys().any(|key| key.starts_with('$'))) {
                Some(operators) => {
                    operators.iter().all(|(operator, operand)| test(found.as_ref(), operator, operand))
                }
                None => test(found.as_ref(), "$eq", wanted),
            }
        }
    })
}

fn test(found: Option<&Json>, operator: &str, operand: &Json) -> bool {
    let order = found.and_then(|found| compare(found, operand));
    match operator {
        "$eq" if operand.is_null() => found.is_none_or(Json::is_null),
        "$eq" if operand.is_number() || operand.is_string() => order == Some(Ordering::Equal),
        "$eq" => found == Some(operand),
        "$ne" => !test(found, "$eq", operand),
        "$gt" => order == Some(Ordering::Greater),
        "$gte" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        "$lt" => order == Some(Ordering::Less),
        "$lte" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "$in" => operand.as_array().unwrap().iter().any(|one| test(found, "$eq", one)),
        "$nin" => !test(found, "$in", operand),
        "$exists" => found.is_some() == operand.as_bool().unwrap(),
        other => panic!("{other}"),
    }
}

/// Numbers by their exact values, texts by their bytes; other pairs have no order.
fn compare(left: &Json, right: &Json) -> Option<Ordering> {
    match (left, right) {
        (Json::String(left), Json::String(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Json::Number(left), Json::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            (Some(left), None) => integer_with_real(left, right.as_f64()?),
            (None, Some(right)) => integer_with_real(right, left.as_f64()?).map(Ordering::reverse),
            (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturating is as good for a comparison")]
fn integer_with_real(integer: i64, real: f64) -> Option<Ordering> {
    let whole = i128::from(integer).cmp(&(real.floor() as i128));
    Some(if whole == Ordering::Equal && real.fract() != 0.0 { Ordering::Less } else { whole })
}

/// RFC 7396.
fn merge(target: &mut Fields, patch: &Fields) {
    for (name, value) in patch {
        match value {
            Json::Null => drop(target.shift_remove(name)),
            Json::Object(inner) => {
                let slot = target.entry(name.clone()).or_insert(Json::Null);
                if !slot.is_object() {
                    *slot = Json::Object(Map::new());
                }
                merge(slot.as_object_mut().unwrap(), inner);
            }
            other => drop(target.insert(name.clone(), other.clone())),
        }
    }
}

struct Generator(SmallRng);

impl Generator {
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    fn pick(&mut self, choices: &[Json]) -> Json {
        choices[self.below(choices.len())].clone()
    }

    fn id(&mut self) -> Json {
        self.pick(&[
            json!(42),
            json!("42"),
            json!(""),
            json!("äö✓"),
            json!("a/b c?"),
            json!("\"q\""),
            json!(-7),
            json!("-7"),
            json!(i64::MAX),
            json!(i64::MIN),
            json!("9223372036854775808"),
            json!(" 1"),
            json!(1),
            json!("1.0"),
            json!("null"),
            json!("'; --"),
        ])
    }

    fn scalar(&mut self) -> Json {
        self.pick(&[
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(1.0),
            json!(1.5),
            json!(-3),
            json!(7),
            json!("1"),
            json!("a"),
            json!("A"),
            json!(""),
            json!("ä"),
            json!("null"),
            json!("quote'\"\\"),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_992.0),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(9.3e18),
            json!(1e300),
            json!("line\nbreak"),
        ])
    }

    fn value(&mut self) -> Json {
        match self.below(8) {
            0 => json!({"c": self.scalar()}),
            1 => json!([self.scalar(), self.scalar()]),
            _ => self.scalar(),
        }
    }

    fn fields(&mut self) -> Fields {
        let mut fields = Map::new();
        for name in ["a", "b", "ü x", "c"] {
            if self.below(3) > 0 {
                fields.insert(name.into(), self.value());
            }
        }
        fields
    }

    fn filter(&mut self, depth: usize) -> Fields {
        let field = ["a", "b", "b.c", "ü x", "c", "gone"][self.below(6)];
        let (value, scalar) = (self.value(), self.scalar());
        let comparable = if scalar.is_number() || scalar.is_string() { scalar.clone() } else { json!(1) };
        let Json::Object(filter) = (match self.below(if depth > 2 { 8 } else { 10 }) {
            0 => json!({field: value}),
            1 => json!({field: {"$ne": scalar}}),
            2 => json!({field: {"$gt": comparable}}),
            3 => json!({field: {"$lte": comparable}}),
            4 => json!({field: {"$gte": -3, "$lt": 8}}),
            5 => json!({field: {"$in": [scalar, self.scalar()]}}),
            6 => json!({field: {"$nin": [scalar, self.scalar()]}}),
            7 => json!({field: {"$exists": self.below(2) == 0}}),
            8 => json!({"$or": [self.filter(depth + 1), self.filter(depth + 1)]}),
            _ => json!({"$and": [self.filter(depth + 1), self.filter(depth + 1)]}),
        }) else {
            unreachable!()
        };
        filter
    }
}

/// An id as a path says it.
fn path(id: &Json) -> String {
    match id {
        Json::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    }
}

fn own_fields(document: Json) -> Json {
    let Json::Object(mut document) = document else { panic!() };
    for name in ["_version", "_created_at", "_updated_at"] {
        assert!(document.shift_remove(name).is_some());
    }
    Json::Object(document)
}

async fn found(cluster: &Cluster, filter: &Fields) -> Vec<Json> {
    let request = json!({"filter": filter});
    let found = documents::find(&cluster.planner(), cluster, "c", &request).await;
    let found = found.unwrap_or_else(|error| panic!("{request}: {error:?}"));
    assert_eq!(
        documents::count(&cluster.planner(), cluster, "c", &request).await.unwrap(),
        found.len() as u64
    );
    found.into_iter().map(own_fields).collect()
}

async fn change(cluster: &Cluster, model: &mut Model, generator: &mut Generator, step: u64) {
    let (planner, now) = (cluster.planner(), moment(step));
    let (id, mut fields) = (generator.id(), generator.fields());
    let path = path(&id);
    match generator.below(8) {
        0 | 1 => {
            let with_id = std::iter::once(("_id".to_owned(), id.clone())).chain(fields).collect::<Fields>();
            let made =
                documents::insert(&planner, cluster, "c", vec![Json::Object(with_id.clone())], now).await;
            assert_eq!(made.is_ok(), model.of_id(&id).is_none(), "{id}: {made:?}");
            if made.is_ok() {
                model.documents.push(with_id);
            }
        }
        2 => {
            let document = Json::Object(fields.clone());
            let put = documents::put(&planner, cluster, "c", &path, document, Precondition::None, now);
            let (put, created) = put.await.unwrap();
            fields.shift_insert(0, "_id".into(), id.clone());
            assert_eq!(own_fields(put.json), Json::Object(fields.clone()));
            assert_eq!(created, model.of_id(&id).is_none());
            match model.of_id(&id) {
                Some(known) => *known = fields,
                None => model.documents.push(fields),
            }
        }
        3 | 4 => {
            let patch = Json::Object(fields.clone());
            let patched = documents::patch(&planner, cluster, "c", &path, patch, Precondition::None, now);
            let patched = patched.await;
            match model.of_id(&id) {
                Some(known) => {
                    merge(known, &fields);
                    assert_eq!(own_fields(patched.unwrap().json), Json::Object(known.clone()));
                }
                None => assert!(patched.is_err()),
            }
        }
        5 => {
            let filter = generator.filter(0);
            let value = generator.value();
            let request = json!({"filter": filter, "update": {"$set": {"a": value, "c": 1}}});
            let done = documents::update(&planner, cluster, "c", &request, now).await.unwrap();
            let matching = model.documents.iter_mut().filter(|document| holds(document, &filter));
            let mut matched = 0;
            for document in matching {
                document.insert("a".into(), value.clone());
                document.insert("c".into(), json!(1));
                matched += 1;
            }
            assert_eq!(done.matched, matched, "{request}");
        }
        6 => {
            let deleted = documents::delete(&planner, cluster, "c", &path, Precondition::None).await;
            assert_eq!(deleted.is_ok(), model.of_id(&id).is_some());
            model.documents.retain(|document| document["_id"] != id);
        }
        _ => {
            let got = documents::get(&planner, cluster, "c", &path).await;
            match model.of_id(&id) {
                Some(known) => assert_eq!(own_fields(got.unwrap().json), Json::Object(known.clone())),
                None => assert!(got.is_err()),
            }
        }
    }
}

#[tokio::test]
async fn documents_are_found_as_described() {
    let seeds = std::env::var("POLYLITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let cluster = Cluster::hashed(1 + u32::try_from(seed % 4).unwrap(), None);
        let mut generator = Generator(SmallRng::seed_from_u64(seed));
        documents::insert(&cluster.planner(), &cluster, "c", Vec::new(), moment(0)).await.unwrap();
        let mut model = Model::default();
        for step in 0..120 {
            change(&cluster, &mut model, &mut generator, step).await;
            assert_eq!(
                found(&cluster, &Map::new()).await,
                model.find(&Map::new()),
                "seed {seed}, step {step}"
            );
            let filter = generator.filter(0);
            assert_eq!(
                found(&cluster, &filter).await,
                model.find(&filter),
                "seed {seed}, step {step}: {}",
                Json::Object(filter)
            );
        }
    }
}
