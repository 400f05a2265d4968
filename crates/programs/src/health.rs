//! Health checks: a question again and again, and what is thought of the answers.

use std::net::SocketAddrV4;

use base::Duration;
use netsim::Host;
use netsim::exec::timeout;

use crate::http::client::{Ask, fetch};
use crate::http::{FetchError, Headers};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether a connection can be opened.
    Tcp(SocketAddrV4),
    /// Whether a request is answered with a status from 200 to 399.
    Http {
        /// Where.
        addr: SocketAddrV4,
        /// Path and query.
        path: String,
        /// Header fields besides `Host`.
        headers: Headers,
    },
}

/// When it is asked, and how many answers make a difference. As a Pod's probes have it: no chance in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Before the first question.
    pub initial_delay: Duration,
    /// From one question to the next.
    pub period: Duration,
    /// An answer that takes longer is none.
    pub timeout: Duration,
    /// So many good answers in a row make it healthy.
    pub success_threshold: u32,
    /// So many bad answers in a row make it unhealthy.
    pub failure_threshold: u32,
}

impl Default for Schedule {
    /// A probe's defaults (`core/v1` `Probe`).
    fn default() -> Self {
        Schedule {
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// Counts answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judge {
    healthy: Option<bool>,
    last: Option<bool>,
    row: u32,
}

impl Judge {
    /// Takes an answer; says what is thought now, when that has changed.
    pub fn take(&mut self, is_good: bool, schedule: &Schedule) -> Option<bool> {
        self.row = if self.last == Some(is_good) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(is_good);
        let enough =
            if is_good { schedule.success_threshold } else { schedule.failure_threshold }.max(1);
        if self.row < enough || self.healthy == Some(is_good) {
            return None;
        }
        self.healthy = Some(is_good);
        Some(is_good)
    }
}

/// Asks once. The error says why the answer is not a good one, in a kubelet's words.
pub async fn once(host: &Host, check: &Check, limit: Duration) -> Result<(), String> {
    let (addr, answered) = match check {
        Check::Tcp(addr) => {
            let connecting = async { host.connect(*addr).await.map(drop) };
            (addr, timeout(host.sleep(limit), connecting).await)
        }
        Check::Http { addr, path, headers } => {
            return match timeout(host.sleep(limit), request(host, *addr, path, headers)).await {
                Some(result) => result,
                None => Err(format!(
                    "Get \"http://{addr}{path}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
            };
        }
    };
    match answered {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            Err(format!("dial tcp {addr}: connect: {}", error.to_string().to_lowercase()))
        }
        None => Err(format!("dial tcp {addr}: i/o timeout")),
    }
}

async fn request(
    host: &Host,
    addr: SocketAddrV4,
    path: &str,
    headers: &Headers,
) -> Result<(), String> {
    let get = format!("Get \"http://{addr}{path}\"");
    let stream = host.connect(addr).await.map_err(|error| {
        format!("{get}: dial tcp {addr}: connect: {}", error.to_string().to_lowercase())
    })?;
    let mut all = Headers::default();
    all.push("Host", addr.to_string());
    all.0.extend(headers.0.iter().cloned());
    let ask = Ask { method: "GET".into(), target: path.into(), headers: all, body: Vec::new() };
    match fetch(host, &stream, &ask).await {
        Ok(fetched) if (200..400).contains(&fetched.response.status) => Ok(()),
        Ok(fetched) => {
            Err(format!("HTTP probe failed with statuscode: {}", fetched.response.status))
        }
        Err(FetchError::Empty) => Err(format!("{get}: EOF")),
        Err(FetchError::Receive(error) | FetchError::Send(error)) => {
            Err(format!("{get}: read tcp {addr}: read: {}", error.to_string().to_lowercase()))
        }
        Err(_) => Err(format!("{get}: net/http: HTTP/1.x transport connection broken")),
    }
}

/// Asks on and on. `changed` is told when what is thought changes, with the reason of a change to the worse.
///
/// Questions begin at fixed times: an answer that takes long does not move the next question, unless it takes
/// longer than a period.
pub async fn watch(
    host: Host,
    check: Check,
    schedule: Schedule,
    mut changed: impl FnMut(bool, Option<String>),
) {
    host.sleep(schedule.initial_delay).await;
    let mut judge = Judge::default();
    loop {
        let begun = host.now();
        let answer = once(&host, &check, schedule.timeout).await;
        if let Some(healthy) = judge.take(answer.is_ok(), &schedule) {
            changed(healthy, answer.err());
        }
        let period = schedule.period.max(Duration::from_millis(1));
        host.net().sleep_until(begun + period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_some_answers_in_a_row() {
        let schedule =
            Schedule { success_threshold: 2, failure_threshold: 3, ..Schedule::default() };
        let mut judge = Judge::default();
        let told: Vec<Option<bool>> =
            [true, true, true, false, false, true, false, false, false, false]
                .into_iter()
                .map(|answer| judge.take(answer, &schedule))
                .collect();
        let mut wanted = [None; 10];
        (wanted[1], wanted[8]) = (Some(true), Some(false));
        assert_eq!(told, wanted);
    }
}
