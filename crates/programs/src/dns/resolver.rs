//! Asks for addresses as the C library does.

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Duration;
use netsim::exec::timeout;
use netsim::{Host, SockError, UdpSocket};

use super::PORT;
use super::message::{Data, Kind, Message, Name, Record, ResponseCode};
use super::server::{framed, read_framed};
use crate::resolve::Names;

/// Servers that are asked (`MAXNS`).
const SERVERS_MAX: usize = 3;

/// Whose C library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// One server after the other; only time or a broken server leads to the next (`res_send.c`).
    #[default]
    Glibc,
    /// All servers at once; the first answer counts (`res_msend.c`).
    Musl,
}

/// `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in the order they are asked.
    pub nameservers: Vec<Ipv4Addr>,
    /// What is put behind short names.
    pub search: Vec<String>,
    /// Names of so many dots are tried as they are first.
    pub ndots: u32,
    /// How long a server is waited for.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: u32,
    /// Servers take turns in being asked first.
    pub rotate: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        ResolvConf {
            nameservers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
        }
    }
}

impl ResolvConf {
    /// Reads the file (resolv.conf(5)); what is not understood is passed over, as the C library does.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let addr: Option<Ipv4Addr> = words.next().and_then(|word| word.parse().ok());
                    conf.nameservers.extend(addr);
                    conf.nameservers.truncate(SERVERS_MAX);
                }
                Some("search") => conf.search = words.map(str::to_string).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_string).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let number = |text: &str, most: u32| text.parse::<u32>().ok().map(|n| n.min(most));
        match word.split_once(':') {
            Some(("ndots", n)) => self.ndots = number(n, 15).unwrap_or(self.ndots),
            Some(("attempts", n)) => self.attempts = number(n, 5).unwrap_or(self.attempts),
            Some(("timeout", n)) => {
                if let Some(secs) = number(n, 30) {
                    self.timeout = Duration::from_secs(u64::from(secs.max(1)));
                }
            }
            None if word == "rotate" => self.rotate = true,
            _ => {}
        }
    }

    /// The names that are asked for, in order: as it is, and with each of the search list behind it.
    pub fn candidates(&self, name: &str) -> Vec<Name> {
        let parse = |text: &str| Name::parse(text);
        if name.ends_with('.') {
            return parse(name).into_iter().collect();
        }
        let dots = name.matches('.').count();
        let searched = self.search.iter().filter_map(|domain| parse(&format!("{name}.{domain}")));
        let mut all: Vec<Name> = searched.collect();
        if let Some(plain) = parse(name) {
            let is_first = u32::try_from(dots).unwrap_or(u32::MAX) >= self.ndots;
            all.insert(if is_first { 0 } else { all.len() }, plain);
        }
        all
    }
}

/// Why there are no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// `EAI_NONAME`: there is no such name.
    NotFound,
    /// `EAI_NODATA`: the name has no address.
    NoAddress,
    /// `EAI_AGAIN`: no server answered, or none could find out.
    TryAgain,
}

impl std::fmt::Display for ResolveError {
    /// As `gai_strerror` has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ResolveError::NotFound => "Name or service not known",
            ResolveError::NoAddress => "No address associated with hostname",
            ResolveError::TryAgain => "Temporary failure in name resolution",
        })
    }
}

/// What came of one question.
enum Outcome {
    Answer(Message),
    /// No server answered in time.
    Silence,
    /// The question got to none of the servers: nobody listens, or there is no way.
    Unsent(SockError),
    /// The last server could not, or would not, find out.
    Failed(Message),
}

/// A place's resolver.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// `/etc/hosts`, which is asked first.
    pub names: Names,
    /// `/etc/resolv.conf`.
    pub conf: ResolvConf,
    /// Whose C library.
    pub flavour: Flavour,
    /// IPv6 addresses are asked for beside IPv4 ones, as programs do that can speak both.
    pub asks_both: bool,
    /// How long a datagram may be that comes back, where it says so (RFC 6891).
    pub udp_size: Option<u16>,
}

/// Why there is no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// Nobody answered in time.
    TimedOut,
    /// The question did not get there.
    Failed(SockError),
}

impl Resolver {
    /// The addresses of a name, in the order in which they are to be tried.
    pub async fn addresses(&self, host: &Host, name: &str) -> Result<Vec<Ipv4Addr>, ResolveError> {
        self.lookup(host, name).await.map(|(_, addrs)| addrs)
    }

    /// The name that was found in the end, without the dot at its end, and its addresses.
    pub async fn lookup(
        &self,
        host: &Host,
        name: &str,
    ) -> Result<(String, Vec<Ipv4Addr>), ResolveError> {
        let known = self.names.resolve(name);
        if !known.is_empty() {
            return Ok((name.to_string(), known));
        }
        let candidates = self.conf.candidates(name);
        if candidates.is_empty() {
            return Err(ResolveError::NotFound);
        }
        let plain = Name::parse(name);
        let (mut no_data, mut failed, mut as_it_is) = (false, false, None);
        for candidate in candidates {
            let why = match self.ask(host, &candidate, Kind::A).await {
                Outcome::Answer(message) if message.code == ResponseCode::NoError => {
                    let addrs = addresses_of(&message);
                    if !addrs.is_empty() {
                        let is_addr = |record: &&Record| matches!(record.data, Data::A(_));
                        let found = message.answers.iter().find(is_addr);
                        let found = found.map_or(&candidate, |record| &record.name);
                        return Ok((found.to_string().trim_end_matches('.').to_string(), addrs));
                    }
                    ResolveError::NoAddress
                }
                Outcome::Answer(_) => ResolveError::NotFound,
                Outcome::Failed(message)
                    if self.flavour == Flavour::Glibc && message.code == ResponseCode::ServFail =>
                {
                    failed = true;
                    ResolveError::TryAgain
                }
                // Without a server there is no use in other names.
                Outcome::Failed(_) | Outcome::Silence | Outcome::Unsent(_) => {
                    return Err(ResolveError::TryAgain);
                }
            };
            // musl takes a name that has no address for the one that was meant.
            if why == ResolveError::NoAddress && self.flavour == Flavour::Musl {
                return Err(why);
            }
            no_data |= why == ResolveError::NoAddress;
            if Some(&candidate) == plain.as_ref() {
                as_it_is = Some(why);
            }
        }
        // What became of the name as it was given counts most (`res_query.c`).
        Err(match (as_it_is, no_data, failed) {
            (Some(why), ..) => why,
            (None, true, _) => ResolveError::NoAddress,
            (None, false, true) => ResolveError::TryAgain,
            (None, false, false) => ResolveError::NotFound,
        })
    }

    /// One question without the search list, as `dig` asks: the answer, whatever it says.
    pub async fn query(&self, host: &Host, name: &Name, kind: Kind) -> Result<Message, Unheard> {
        match self.ask(host, name, kind).await {
            Outcome::Answer(message) | Outcome::Failed(message) => Ok(message),
            Outcome::Silence => Err(Unheard::TimedOut),
            Outcome::Unsent(error) => Err(Unheard::Failed(error)),
        }
    }

    async fn ask(&self, host: &Host, name: &Name, kind: Kind) -> Outcome {
        let servers = &self.conf.nameservers;
        // Without a server the C library asks the machine itself.
        let servers = if servers.is_empty() { &[Ipv4Addr::LOCALHOST][..] } else { servers };
        let mut rng = host.rng(&format!("dns/{name}/{}/{}", kind.number(), host.now().as_micros()));
        let id = rng.next_u32() as u16;
        let mut question = Message::question(id, name.clone(), kind);
        question.udp_size = self.udp_size;
        let beside = (self.asks_both && kind == Kind::A)
            .then(|| Message::question(rng.next_u32() as u16, name.clone(), Kind::Aaaa));
        let questions: Vec<Message> = std::iter::once(question).chain(beside).collect();
        match self.flavour {
            Flavour::Glibc => self.ask_in_turn(host, servers, &questions).await,
            Flavour::Musl => self.ask_all(host, servers, &questions).await,
        }
    }

    async fn ask_in_turn(
        &self,
        host: &Host,
        servers: &[Ipv4Addr],
        questions: &[Message],
    ) -> Outcome {
        let mut last = Outcome::Unsent(SockError::Refused);
        for _ in 0..self.conf.attempts.max(1) {
            for (number, server) in servers.iter().enumerate() {
                // Later servers are waited for longer, but all together not much longer than the first.
                let mut secs = self.conf.timeout.as_secs() << number.min(SERVERS_MAX);
                if number > 0 {
                    secs /= servers.len() as u64;
                }
                let wait = Duration::from_secs(secs.max(1));
                match over_udp(host, &[*server], questions, wait, Flavour::Glibc).await {
                    Ok(Some((message, _))) if is_of_use(&message) => {
                        return self.complete(host, *server, questions, message, wait).await;
                    }
                    Ok(Some((message, _))) => last = Outcome::Failed(message),
                    Ok(None) => last = Outcome::Silence,
                    Err(error) if matches!(last, Outcome::Unsent(_)) => {
                        last = Outcome::Unsent(error);
                    }
                    Err(_) => {}
                }
            }
        }
        last
    }

    async fn ask_all(&self, host: &Host, servers: &[Ipv4Addr], questions: &[Message]) -> Outcome {
        let attempts = self.conf.attempts.max(1);
        for _ in 0..attempts {
            let wait = self.conf.timeout / attempts;
            let answered = over_udp(host, servers, questions, wait, Flavour::Musl).await;
            if let Ok(Some((message, server))) = answered {
                return self.complete(host, server, questions, message, wait).await;
            }
        }
        Outcome::Silence
    }

    /// What did not fit into a datagram is asked for over TCP.
    async fn complete(
        &self,
        host: &Host,
        server: Ipv4Addr,
        questions: &[Message],
        message: Message,
        wait: Duration,
    ) -> Outcome {
        let Some(question) = questions.first().filter(|_| message.is_truncated) else {
            return Outcome::Answer(message);
        };
        let asked = timeout(host.sleep(wait), over_tcp(host, server, question)).await;
        match asked.flatten() {
            Some(whole) => Outcome::Answer(whole),
            None => Outcome::Answer(message),
        }
    }
}

/// A server that could not or would not find out leads to the next one.
fn is_of_use(message: &Message) -> bool {
    !matches!(message.code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

/// The addresses of the name that was asked for, whatever other names it stands for.
fn addresses_of(message: &Message) -> Vec<Ipv4Addr> {
    let addr = |data: &Data| match data {
        Data::A(addr) => Some(*addr),
        _ => None,
    };
    message.answers.iter().filter_map(|record| addr(&record.data)).collect()
}

/// Sends the questions and waits for the answers to all of them; the answer to the first is what is wanted.
async fn over_udp(
    host: &Host,
    servers: &[Ipv4Addr],
    questions: &[Message],
    wait: Duration,
    flavour: Flavour,
) -> Result<Option<(Message, Ipv4Addr)>, SockError> {
    // musl passes over an answer that is of no use, as if it had not come.
    let counts: fn(&Message) -> bool = match flavour {
        Flavour::Glibc => |_| true,
        Flavour::Musl => is_of_use,
    };
    let socket = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    // Connected, so that a closed port is heard of; musl does not, and waits.
    if let (Flavour::Glibc, [server]) = (flavour, servers) {
        socket.connect(SocketAddrV4::new(*server, PORT))?;
    }
    for server in servers {
        for question in questions {
            socket.send_to(&question.to_bytes(512), SocketAddrV4::new(*server, PORT), None)?;
        }
    }
    match timeout(host.sleep(wait), answers(&socket, servers, questions, counts)).await {
        Some(answer) => answer.map(Some),
        None => Ok(None),
    }
}

async fn answers(
    socket: &UdpSocket,
    servers: &[Ipv4Addr],
    questions: &[Message],
    counts: fn(&Message) -> bool,
) -> Result<(Message, Ipv4Addr), SockError> {
    let mut open: Vec<u16> = questions.iter().map(|question| question.id).collect();
    let first = questions.first().map(|question| question.id);
    let mut wanted = None;
    loop {
        let (bytes, from, _) = socket.recv_from().await?;
        let is_server = from.port() == PORT && servers.contains(from.ip());
        let Some(message) = Message::parse(&bytes).filter(|m| m.is_response && is_server) else {
            continue;
        };
        // Only an answer to what was asked counts.
        let asked = questions.iter().find(|question| question.id == message.id);
        let fits = asked.is_some_and(|question| question.questions == message.questions);
        if !fits || !counts(&message) {
            continue;
        }
        open.retain(|id| *id != message.id);
        if Some(message.id) == first && wanted.as_ref().is_none_or(|(known, _)| !is_of_use(known)) {
            wanted = Some((message, *from.ip()));
        }
        if open.is_empty()
            && let Some(answer) = wanted.take()
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(host: &Host, server: Ipv4Addr, question: &Message) -> Option<Message> {
    let stream = host.connect(SocketAddrV4::new(server, PORT)).await.ok()?;
    stream.write_all(&framed(&question.to_bytes(usize::from(u16::MAX)))).await.ok()?;
    let message = Message::parse(&read_framed(&stream).await?)?;
    (message.is_response && message.id == question.id).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_file_is_read_as_the_c_library_reads_it() {
        let conf = ResolvConf::parse(
            "# made by kubelet\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\nnameserver x\noptions ndots:5 timeout:2 attempts:9 rotate what:1\nsortlist 1\n",
        );
        assert_eq!((conf.ndots, conf.attempts, conf.rotate), (5, 5, true));
        assert_eq!(conf.nameservers, [Ipv4Addr::new(10, 96, 0, 10)]);
        let shown = |name| {
            let all = conf.candidates(name);
            all.iter().map(|name| format!("{name} ")).collect::<String>()
        };
        expect!["web.default.svc.cluster.local. web.svc.cluster.local. web.cluster.local. web. "]
            .assert_eq(&shown("web"));
        expect!["web.example.com. "].assert_eq(&shown("web.example.com."));
        assert!(shown("a.b.c.d.e.f").starts_with("a.b.c.d.e.f. "));
        expect![""].assert_eq(&shown("a..b"));
    }
}
