//! The functions that partitions may evaluate, as data. What is not here is evaluated at the coordinator.

use sqlite::fixed_moment::FIXED_MOMENT;

use crate::ast::{self, Expr, Literal};

/// A function of values. All of these depend on their arguments alone and mean the same on every machine.
struct Scalar {
    name: &'static str,
    /// Whether some arguments make it an error.
    may_fail: bool,
    /// Whether only what is not JSON makes it an error.
    of_json: bool,
}

const fn total(name: &'static str) -> Scalar {
    Scalar { name, may_fail: false, of_json: false }
}

const fn partial(name: &'static str) -> Scalar {
    Scalar { name, may_fail: true, of_json: false }
}

const fn of_json(name: &'static str) -> Scalar {
    Scalar { name, may_fail: true, of_json: true }
}

/// Transcendental functions are left out: their last bit is the C library's. Functions of time are left out,
/// since a value may say `now`; see [`is_of_known_time`] and [`fixed_moment`].
const SCALARS: [Scalar; 50] = [
    total("_fields"),
    partial("_fixed_moment"),
    partial("abs"),
    total("ceil"),
    total("ceiling"),
    total("char"),
    total("coalesce"),
    partial("concat"),
    partial("concat_ws"),
    total("degrees"),
    total("floor"),
    partial("format"),
    partial("glob"),
    total("hex"),
    total("ifnull"),
    total("iif"),
    total("instr"),
    of_json("json"),
    of_json("json_array_length"),
    of_json("json_extract"),
    of_json("json_type"),
    total("json_valid"),
    of_json("jsonb_extract"),
    total("length"),
    partial("like"),
    total("lower"),
    total("ltrim"),
    total("max"),
    total("min"),
    total("mod"),
    total("nullif"),
    total("octet_length"),
    total("pi"),
    partial("printf"),
    partial("quote"),
    total("radians"),
    partial("replace"),
    total("round"),
    total("rtrim"),
    total("sign"),
    total("sqrt"),
    total("substr"),
    total("substring"),
    total("trim"),
    total("trunc"),
    total("typeof"),
    total("unhex"),
    total("unicode"),
    total("upper"),
    partial("zeroblob"),
];

/// Functions of time, and how many of their arguments come before the moment.
const OF_TIME: [(&str, usize); 6] =
    [("date", 0), ("datetime", 0), ("julianday", 0), ("strftime", 1), ("time", 0), ("unixepoch", 0)];

/// Words by which a moment depends on the clock, or on where the machine is.
const HERE_AND_NOW: [&str; 4] = ["local", "now", "subsec", "utc"];

/// Whether it is a function of a moment that the text spells out, so that it means the same on every machine and at
/// any time, and never fails.
pub(crate) fn is_of_known_time(name: &str, arguments: &[Box<Expr>]) -> bool {
    of_time(name).is_some_and(|before| arguments.len() > before)
        && arguments.iter().all(|argument| is_fixed(argument))
}

/// Whether it is a function of a moment that does not depend on the clock, see [`fixed_moment`].
pub(crate) fn is_of_fixed_moment(name: &str, arguments: &[Box<Expr>]) -> bool {
    of_time(name).is_some_and(|place| {
        arguments.len() > place
            && arguments
                .iter()
                .enumerate()
                .all(|(index, argument)| is_fixed(argument) || index == place && is_fixed_moment(argument))
    })
}

/// Whether it is a moment for which the clock does not count.
pub(crate) fn is_fixed_moment(expression: &Expr) -> bool {
    matches!(expression, Expr::FunctionCall { name, .. } if name.as_str() == FIXED_MOMENT)
}

/// A call of a function of time over a moment that the rows tell, so that it fails where the clock would decide; `None`
/// if it is something else.
pub(crate) fn fixed_moment(call: &Expr) -> Option<Expr> {
    let Expr::FunctionCall { name, args, .. } = call else { return None };
    let place = of_time(name.as_str()).filter(|place| args.len() > *place)?;
    let others = args.iter().enumerate().filter(|(index, _)| *index != place);
    if is_fixed(&args[place]) || !others.into_iter().all(|(_, argument)| is_fixed(argument)) {
        return None;
    }
    let mut call = call.clone();
    if let Expr::FunctionCall { args, .. } = &mut call {
        let guarded = ast::call(FIXED_MOMENT, vec![(*args[place]).clone()]);
        *args[place] = guarded;
    }
    Some(call)
}

/// How many arguments of a function of time come before the moment.
fn of_time(name: &str) -> Option<usize> {
    let known = OF_TIME.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, before)| *before)
}

/// Whether it is spelled out and depends neither on the clock nor on the machine.
fn is_fixed(argument: &Expr) -> bool {
    match argument {
        Expr::Literal(Literal::Numeric(_)) => true,
        Expr::Literal(Literal::String(text)) => {
            let text = text.to_ascii_lowercase();
            !HERE_AND_NOW.iter().any(|word| text.contains(word))
        }
        _ => false,
    }
}

fn scalar(name: &str) -> Option<&'static Scalar> {
    SCALARS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// Whether it computes a value from its arguments alone. An error ends the statement wherever it is evaluated.
pub(crate) fn is_scalar(name: &str, arguments: usize) -> bool {
    scalar(name).is_some() && Aggregate::of(name, arguments).is_none()
}

/// Whether it may be evaluated on rows that the client's text may never get to. `is_json` says that its
/// arguments are known to be JSON.
pub(crate) fn never_fails(name: &str, is_json: bool) -> bool {
    scalar(name).is_some_and(|known| !known.may_fail || (is_json && known.of_json))
}

/// A function of groups of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Sum,
    Total,
    Average,
    Min,
    Max,
    /// Its result tells in which order it met the rows.
    Sequence,
}

impl Aggregate {
    /// The aggregate that a function of so many arguments is.
    pub(crate) fn of(name: &str, arguments: usize) -> Option<Aggregate> {
        let found = match (name.to_ascii_lowercase().as_str(), arguments) {
            ("count", 0 | 1) => Aggregate::Count,
            ("sum", 1) => Aggregate::Sum,
            ("total", 1) => Aggregate::Total,
            ("avg", 1) => Aggregate::Average,
            ("min", 1) => Aggregate::Min,
            ("max", 1) => Aggregate::Max,
            ("group_concat", 1 | 2)
            | ("string_agg" | "json_group_object" | "jsonb_group_object", 2)
            | ("json_group_array" | "jsonb_group_array", 1) => Aggregate::Sequence,
            _ => return None,
        };
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast;

    #[test]
    fn functions_are_known_in_any_letter_case_and_sorted() {
        assert!(is_scalar("UPPER", 1) && never_fails("Upper", false));
        assert!(is_scalar("abs", 1) && !never_fails("abs", false));
        assert!(!never_fails("json_extract", false) && never_fails("json_extract", true));
        assert!(!is_scalar("random", 0) && !is_scalar("sin", 1) && !is_scalar("date", 1));
        assert!(SCALARS.is_sorted_by(|left, right| left.name < right.name));
    }

    #[test]
    fn a_moment_that_is_spelled_out_is_the_same_everywhere() {
        let is_known = |sql: &str| match ast::parse(&format!("SELECT {sql}")) {
            Some(ast::Cmd::Stmt(ast::Stmt::Select(select))) => match select.body.select {
                ast::OneSelect::Select { columns, .. } => match columns.as_slice() {
                    [ast::ResultColumn::Expr(call, _)] => match &**call {
                        Expr::FunctionCall { name, args, .. } => is_of_known_time(name.as_str(), args),
                        _ => false,
                    },
                    _ => false,
                },
                ast::OneSelect::Values(_) => false,
            },
            _ => false,
        };
        for known in
            ["date('1998-12-01', '-90 days')", "STRFTIME('%Y', 2460370.5)", "unixepoch('2024-01-01')"]
        {
            assert!(is_known(known), "{known}");
        }
        for unknown in [
            "date()",
            "date(' NOW ')",
            "date('2024-01-01', 'localtime')",
            "datetime('2024-01-01', 'utc')",
            "strftime('%Y')",
            "time('subsec')",
            "date(?)",
            "date(a)",
            "timediff('2024-01-01', '2023-01-01')",
        ] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn min_of_two_is_no_aggregate() {
        assert_eq!(Aggregate::of("MIN", 1), Some(Aggregate::Min));
        assert_eq!(Aggregate::of("min", 2), None);
        assert!(is_scalar("min", 2) && !is_scalar("min", 1));
    }
}
