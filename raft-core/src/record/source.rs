//! Values as Rust source, for recordings that become tests.

use std::collections::BTreeMap;

/// Something that can be written as the expression that makes it.
pub(super) trait Source {
    /// Appends the expression.
    fn source(&self, out: &mut String);
}

/// A number as people write large ones: `1_000_000`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Source for $type {
            fn source(&self, out: &mut String) {
                out.push_str(&number(*self as u64));
            }
        })*
    };
}

plain!(u8, u32, u64, usize);

impl Source for bool {
    fn source(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl<T: Source> Source for Option<T> {
    fn source(&self, out: &mut String) {
        match self {
            None => out.push_str("None"),
            Some(value) => {
                out.push_str("Some(");
                value.source(out);
                out.push(')');
            }
        }
    }
}

impl<A: Source, B: Source> Source for (A, B) {
    fn source(&self, out: &mut String) {
        out.push('(');
        self.0.source(out);
        out.push_str(", ");
        self.1.source(out);
        out.push(')');
    }
}

impl<T: Source> Source for Vec<T> {
    fn source(&self, out: &mut String) {
        out.push_str("vec![");
        for (position, value) in self.iter().enumerate() {
            if position > 0 {
                out.push_str(", ");
            }
            value.source(out);
        }
        out.push(']');
    }
}

impl<K: Source, V: Source> Source for BTreeMap<K, V> {
    fn source(&self, out: &mut String) {
        out.push_str("BTreeMap::from([");
        for (key, value) in self {
            out.push('(');
            key.source(out);
            out.push_str(", ");
            value.source(out);
            out.push_str("), ");
        }
        out.push_str("])");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_readable() {
        let text = [0, 999, 1_000, 12_345_678].map(number);
        assert_eq!(text, ["0", "999", "1_000", "12_345_678"]);
    }
}
