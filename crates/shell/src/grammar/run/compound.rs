//! Compound commands: `if`, `for`, `while`, `case`, `((…))`, `( … )`, `{ … }`.

use base::Duration;
use brush_parser::ast::{
    ArithmeticForClauseCommand, CaseClauseCommand, CaseItemPostAction, CompoundCommand,
    CompoundList, ElseClause, ForClauseCommand, UnexpandedArithmeticExpr, Word,
};

use super::{Flow, Runner};
use crate::grammar::expand::ExpandError;

/// What a turn of a loop takes, so that an endless loop lets time pass.
const LOOP_TURN: Duration = Duration::from_micros(10);
/// The same in a container, where a loop may run for hours of virtual time with nobody looking.
const LOOP_TURN_CONTAINER: Duration = Duration::from_millis(1);

/// Whether a loop goes on.
enum Turn {
    Again,
    Over(Flow),
}

impl Runner {
    pub(super) async fn compound(&self, command: &CompoundCommand) -> Flow {
        match command {
            CompoundCommand::BraceGroup(group) => self.list(&group.list).await,
            CompoundCommand::Subshell(subshell) => {
                let inner = self.forked();
                inner.list(&subshell.list).await;
                self.end(inner.session.status())
            }
            CompoundCommand::IfClause(clause) => {
                self.when(&clause.condition, &clause.then, clause.elses.as_deref()).await
            }
            CompoundCommand::ForClause(clause) => self.for_each(clause).await,
            CompoundCommand::WhileClause(clause) => {
                self.repeat(&clause.0, &clause.1.list, true).await
            }
            CompoundCommand::UntilClause(clause) => {
                self.repeat(&clause.0, &clause.1.list, false).await
            }
            CompoundCommand::ArithmeticForClause(clause) => self.count(clause).await,
            CompoundCommand::Arithmetic(command) => match self.arithmetic(&command.expr).await {
                Ok(value) => self.end(i32::from(value == 0)),
                Err(error) => self.bad_word(&error).await,
            },
            CompoundCommand::CaseClause(clause) => self.choose(clause).await,
            CompoundCommand::Coprocess(_) => {
                self.complain("coproc is not supported by podwire").await;
                self.end(1)
            }
        }
    }

    /// `for NAME in WORD…`
    async fn for_each(&self, clause: &ForClauseCommand) -> Flow {
        let mut values = Vec::new();
        match &clause.values {
            None => values = self.session.parameters(),
            Some(words) => {
                for word in words {
                    match self.words(&word.value).await {
                        Ok(more) => values.extend(more),
                        Err(error) => return self.bad_word(&error).await,
                    }
                }
            }
        }
        self.session.set_status(0);
        for value in values {
            self.session.set(&clause.variable_name, &value);
            match self.turn(&clause.body.list).await {
                Turn::Again => {}
                Turn::Over(flow) => return flow,
            }
        }
        Flow::Next
    }

    /// `for ((…; …; …))`
    async fn count(&self, clause: &ArithmeticForClauseCommand) -> Flow {
        if let Err(error) = self.optional_arithmetic(clause.initializer.as_ref()).await {
            return self.bad_word(&error).await;
        }
        loop {
            match self.optional_arithmetic(clause.condition.as_ref()).await {
                Ok(Some(0)) => return self.end(0),
                Ok(_) => {}
                Err(error) => return self.bad_word(&error).await,
            }
            match self.turn(&clause.body.list).await {
                Turn::Again => {}
                Turn::Over(flow) => return flow,
            }
            if let Err(error) = self.optional_arithmetic(clause.updater.as_ref()).await {
                return self.bad_word(&error).await;
            }
        }
    }

    /// `case WORD in PATTERN) …`
    async fn choose(&self, clause: &CaseClauseCommand) -> Flow {
        let value = match self.text(&clause.value.value).await {
            Ok(value) => value,
            Err(error) => return self.bad_word(&error).await,
        };
        self.session.set_status(0);
        let mut falls_through = false;
        for case in &clause.cases {
            if !falls_through {
                match self.fits_any(&value, &case.patterns).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => return self.bad_word(&error).await,
                }
            }
            if let Some(body) = &case.cmd {
                let flow = self.list(body).await;
                if flow != Flow::Next {
                    return flow;
                }
            }
            match case.post_action {
                CaseItemPostAction::ExitCase => return Flow::Next,
                CaseItemPostAction::UnconditionallyExecuteNextCaseItem => falls_through = true,
                CaseItemPostAction::ContinueEvaluatingCases => falls_through = false,
            }
        }
        Flow::Next
    }

    async fn fits_any(&self, value: &str, patterns: &[Word]) -> Result<bool, ExpandError> {
        for pattern in patterns {
            if self.pattern(&pattern.value).await?.matches(value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn optional_arithmetic(
        &self,
        expression: Option<&UnexpandedArithmeticExpr>,
    ) -> Result<Option<i64>, ExpandError> {
        match expression {
            Some(expression) => self.arithmetic(expression).await.map(Some),
            None => Ok(None),
        }
    }

    async fn when(
        &self,
        condition: &CompoundList,
        then: &CompoundList,
        elses: Option<&[ElseClause]>,
    ) -> Flow {
        let flow = self.tested().list(condition).await;
        if flow != Flow::Next {
            return flow;
        }
        if self.session.status() == 0 {
            return self.list(then).await;
        }
        for clause in elses.unwrap_or_default() {
            if let Some(condition) = &clause.condition {
                let flow = self.tested().list(condition).await;
                if flow != Flow::Next {
                    return flow;
                }
                if self.session.status() != 0 {
                    continue;
                }
            }
            return self.list(&clause.body).await;
        }
        self.end(0)
    }

    async fn repeat(&self, condition: &CompoundList, body: &CompoundList, wanted: bool) -> Flow {
        let mut status = 0;
        loop {
            let flow = self.tested().list(condition).await;
            if flow != Flow::Next {
                return flow;
            }
            if (self.session.status() == 0) != wanted {
                return self.end(status);
            }
            match self.turn(body).await {
                Turn::Again => {}
                Turn::Over(flow) => return flow,
            }
            status = self.session.status();
        }
    }

    /// One turn of a loop.
    async fn turn(&self, body: &CompoundList) -> Turn {
        self.host.sleep(if self.in_container() { LOOP_TURN_CONTAINER } else { LOOP_TURN }).await;
        match self.list(body).await {
            Flow::Next | Flow::Continue(0 | 1) => Turn::Again,
            Flow::Break(0 | 1) => Turn::Over(Flow::Next),
            Flow::Break(loops) => Turn::Over(Flow::Break(loops - 1)),
            Flow::Continue(loops) => Turn::Over(Flow::Continue(loops - 1)),
            flow => Turn::Over(flow),
        }
    }
}
