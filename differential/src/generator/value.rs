//! Values: few of them, so that they meet; and those at which arithmetic, comparison and storage turn.

use super::Generator;

/// What a column mostly holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// INTEGER PRIMARY KEY: greater than zero, below the greatest rowid, after which SQLite draws by chance.
    Rowid,
    /// Integers.
    Integer,
    /// Floats.
    Real,
    /// Text.
    Text,
    /// Bytes.
    Blob,
    /// Anything.
    Any,
}

impl Generator {
    /// A literal that a column of this class would hold, mostly.
    pub(super) fn literal(&mut self, class: Class) -> String {
        if class == Class::Rowid {
            return if self.chance(95) {
                self.key()
            } else {
                self.pick(&["NULL", "'7'", "8.0", "'x'"]).into()
            };
        }
        if self.chance(9) {
            return "NULL".into();
        }
        let class = if self.chance(12) { Class::Any } else { class };
        match class {
            Class::Rowid => self.key(),
            Class::Integer => self.integer(),
            Class::Real => self.real(),
            Class::Text => self.text(),
            Class::Blob => self.blob(),
            Class::Any => match self.below(5) {
                0 => self.real(),
                1 | 2 => self.text(),
                3 => self.blob(),
                _ => self.integer(),
            },
        }
    }

    fn key(&mut self) -> String {
        (1 + self.below(30)).to_string()
    }

    fn integer(&mut self) -> String {
        match self.below(24) {
            0 => "-1".into(),
            1 => "9223372036854775807".into(),
            2 => "-9223372036854775808".into(),
            3 => self.pick(&["9007199254740993", "9223372036854775806", "4611686018427387904"]).into(),
            4 => "1000000".into(),
            _ => self.below(7).to_string(),
        }
    }

    fn real(&mut self) -> String {
        match self.below(16) {
            0 => "-0.0".into(),
            1 => {
                self.pick(&["1e300", "9223372036854775808.0", "9007199254740992.0", "1e-300", "-1e18"]).into()
            }
            2..6 => format!("{}.0", self.below(5)),
            _ => format!("{}.{}", self.below(5), self.pick(&["5", "25", "75"])),
        }
    }

    fn text(&mut self) -> String {
        let text = match self.below(4) {
            0 => self.pick(&["a", "A", "b", "B", "a ", "A  ", "ab", "aB", "b%", "_"]),
            1 => self.pick(&["1", "1.0", " 1", "1e0", "01", "0x1", "2", "-3", "1x"]),
            2 => self.pick(&[
                "",
                "äÖ",
                "Äö",
                "it''s",
                "x\ty",
                "long text of some words",
                "9223372036854775808",
            ]),
            _ => self.pick(&["a", "b", "c", "A", "B", "C"]),
        };
        format!("'{text}'")
    }

    fn blob(&mut self) -> String {
        format!("x'{}'", self.pick(&["", "00", "61", "41", "0000", "ff", "3132"]))
    }
}
