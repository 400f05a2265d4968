//! Redirections: where a command's input comes from, and where its output goes.

use brush_parser::ast::{IoFileRedirectKind, IoFileRedirectTarget, IoRedirect};

use super::Runner;
use crate::grammar::expand::ExpandError;
use crate::io::{Input, Io, Output};

impl Runner {
    /// Input and output as the redirections say, in their order. What is wrong has been said.
    pub(super) async fn redirected<'a>(
        &self,
        redirects: impl Iterator<Item = &'a IoRedirect>,
    ) -> Result<Io, ()> {
        let mut io = self.io.clone();
        for redirect in redirects {
            if let Err(message) = self.redirect(redirect, &mut io).await {
                self.complain(&message).await;
                return Err(());
            }
        }
        Ok(io)
    }

    async fn redirect(&self, redirect: &IoRedirect, io: &mut Io) -> Result<(), String> {
        let say = |error: ExpandError| error.to_string();
        match redirect {
            IoRedirect::HereString(_, word) => {
                let text = self.text(&word.value).await.map_err(say)?;
                io.stdin = Input::of(text + "\n");
            }
            IoRedirect::HereDocument(_, document) => {
                let mut text = document.doc.value.clone();
                if document.remove_tabs {
                    let lines = text.split_inclusive('\n');
                    text = lines.map(|line| line.trim_start_matches('\t')).collect();
                }
                if document.requires_expansion {
                    text = self.here_document(&text).await.map_err(say)?;
                }
                io.stdin = Input::of(text);
            }
            IoRedirect::OutputAndError(word, append) => {
                let output = self.open(&word.value, *append).await?;
                (io.stdout, io.stderr) = (output.clone(), output);
            }
            IoRedirect::File(fd, kind, target) => {
                self.redirect_file(*fd, kind, target, io).await?;
            }
        }
        Ok(())
    }

    async fn redirect_file(
        &self,
        fd: Option<i32>,
        kind: &IoFileRedirectKind,
        target: &IoFileRedirectTarget,
        io: &mut Io,
    ) -> Result<(), String> {
        let unsupported = || "this redirection is not supported by podwire".to_string();
        let is_input =
            matches!(kind, IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput);
        let fd = fd.unwrap_or(if is_input { 0 } else { 1 });
        let output = match (kind, target) {
            (IoFileRedirectKind::Read, IoFileRedirectTarget::Filename(word)) => {
                let path = self.text(&word.value).await.map_err(|error| error.to_string())?;
                let read = match path.as_str() {
                    "/dev/null" => Ok(Vec::new()),
                    path => self.session.files.read(&self.session.path(path)),
                };
                let read = read.map_err(|error| match self.in_container() {
                    true => format!("can't open {path}: {error}"),
                    false => format!("{path}: {error}"),
                });
                io.stdin = Input::of(read?);
                return Ok(());
            }
            (
                IoFileRedirectKind::Write | IoFileRedirectKind::Clobber,
                IoFileRedirectTarget::Filename(word),
            ) => self.open(&word.value, false).await?,
            (IoFileRedirectKind::Append, IoFileRedirectTarget::Filename(word)) => {
                self.open(&word.value, true).await?
            }
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Fd(1)) => io.stdout.clone(),
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Fd(2)) => io.stderr.clone(),
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Duplicate(word)) => {
                match word.value.as_str() {
                    "1" => io.stdout.clone(),
                    "2" => io.stderr.clone(),
                    "-" => Output::Null,
                    _ => return Err(unsupported()),
                }
            }
            _ => return Err(unsupported()),
        };
        match fd {
            1 => io.stdout = output,
            2 => io.stderr = output,
            fd => return Err(format!("{fd}: Bad file descriptor")),
        }
        Ok(())
    }

    async fn open(&self, word: &str, append: bool) -> Result<Output, String> {
        let name = self.text(word).await.map_err(|error| error.to_string())?;
        match name.as_str() {
            "/dev/stdout" => return Ok(self.io.stdout.clone()),
            "/dev/stderr" => return Ok(self.io.stderr.clone()),
            _ => {}
        }
        let path = self.session.path(&name);
        Output::to_file(&self.session.files, &path, append).map_err(|error| {
            match self.in_container() {
                true => format!("can't create {name}: {error}"),
                false => format!("{name}: {error}"),
            }
        })
    }
}
