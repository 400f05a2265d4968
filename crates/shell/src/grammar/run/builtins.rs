//! Builtins: what can only be done by the shell itself.

use netsim::exec::Either;

use super::{DEPTH_MAX, Flow, Runner};
use crate::files::FileKind;
use crate::session::Job;

impl Runner {
    /// Runs a builtin; `None` where there is none of this name.
    pub(super) async fn builtin(&self, name: &str, args: &[String]) -> Option<Flow> {
        let number =
            |default: i32| args.first().and_then(|arg| arg.parse::<i32>().ok()).unwrap_or(default);
        let loops = || u32::try_from(number(1)).unwrap_or(1).max(1);
        Some(match name {
            "break" => Flow::Break(loops()),
            "continue" => Flow::Continue(loops()),
            "return" => {
                self.session.set_status(number(self.session.status()));
                Flow::Return
            }
            "exit" => {
                self.session.set_status(number(self.session.status()) & 0xff);
                Flow::Exit
            }
            "eval" | "source" | "." => self.nested(name, args).await,
            "cd" => self.cd(args).await,
            "export" | "local" | "declare" | "readonly" => self.declare(name, args).await,
            "unset" => {
                args.iter().for_each(|name| self.session.unset(name));
                self.end(0)
            }
            "set" => self.set_options(args).await,
            "shift" => {
                let mut parameters = self.session.parameters();
                let count = usize::try_from(number(1)).unwrap_or(0).min(parameters.len());
                parameters.drain(..count);
                self.session.set_parameters(parameters);
                self.end(0)
            }
            "read" => self.read(args).await,
            "wait" => self.wait(args).await,
            "exec" => self.exec(args).await,
            "trap" => self.trap(args).await,
            "jobs" => {
                for job in self.session.jobs() {
                    let state = match job.process.exit_code() {
                        None => "Running",
                        Some(0) => "Done",
                        Some(_) => "Exit",
                    };
                    if job.process.exit_code().is_some() {
                        self.session.forget_job(job.pid);
                    }
                    let line = format!("[{}]  {state:<22}\n", job.number);
                    let _ = self.io.stdout.write(line).await;
                }
                self.end(0)
            }
            "kill" => self.kill(args).await,
            _ => return None,
        })
    }

    async fn nested(&self, name: &str, args: &[String]) -> Flow {
        if self.depth >= DEPTH_MAX {
            self.complain(&format!("{name}: maximum nesting level exceeded")).await;
            return self.end(1);
        }
        let text = if name == "eval" {
            args.join(" ")
        } else {
            let Some(file) = args.first() else {
                self.complain(&format!("{name}: filename argument required")).await;
                return self.end(2);
            };
            match self.session.files.read(&self.session.path(file)) {
                Ok(content) => String::from_utf8_lossy(&content).into_owned(),
                Err(error) => {
                    self.complain(&format!("{file}: {error}")).await;
                    return self.end(1);
                }
            }
        };
        let inner = Runner { depth: self.depth + 1, ..self.clone() };
        let flow = Box::pin(inner.source(&text)).await;
        if flow == Flow::Return && name != "eval" { Flow::Next } else { flow }
    }

    async fn cd(&self, args: &[String]) -> Flow {
        let home = || self.session.var("HOME").unwrap_or_else(|| "/".to_string());
        let target = match args.first().map(String::as_str) {
            None => home(),
            Some("-") => self.session.var("OLDPWD").unwrap_or_else(home),
            Some(path) => path.to_string(),
        };
        let path = self.session.path(&target);
        let problem = match self.session.files.kind(&path) {
            Some(FileKind::Directory) => {
                self.session.set("OLDPWD", &self.session.cwd());
                self.session.set_cwd(&path);
                return self.end(0);
            }
            Some(FileKind::File) => "Not a directory",
            None => "No such file or directory",
        };
        self.complain(&format!("cd: {target}: {problem}")).await;
        self.end(1)
    }

    async fn declare(&self, name: &str, args: &[String]) -> Flow {
        for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
            let (variable, value) = match arg.split_once('=') {
                Some((variable, value)) => (variable, Some(value)),
                None => (arg.as_str(), None),
            };
            if variable.is_empty() || !variable.chars().all(|c| c.is_alphanumeric() || c == '_') {
                self.complain(&format!("{name}: `{arg}': not a valid identifier")).await;
                return self.end(1);
            }
            if let Some(value) = value {
                self.session.set(variable, value);
            }
            if name == "export" {
                self.session.export(variable);
            }
        }
        self.end(0)
    }

    async fn set_options(&self, args: &[String]) -> Flow {
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (is_on, letters) = match (arg.strip_prefix('-'), arg.strip_prefix('+')) {
                _ if arg == "--" => {
                    self.session.set_parameters(args.cloned().collect());
                    return self.end(0);
                }
                (Some(letters), _) => (true, letters),
                (_, Some(letters)) => (false, letters),
                _ => {
                    let rest = args.cloned();
                    self.session.set_parameters(std::iter::once(arg.clone()).chain(rest).collect());
                    return self.end(0);
                }
            };
            for letter in letters.chars() {
                let option = match letter {
                    'e' => "errexit",
                    'u' => "nounset",
                    'x' => "xtrace",
                    'o' => args.next().map(String::as_str).unwrap_or_default(),
                    other => {
                        self.complain(&format!("set: -{other}: invalid option")).await;
                        return self.end(2);
                    }
                };
                self.session.set_option(option, is_on);
            }
        }
        self.end(0)
    }

    /// `read [-r] NAME…`: the last name takes the rest of the line.
    async fn read(&self, args: &[String]) -> Flow {
        let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
        let line = self.io.stdin.read_line().await;
        let status = i32::from(line.is_none());
        let line = line.unwrap_or_default();
        let mut rest = line.trim();
        for (at, name) in names.iter().enumerate() {
            let is_last = at + 1 == names.len();
            let (word, after) = match rest.split_once(char::is_whitespace) {
                Some((word, after)) if !is_last => (word, after.trim_start()),
                _ => (rest, ""),
            };
            self.session.set(name, word);
            rest = after;
        }
        if names.is_empty() {
            self.session.set("REPLY", &line);
        }
        self.end(status)
    }

    /// `wait [PID…]`: the last one's exit code, or 0 where none is named.
    async fn wait(&self, args: &[String]) -> Flow {
        let jobs = self.session.jobs();
        let mut waited: Vec<&Job> = Vec::new();
        let mut status = 0;
        let mut names_some = false;
        for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
            names_some = true;
            match self.job(&jobs, arg) {
                Some(job) => waited.push(job),
                None => {
                    status = 127;
                    if !self.in_container() {
                        let text = format!("wait: pid {arg} is not a child of this shell");
                        self.complain(&text).await;
                    }
                }
            }
        }
        if !names_some {
            waited.extend(&jobs);
        }
        for job in waited {
            let waiting = Box::pin(job.process.wait());
            // A signal that is trapped ends the waiting.
            let code = if self.session.trap("TERM").is_some() {
                let signal = Box::pin(self.host.terminated());
                match netsim::exec::select(waiting, signal).await {
                    Either::First(code) => code,
                    Either::Second(()) => {
                        self.session.signals.set(true);
                        return self.end(143);
                    }
                }
            } else {
                waiting.await
            };
            self.session.forget_job(job.pid);
            if names_some {
                status = code;
            }
        }
        self.end(status)
    }

    /// The job that `4001` or `%1` names.
    fn job<'a>(&self, jobs: &'a [Job], arg: &str) -> Option<&'a Job> {
        match arg.strip_prefix('%') {
            Some(number) => {
                let number: usize = number.parse().ok()?;
                jobs.iter().find(|job| job.number == number)
            }
            None => jobs.iter().find(|job| job.pid.to_string() == arg),
        }
    }

    async fn kill(&self, args: &[String]) -> Flow {
        let jobs = self.session.jobs();
        for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
            match self.job(&jobs, arg) {
                Some(job) => job.process.kill(),
                None => {
                    self.complain(&format!("kill: ({arg}) - No such process")).await;
                    return self.end(1);
                }
            }
        }
        self.end(0)
    }

    /// `trap [HANDLER SIGNAL…]`
    async fn trap(&self, args: &[String]) -> Flow {
        let Some((handler, signals)) = args.split_first() else { return self.end(0) };
        let handler = Some(handler.as_str()).filter(|handler| *handler != "-");
        for signal in signals {
            let name = match signal.trim_start_matches("SIG") {
                "15" => "TERM",
                "0" => "EXIT",
                "2" => "INT",
                "1" => "HUP",
                "3" => "QUIT",
                name => name,
            };
            if !matches!(name, "TERM" | "EXIT" | "INT" | "HUP" | "QUIT" | "ERR" | "USR1" | "USR2") {
                self.complain(&format!("trap: {signal}: invalid signal specification")).await;
                return self.end(1);
            }
            self.session.set_trap(name, handler);
        }
        self.end(0)
    }

    /// `exec [COMMAND…]`: the command instead of the shell.
    async fn exec(&self, args: &[String]) -> Flow {
        if args.is_empty() {
            return self.end(0);
        }
        Box::pin(self.call(args.to_vec(), Vec::new())).await;
        Flow::Exit
    }
}
