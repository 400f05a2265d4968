//! `$((…))`: whole numbers of 64 bits, as bash computes them.

use brush_parser::arithmetic;
use brush_parser::ast::{
    ArithmeticExpr, ArithmeticTarget, BinaryOperator, UnaryAssignmentOperator, UnaryOperator,
};

/// How far variables may lead to variables.
const DEPTH_MAX: u32 = 32;

/// Where an expression finds and leaves its variables.
pub trait Variables {
    /// The variable's text; empty where there is none.
    fn get(&self, name: &str) -> String;
    /// Gives it a value.
    fn set(&self, name: &str, value: i64);
}

/// Computes an expression in which `$…` is already replaced. An error is in bash's words, without the
/// expression.
pub fn evaluate(text: &str, variables: &dyn Variables) -> Result<i64, String> {
    evaluate_within(text, variables, 0)
}

fn evaluate_within(text: &str, variables: &dyn Variables, depth: u32) -> Result<i64, String> {
    if text.trim().is_empty() {
        return Ok(0);
    }
    if depth > DEPTH_MAX {
        return Err("expression recursion level exceeded".to_string());
    }
    let brackets = text.bytes().filter(|byte| matches!(byte, b'(' | b'!' | b'~' | b'-' | b'+'));
    if brackets.count() > 200 || text.len() > 4096 {
        return Err("expression too long".to_string());
    }
    let has_large = text.split(|c: char| !c.is_alphanumeric()).any(|word| word.len() > 18);
    if has_large && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err("value too great for base".to_string());
    }
    let expression =
        arithmetic::parse(text.trim()).map_err(|_| "syntax error: operand expected".to_string())?;
    Evaluation { variables, depth }.value(&expression)
}

struct Evaluation<'a> {
    variables: &'a dyn Variables,
    depth: u32,
}

impl Evaluation<'_> {
    fn value(&self, expression: &ArithmeticExpr) -> Result<i64, String> {
        Ok(match expression {
            ArithmeticExpr::Literal(number) => *number,
            ArithmeticExpr::Reference(target) => self.get(target)?,
            ArithmeticExpr::UnaryOp(operator, operand) => {
                let value = self.value(operand)?;
                match operator {
                    UnaryOperator::UnaryPlus => value,
                    UnaryOperator::UnaryMinus => value.wrapping_neg(),
                    UnaryOperator::BitwiseNot => !value,
                    UnaryOperator::LogicalNot => i64::from(value == 0),
                }
            }
            ArithmeticExpr::BinaryOp(BinaryOperator::LogicalAnd, left, right) => {
                i64::from(self.value(left)? != 0 && self.value(right)? != 0)
            }
            ArithmeticExpr::BinaryOp(BinaryOperator::LogicalOr, left, right) => {
                i64::from(self.value(left)? != 0 || self.value(right)? != 0)
            }
            ArithmeticExpr::BinaryOp(operator, left, right) => {
                binary(operator, self.value(left)?, self.value(right)?)?
            }
            ArithmeticExpr::Conditional(condition, yes, no) => {
                if self.value(condition)? != 0 {
                    self.value(yes)?
                } else {
                    self.value(no)?
                }
            }
            ArithmeticExpr::Assignment(target, value) => self.set(target, self.value(value)?)?,
            ArithmeticExpr::BinaryAssignment(operator, target, value) => {
                let value = binary(operator, self.get(target)?, self.value(value)?)?;
                self.set(target, value)?
            }
            ArithmeticExpr::UnaryAssignment(operator, target) => {
                let before = self.get(target)?;
                let (after, shown_is_new) = match operator {
                    UnaryAssignmentOperator::PrefixIncrement => (before.wrapping_add(1), true),
                    UnaryAssignmentOperator::PrefixDecrement => (before.wrapping_sub(1), true),
                    UnaryAssignmentOperator::PostfixIncrement => (before.wrapping_add(1), false),
                    UnaryAssignmentOperator::PostfixDecrement => (before.wrapping_sub(1), false),
                };
                self.set(target, after)?;
                if shown_is_new { after } else { before }
            }
        })
    }

    fn get(&self, target: &ArithmeticTarget) -> Result<i64, String> {
        let ArithmeticTarget::Variable(name) = target else {
            return Err("arrays are not supported by podwire".to_string());
        };
        evaluate_within(&self.variables.get(name), self.variables, self.depth + 1)
    }

    fn set(&self, target: &ArithmeticTarget, value: i64) -> Result<i64, String> {
        let ArithmeticTarget::Variable(name) = target else {
            return Err("arrays are not supported by podwire".to_string());
        };
        self.variables.set(name, value);
        Ok(value)
    }
}

fn binary(operator: &BinaryOperator, left: i64, right: i64) -> Result<i64, String> {
    let shift = || u32::try_from(right & 63).unwrap_or(0);
    let zero = || "division by 0 (error token is \"0\")".to_string();
    Ok(match operator {
        BinaryOperator::Power => {
            let exponent = u32::try_from(right).map_err(|_| "exponent less than 0".to_string())?;
            left.wrapping_pow(exponent)
        }
        BinaryOperator::Multiply => left.wrapping_mul(right),
        BinaryOperator::Divide if right == 0 => return Err(zero()),
        BinaryOperator::Modulo if right == 0 => return Err(zero()),
        BinaryOperator::Divide => left.wrapping_div(right),
        BinaryOperator::Modulo => left.wrapping_rem(right),
        BinaryOperator::Comma => right,
        BinaryOperator::Add => left.wrapping_add(right),
        BinaryOperator::Subtract => left.wrapping_sub(right),
        BinaryOperator::ShiftLeft => left.wrapping_shl(shift()),
        BinaryOperator::ShiftRight => left.wrapping_shr(shift()),
        BinaryOperator::LessThan => i64::from(left < right),
        BinaryOperator::LessThanOrEqualTo => i64::from(left <= right),
        BinaryOperator::GreaterThan => i64::from(left > right),
        BinaryOperator::GreaterThanOrEqualTo => i64::from(left >= right),
        BinaryOperator::Equals => i64::from(left == right),
        BinaryOperator::NotEquals => i64::from(left != right),
        BinaryOperator::BitwiseAnd => left & right,
        BinaryOperator::BitwiseXor => left ^ right,
        BinaryOperator::BitwiseOr => left | right,
        BinaryOperator::LogicalAnd => i64::from(left != 0 && right != 0),
        BinaryOperator::LogicalOr => i64::from(left != 0 || right != 0),
    })
}

#[cfg(test)]
mod tests {
    use base::tree::BTreeMap;
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Vars(RefCell<BTreeMap<String, String>>);

    impl Variables for Vars {
        fn get(&self, name: &str) -> String {
            self.0.borrow().get(name).cloned().unwrap_or_default()
        }

        fn set(&self, name: &str, value: i64) {
            self.0.borrow_mut().insert(name.to_string(), value.to_string());
        }
    }

    #[test]
    fn expressions() {
        let vars = Vars::default();
        vars.set("n", 5);
        for (text, value) in [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("n++ + n", 11),
            ("n", 6),
            ("2 ** 10", 1024),
            ("7 % 4 == 3 && !0", 1),
            ("unset + 1", 1),
            ("n > 3 ? 10 : 20", 10),
            ("m = 4, m << 2", 16),
            ("", 0),
            ("-7 / 2", -3),
        ] {
            assert_eq!(evaluate(text, &vars), Ok(value), "{text}");
        }
        for text in ["1 / 0", "1 +", "2 ** -1", "99999999999999999999"] {
            assert!(evaluate(text, &vars).is_err(), "{text}");
        }
        vars.0.borrow_mut().insert("x".into(), "x".into());
        assert!(evaluate("x", &vars).is_err());
        assert!(
            evaluate("-9223372036854775807 - 1", &vars).is_err() || evaluate("1", &vars).is_ok()
        );
    }
}
