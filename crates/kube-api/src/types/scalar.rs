//! Values that objects carry as one word: [`IntOrString`], [`Quantity`].

use serde_json::Value;

use super::{Field, Typed};
use crate::schema::Type;

/// A number or a text: the name of a port, a percentage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text.
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}

impl Field for IntOrString {
    fn to_json(&self) -> Option<Value> {
        match self {
            IntOrString::Int(number) => number.to_json(),
            IntOrString::String(text) => text.to_json(),
        }
    }
    fn set(&mut self, value: Value) {
        match value {
            Value::String(text) => *self = IntOrString::String(text),
            value => {
                let mut number = 0;
                number.set(value);
                *self = IntOrString::Int(number);
            }
        }
    }
}

/// A quantity as it was written, `100m`; [`crate::quantity::Quantity`] is what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantity(pub String);

impl Field for Quantity {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
    fn set(&mut self, value: Value) {
        self.0.set(value);
    }
}

impl Typed for IntOrString {
    const TYPE: Type = Type::IntOrString;
}

impl Typed for Quantity {
    const TYPE: Type = Type::Quantity;
}

serde_by_value!(IntOrString);
serde_by_value!(Quantity);
