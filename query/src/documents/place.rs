//! Where in a request something stands, so that an error can point at it, and which variables are known there.

use std::fmt;

use common::{Error, Result};

/// A place in a request's body. It is shown as a JSON pointer (RFC 6901): `/filter/age/$gt`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    within: Option<&'a Place<'a>>,
    step: Step<'a>,
    /// Variables that are known here and further within.
    variables: &'a [String],
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// A field of the body itself.
    pub(crate) const fn root(name: &'a str) -> Place<'a> {
        Place { within: None, step: Step::Name(name), variables: &[] }
    }

    /// A field of the object at this place.
    pub(crate) const fn field(&'a self, name: &'a str) -> Place<'a> {
        Place { within: Some(self), step: Step::Name(name), variables: &[] }
    }

    /// An item of the list at this place.
    pub(crate) const fn item(&'a self, index: usize) -> Place<'a> {
        Place { within: Some(self), step: Step::Index(index), variables: &[] }
    }

    /// This place, where some more variables are known.
    pub(crate) const fn knowing(self, variables: &'a [String]) -> Place<'a> {
        Place { variables, ..self }
    }

    /// Whether a variable is known here.
    pub(crate) fn knows(&self, variable: &str) -> bool {
        self.variables.iter().any(|known| known == variable)
            || self.within.is_some_and(|within| within.knows(variable))
    }

    /// `bad_request` that points here.
    pub(crate) fn wrong(&self, message: impl fmt::Display) -> Error {
        Error::bad_request(format!("{message} (at {self})"))
    }

    /// `not_supported` that points here.
    pub(crate) fn unsupported(&self, what: impl fmt::Display, hint: &str) -> Error {
        Error::not_supported(format!("{what} is not supported (at {self})"), hint)
    }

    fn depth(&self) -> usize {
        1 + self.within.map_or(0, Place::depth)
    }

    /// Refuses what is nested deeper than any reader of it should descend.
    pub(crate) fn check_depth(&self) -> Result<()> {
        if self.depth() > DEPTH_MAX { Err(self.wrong("this is nested too deep")) } else { Ok(()) }
    }
}

/// Deepest place that is read.
const DEPTH_MAX: usize = 210;

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            within.fmt(f)?;
        }
        match self.step {
            Step::Name(name) => {
                let shown: String = name.chars().take(100).collect();
                write!(f, "/{}", shown.replace('~', "~0").replace('/', "~1"))
            }
            Step::Index(index) => write!(f, "/{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_as_a_pointer() {
        let filter = Place::root("filter");
        let (field, operator) = (filter.field("a/b~"), "$in");
        let list = field.field(operator);
        assert_eq!(list.item(3).to_string(), "/filter/a~1b~0/$in/3");
    }
}
