//! Random documents, changes, filters and pipelines against a reference that is written from the documentation, on
//! databases of one and several partitions and column groups.
//!
//! Each run begins with a seed of its own, which it prints; `POLYLITE_DOCUMENT_SEED` begins with that one again.
//! `POLYLITE_DOCUMENT_OPERATIONS=100000` runs as many; each seed has 200.

use crate::document_reference::updates::{distinct, updated};
use crate::document_reference::{Fields, Model, filters, pipelines};
use crate::support::{Cluster, MIXED, VERTICAL, listed, moment, parsed};
use query::documents::{self, Precondition};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value as Json, json};

/// Operations that run always.
const OPERATIONS: u64 = 2_400;
/// Operations of one seed, on one database.
const OPERATIONS_PER_SEED: u64 = 200;

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
            json!("[x"),
            json!("{\"$date\":"),
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
            json!({"$date": "2024-01-31T12:00:00.000Z"}),
            json!({"$date": "1969-12-31T23:59:59.999Z"}),
            json!({"$numberDecimal": "1.50"}),
            json!({"$numberDecimal": "-3"}),
        ])
    }

    fn small(&mut self) -> Json {
        self.pick(&[json!(0), json!(1), json!(2), json!(5), json!(-2), json!(0.5), json!(2.25)])
    }

    fn value(&mut self) -> Json {
        match self.below(12) {
            0 => json!({"c": self.scalar()}),
            1 => json!([self.scalar(), self.scalar()]),
            2 => json!([{"c": self.scalar()}, {"c": self.scalar(), "d": 1}, self.scalar()]),
            3 => json!([]),
            4 => json!([[self.scalar()], {"c": [self.scalar(), 1]}]),
            5 => json!({"c": [self.scalar()], "d": self.small()}),
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
        if self.below(4) > 0 {
            fields.insert("n".into(), self.small());
        }
        if self.below(3) > 0 {
            let items = (0..self.below(4)).map(|_| self.small()).collect();
            fields.insert("t".into(), Json::Array(items));
        }
        fields
    }

    fn path(&mut self) -> String {
        let paths = [
            "a", "b", "b.c", "ü x", "c", "gone", "n", "t", "a.0", "b.1.c", "a.c", "b.d", "t.1", "b.c.0",
            "_id",
        ];
        paths[self.below(paths.len())].to_owned()
    }

    fn test(&mut self, depth: usize) -> Json {
        let (value, scalar) = (self.value(), self.scalar());
        match self.below(if depth > 1 { 15 } else { 18 }) {
            0 => value,
            1 => json!({"$ne": scalar}),
            2 => json!({"$gt": scalar}),
            3 => json!({"$lte": scalar}),
            4 => json!({"$gte": -3, "$lt": 8}),
            5 => json!({"$in": [scalar, self.scalar(), self.value()]}),
            6 => json!({"$nin": [scalar, self.scalar()]}),
            7 => json!({"$exists": self.below(2) == 0}),
            8 => json!({"$size": self.below(3)}),
            9 => json!({"$all": [scalar, self.small()]}),
            10 => json!({"$mod": [2, self.below(2)]}),
            11 => json!({"$regex": (["^a", "^", "^n", "^1"][self.below(4)])}),
            12 => {
                json!({"$type": (["number", "string", "bool", "null", "array", "date", "object"][self.below(7)])})
            }
            13 => json!({"$lt": value}),
            14 => json!({"$gte": value}),
            15 => match self.test(depth + 1) {
                Json::Object(inner)
                    if inner.keys().next().is_some_and(|name| name.starts_with('$'))
                        && !inner.contains_key("$date")
                        && !inner.contains_key("$numberDecimal") =>
                {
                    json!({ "$not": inner })
                }
                value => json!({ "$not": { "$eq": value } }),
            },
            16 => json!({"$elemMatch": {"c": self.test(depth + 1)}}),
            _ => json!({"$elemMatch": {"$gte": self.small(), "$ne": self.small()}}),
        }
    }

    fn filter(&mut self, depth: usize) -> Json {
        match self.below(if depth > 2 { 7 } else { 10 }) {
            7 => json!({"$or": [self.filter(depth + 1), self.filter(depth + 1)]}),
            8 => json!({"$and": [self.filter(depth + 1), self.filter(depth + 1)]}),
            9 => json!({"$nor": [self.filter(depth + 1)]}),
            _ => {
                let mut filter = Map::new();
                for _ in 0..=self.below(2) {
                    let path = self.path();
                    // The reference does not know how ids are compared with what is no id.
                    let test =
                        if path == "_id" { json!({"$in": [self.id(), self.id()]}) } else { self.test(0) };
                    filter.insert(path, test);
                }
                Json::Object(filter)
            }
        }
    }

    fn sort(&mut self) -> Json {
        let mut order = Map::new();
        for _ in 0..self.below(3) {
            let direction = if self.below(2) == 0 { 1 } else { -1 };
            order.insert(self.path(), json!(direction));
        }
        Json::Object(order)
    }

    /// A filter that names one id, and may ask for more.
    fn filter_of_one(&mut self) -> Json {
        let mut filter = Map::new();
        filter.insert("_id".into(), self.id());
        if self.below(3) == 0 {
            filter.insert("a".into(), self.test(0));
        }
        Json::Object(filter)
    }

    /// An update with the array filters that it needs.
    fn update(&mut self) -> (Json, Json) {
        let (value, small) = (self.value(), self.small());
        let scalar = self.scalar();
        let update = match self.below(20) {
            0 => json!({"$set": {"a": value, "c": 1}}),
            1 => json!({"$unset": {"b": "", "t.0": ""}}),
            2 => json!({"$inc": {"n": small, "b.d": 1}}),
            3 => json!({"$mul": {"n": small}}),
            4 => json!({"$min": {"a": scalar}, "$max": {"c": small}}),
            5 => json!({"$rename": {"a": "c"}}),
            6 => json!({"$push": {"t": small}}),
            7 => json!({"$push": {"t": {"$each": [small, 3], "$position": self.below(3), "$slice": -3}}}),
            8 => json!({"$push": {"t": {"$each": [small], "$sort": -1, "$slice": 4}}}),
            9 => json!({"$addToSet": {"t": {"$each": [small, 1, 1]}}}),
            10 => json!({"$pull": {"t": {"$gte": 1}, "a": scalar}}),
            11 => json!({"$pullAll": {"t": [small, 1]}}),
            12 => json!({"$pop": {"t": if self.below(2) == 0 { 1 } else { -1 }}}),
            13 => json!({"$set": {"b.c.x": scalar}}),
            14 => json!({"$inc": {"t.$[]": 1}}),
            17 => json!({"$set": {"a": scalar, "c": small}}),
            18 => json!({"$set": {"a": scalar}, "$inc": {"n": small}}),
            19 => json!({"$inc": {"n": 1_000_003, "c": 1}}),
            15 => return (json!({"$set": {"t.$[x]": small}}), json!([{"x": {"$gt": 0}}])),
            _ => json!({"$set": {"t.2": scalar}, "$pull": {"b": {"c": scalar}}}),
        };
        (update, Json::Null)
    }

    fn pipeline(&mut self) -> Vec<Json> {
        let mut pipeline = Vec::new();
        if self.below(2) == 0 {
            pipeline.push(json!({"$match": self.filter(1)}));
        }
        match self.below(6) {
            0 => pipeline.push(json!({"$unwind": "$t"})),
            1 => {
                pipeline.push(json!({"$sort": {"n": -1, "_id": 1}}));
                pipeline.push(json!({"$limit": self.below(5) + 1}));
            }
            2 => pipeline.push(json!({"$project": {"n": 1, "a": 1, "t": 1,
                "more": {"$add": ["$n", 1]}, "is": {"$isArray": "$a"},
                "which": {"$cond": [{"$gt": ["$n", 1]}, "many", "$a"]}, "some": {"$ifNull": ["$a", "none"]}}})),
            3 => pipeline.push(json!({"$skip": self.below(4)})),
            _ => {}
        }
        match self.below(4) {
            0 => pipeline.push(json!({"$count": "all"})),
            1 | 2 => {
                let key = [json!("$a"), json!("$t"), json!("$n"), Json::Null][self.below(4)].clone();
                pipeline.push(json!({"$group": {"_id": key, "count": {"$sum": 1}, "sum": {"$sum": "$n"}, "mean": {"$avg": "$n"},
                    "least": {"$min": "$n"}, "most": {"$max": "$n"}, "list": {"$push": "$n"}, "first": {"$first": "$a"},
                    "last": {"$last": "$n"}, "set": {"$addToSet": "$n"}}}));
                if self.below(2) == 0 {
                    pipeline.push(json!({"$sort": {"count": -1, "_id": 1}}));
                }
            }
            _ => pipeline.push(json!({"$sort": self.nonempty_sort()})),
        }
        pipeline
    }

    fn nonempty_sort(&mut self) -> Json {
        loop {
            let order = self.sort();
            if order.as_object().is_some_and(|order| !order.is_empty()) {
                return order;
            }
        }
    }
}

/// An id as a path says it.
fn path(id: &Json) -> String {
    match id {
        Json::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    }
}

/// Without what the store adds.
fn own(document: Json) -> Json {
    let Json::Object(mut document) = document else { panic!() };
    document.retain(|name, _| !["_version", "_created_at", "_updated_at"].contains(&name.as_str()));
    Json::Object(document)
}

fn owned(documents: Vec<Json>) -> Vec<Json> {
    documents.into_iter().map(own).collect()
}

fn as_json(documents: Vec<Fields>) -> Vec<Json> {
    documents.into_iter().map(Json::Object).collect()
}

async fn found(cluster: &Cluster, request: &Json) -> Vec<Json> {
    let found = documents::find(&cluster.planner(), cluster, "c", request).await;
    owned(listed(&found.unwrap_or_else(|error| panic!("{request}: {error:?}"))))
}

/// RFC 7396.
fn merge(target: &mut Fields, patch: &Fields) {
    let is_value = |value: &Json| value.get("$date").or(value.get("$numberDecimal")).is_some();
    for (name, value) in patch {
        match value {
            Json::Null => drop(target.shift_remove(name)),
            Json::Object(inner) if !is_value(value) => {
                let slot = target.entry(name.clone()).or_insert(Json::Null);
                if !slot.is_object() || is_value(slot) {
                    *slot = Json::Object(Map::new());
                }
                merge(slot.as_object_mut().unwrap(), inner);
            }
            other => drop(target.insert(name.clone(), other.clone())),
        }
    }
}

/// A change of one document by its id.
async fn change_one(cluster: &Cluster, model: &mut Model, generator: &mut Generator, step: u64) {
    let (planner, now) = (cluster.planner(), moment(step));
    let (id, mut fields) = (generator.id(), generator.fields());
    let path = path(&id);
    match generator.below(5) {
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
            assert_eq!(own(parsed(&put)), Json::Object(fields.clone()));
            assert_eq!(created, model.of_id(&id).is_none());
            match model.of_id(&id) {
                Some(known) => *known = fields,
                None => model.documents.push(fields),
            }
        }
        3 => {
            let patch = Json::Object(fields.clone());
            let patched = documents::patch(&planner, cluster, "c", &path, patch, Precondition::None, now);
            let patched = patched.await;
            match model.of_id(&id) {
                Some(known) => {
                    merge(known, &fields);
                    assert_eq!(own(parsed(&patched.unwrap())), Json::Object(known.clone()));
                }
                None => assert!(patched.is_err()),
            }
        }
        _ => {
            let deleted = documents::delete(&planner, cluster, "c", &path, Precondition::None).await;
            assert_eq!(deleted.is_ok(), model.of_id(&id).is_some());
            model.documents.retain(|document| document["_id"] != id);
        }
    }
}

/// A change of the documents that match.
async fn change_many(cluster: &Cluster, model: &mut Model, generator: &mut Generator, step: u64) {
    let (planner, now) = (cluster.planner(), moment(step));
    let filter = if generator.below(3) == 0 { generator.filter_of_one() } else { generator.filter(1) };
    let multi = generator.below(3) > 0;
    let matching: Vec<usize> = (0..model.documents.len())
        .filter(|index| filters::holds(&model.documents[*index], &filter))
        .take(if multi { usize::MAX } else { 1 })
        .collect();
    if generator.below(6) == 0 {
        let request = json!({"filter": filter, "multi": multi});
        let deleted = documents::delete_many(&planner, cluster, "c", &request).await.unwrap();
        assert_eq!(deleted, matching.len() as u64, "{request}");
        for index in matching.into_iter().rev() {
            model.documents.remove(index);
        }
        return;
    }
    let (filter, update, array_filters) = match generator.below(8) {
        // `$` needs a condition on the array.
        0 => {
            let filter = json!({"t": generator.small()});
            (filter, json!({"$set": {"t.$": "hit"}}), Json::Null)
        }
        1 if !multi => (filter, Json::Object(generator.fields()), Json::Null),
        _ => {
            let (update, array_filters) = generator.update();
            (filter, update, array_filters)
        }
    };
    if update.as_object().is_some_and(Map::is_empty) {
        return;
    }
    let matching: Vec<usize> = (0..model.documents.len())
        .filter(|index| filters::holds(&model.documents[*index], &filter))
        .take(if multi { usize::MAX } else { 1 })
        .collect();
    let request = json!({"filter": filter, "update": update, "multi": multi, "arrayFilters": array_filters});
    let done = documents::update(&planner, cluster, "c", &request, now).await;
    let change = |index: &usize| {
        let known = &model.documents[*index];
        updated(known, &filter, &update, &array_filters)
    };
    let changed: Option<Vec<Fields>> = matching.iter().map(change).collect();
    match changed {
        None => assert!(done.is_err(), "{request}: {done:?}"),
        Some(changed) => {
            let done = done.unwrap_or_else(|error| panic!("{request}: {error:?}"));
            assert_eq!(done.matched, matching.len() as u64, "{request}");
            let text = |fields: &Fields| serde_json::to_string(fields).unwrap();
            let differs =
                |(index, changed): &(&usize, &Fields)| text(&model.documents[**index]) != text(changed);
            let modified = matching.iter().zip(&changed).filter(differs).count();
            assert_eq!(done.modified, modified as u64, "{request}");
            for (index, changed) in matching.into_iter().zip(changed) {
                model.documents[index] = changed;
            }
        }
    }
}

/// One question, asked of both.
async fn ask(cluster: &Cluster, model: &Model, generator: &mut Generator) {
    let planner = cluster.planner();
    let (filter, sort) = (generator.filter(0), generator.sort());
    match generator.below(4) {
        0 | 1 => {
            let (skip, limit) = (generator.below(3), generator.below(6));
            let request = json!({"filter": filter, "sort": sort, "skip": skip, "limit": limit});
            let wanted = as_json(model.find(&filter, &sort, skip, limit));
            assert_eq!(found(cluster, &request).await, wanted, "{request}");
            let request = json!({"filter": filter});
            let count = documents::count(&planner, cluster, "c", &request).await.unwrap();
            assert_eq!(count, model.find(&filter, &json!({}), 0, 0).len() as u64, "{request}");
        }
        2 => {
            let field = generator.path();
            if field.split('.').any(|name| name.parse::<usize>().is_ok()) {
                return;
            }
            let request = json!({"field": field, "filter": filter});
            let values = documents::distinct(&planner, cluster, "c", &request).await.unwrap();
            let wanted = distinct(&model.find(&filter, &json!({}), 0, 0), &field);
            assert_eq!(values, wanted, "{request}");
        }
        _ => {
            let pipeline = generator.pipeline();
            let request = json!({"pipeline": pipeline});
            let made = documents::aggregate(&planner, cluster, "c", &request, moment(0)).await;
            let made = made.unwrap_or_else(|error| panic!("{request}: {error:?}"));
            let made = owned(listed(&made));
            assert_eq!(made, as_json(pipelines::run(model.documents.clone(), &pipeline)), "{request}");
        }
    }
}

fn cluster(seed: u64) -> Cluster {
    match seed % 6 {
        0 => Cluster::hashed(1, None),
        1 => Cluster::layout(VERTICAL, None),
        2 => Cluster::layout(MIXED, None),
        more => Cluster::hashed(u32::try_from(more).unwrap() - 1, None),
    }
}

#[tokio::test]
async fn documents_are_what_the_reference_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let operations = number("POLYLITE_DOCUMENT_OPERATIONS").unwrap_or(OPERATIONS);
    let first = number("POLYLITE_DOCUMENT_SEED").unwrap_or_else(|| rand::random_range(0..1_u64 << 40));
    println!("POLYLITE_DOCUMENT_SEED={first}");
    for seed in first..first + operations.div_ceil(OPERATIONS_PER_SEED) {
        let cluster = cluster(seed);
        let mut generator = Generator(SmallRng::seed_from_u64(seed));
        documents::insert(&cluster.planner(), &cluster, "c", Vec::new(), moment(0)).await.unwrap();
        if seed % 2 == 0 {
            index(&cluster).await;
        }
        let mut model = Model::default();
        for step in 0..OPERATIONS_PER_SEED / 2 {
            if std::env::var("POLYLITE_DOCUMENT_TRACE").is_ok() {
                println!("seed {seed}, step {step}");
            }
            match generator.below(2) {
                0 => change_one(&cluster, &mut model, &mut generator, step).await,
                _ => change_many(&cluster, &mut model, &mut generator, step).await,
            }
            assert_eq!(
                found(&cluster, &json!({})).await,
                as_json(model.documents.clone()),
                "seed {seed}, step {step}"
            );
            ask(&cluster, &model, &mut generator).await;
        }
    }
}

/// Indexes change no answer.
async fn index(cluster: &Cluster) {
    for fields in [json!(["a"]), json!(["b.c", "n"])] {
        let name = format!("i_{}", fields[0].as_str().unwrap().replace('.', "_"));
        let request = json!({"name": name, "fields": fields});
        documents::create_index(&cluster.planner(), cluster, "c", &request).await.unwrap();
    }
}
