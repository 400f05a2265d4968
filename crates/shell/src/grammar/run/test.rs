//! `[[ … ]]`: what is tested, of texts, numbers and files.

use brush_parser::ast::{BinaryPredicate, ExtendedTestExpr, UnaryPredicate, Word};

use super::{Runner, Step};
use crate::files::FileKind;
use crate::grammar::arith;
use crate::grammar::expand::ExpandError;

impl Runner {
    /// `[[ … ]]`
    pub(super) fn test<'a>(
        &'a self,
        expression: &'a ExtendedTestExpr,
    ) -> Step<'a, Result<bool, ExpandError>> {
        Box::pin(async move {
            match expression {
                ExtendedTestExpr::And(a, b) => Ok(self.test(a).await? && self.test(b).await?),
                ExtendedTestExpr::Or(a, b) => Ok(self.test(a).await? || self.test(b).await?),
                ExtendedTestExpr::Not(inner) => Ok(!self.test(inner).await?),
                ExtendedTestExpr::Parenthesized(inner) => self.test(inner).await,
                ExtendedTestExpr::UnaryTest(predicate, word) => {
                    let text = self.text(&word.value).await?;
                    self.test_one(predicate, &text)
                }
                ExtendedTestExpr::BinaryTest(predicate, left, right) => {
                    self.test_two(predicate, left, right).await
                }
            }
        })
    }

    fn test_one(&self, predicate: &UnaryPredicate, text: &str) -> Result<bool, ExpandError> {
        let path = self.session.path(text);
        let kind = self.session.files.kind(&path);
        Ok(match predicate {
            UnaryPredicate::StringHasZeroLength => text.is_empty(),
            UnaryPredicate::StringHasNonZeroLength => !text.is_empty(),
            UnaryPredicate::FileExists => kind.is_some(),
            UnaryPredicate::FileExistsAndIsRegularFile => kind == Some(FileKind::File),
            UnaryPredicate::FileExistsAndIsDir => kind == Some(FileKind::Directory),
            UnaryPredicate::FileExistsAndIsReadable | UnaryPredicate::FileExistsAndIsWritable => {
                kind.is_some()
            }
            UnaryPredicate::FileExistsAndIsNotZeroLength => {
                self.session.files.read(&path).is_ok_and(|content| !content.is_empty())
            }
            UnaryPredicate::ShellVariableIsSetAndAssigned => self.session.var(text).is_some(),
            _ => return Err(ExpandError("this test is not supported by podwire".to_string())),
        })
    }

    async fn test_two(
        &self,
        predicate: &BinaryPredicate,
        left: &Word,
        right: &Word,
    ) -> Result<bool, ExpandError> {
        let text = self.text(&left.value).await?;
        let other = self.text(&right.value).await?;
        let number = |text: &str| {
            arith::evaluate(text, &*self.session)
                .map_err(|why| ExpandError(format!("[[: {text}: {why}")))
        };
        Ok(match predicate {
            BinaryPredicate::StringExactlyMatchesPattern => {
                self.pattern(&right.value).await?.matches(&text)
            }
            BinaryPredicate::StringDoesNotExactlyMatchPattern => {
                !self.pattern(&right.value).await?.matches(&text)
            }
            BinaryPredicate::StringExactlyMatchesString => text == other,
            BinaryPredicate::StringDoesNotExactlyMatchString => text != other,
            BinaryPredicate::StringContainsSubstring => text.contains(&other),
            BinaryPredicate::StringMatchesRegex => regex_lite::Regex::new(&other)
                .map_err(|_| ExpandError(format!("[[: invalid regular expression `{other}'")))?
                .is_match(&text),
            BinaryPredicate::LeftSortsBeforeRight => text < other,
            BinaryPredicate::LeftSortsAfterRight => text > other,
            BinaryPredicate::ArithmeticEqualTo => number(&text)? == number(&other)?,
            BinaryPredicate::ArithmeticNotEqualTo => number(&text)? != number(&other)?,
            BinaryPredicate::ArithmeticLessThan => number(&text)? < number(&other)?,
            BinaryPredicate::ArithmeticLessThanOrEqualTo => number(&text)? <= number(&other)?,
            BinaryPredicate::ArithmeticGreaterThan => number(&text)? > number(&other)?,
            BinaryPredicate::ArithmeticGreaterThanOrEqualTo => number(&text)? >= number(&other)?,
            _ => return Err(ExpandError("this test is not supported by podwire".to_string())),
        })
    }
}
