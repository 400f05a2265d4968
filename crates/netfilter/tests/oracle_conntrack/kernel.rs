//! The kernel's router: a namespace between two others, which are only the ends of its links.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use packet::Packet;

use super::Said;
use super::script::{
    Ends, Scenario, Side, State, Step, hex_to_bytes, settled, to_hex, without_time,
};

pub(crate) struct Router {
    names: [String; 3],
    /// Sends and receives frames.
    injector: Talk,
    /// A shell in the router's namespace: entering it anew for each command would take most of the time.
    shell: Talk,
    started: Instant,
    seen: Counted,
    lines: Vec<String>,
    changed: Vec<(String, String)>,
}

/// Packets by state, and all.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counted([u64; 5]);

/// Hardware addresses of both ends of both links.
const MAC_A: &str = "02:00:00:00:01:02";
const MAC_RA: &str = "02:00:00:00:01:01";
const MAC_B: &str = "02:00:00:00:02:02";
const MAC_RB: &str = "02:00:00:00:02:01";

fn tool(line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Router {
    /// `None` where there is no kernel to ask; the reason has been printed.
    pub(crate) fn start() -> Option<Router> {
        match Router::build() {
            Ok(router) => Some(router),
            Err(reason) => {
                eprintln!("skipped, no kernel to compare with: {reason}");
                None
            }
        }
    }

    fn build() -> Result<Router, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = format!("pwct{}-{count}", std::process::id());
        let names = ["a", "b", "r"].map(|end| format!("{prefix}{end}"));
        for need in ["conntrack -V", "python3 --version", "iptables-legacy --version"] {
            tool(need)?;
        }
        let wired = wire(&names);
        let ready = wired.and_then(|()| Router::inject(names.clone()));
        if ready.is_err() {
            for name in &names {
                let _ = tool(&format!("ip netns del {name}"));
            }
        }
        ready
    }

    fn inject(names: [String; 3]) -> Result<Router, String> {
        let mut injector = Talk::start(
            Command::new("python3").args(["-c", include_str!("inject.py")]).args(&names),
        )?;
        if injector.line().is_none_or(|line| line.trim() != "ready") {
            return Err("raw sockets cannot be opened".to_string());
        }
        let shell = Talk::start(Command::new("ip").args(["netns", "exec", &names[2], "sh"]))?;
        let started = Instant::now();
        let (seen, lines, changed) = (Counted::default(), Vec::new(), Vec::new());
        Ok(Router { names, injector, shell, started, seen, lines, changed })
    }

    /// Runs a command in the router's namespace; says what it prints.
    fn here(&mut self, command: &str) -> Vec<String> {
        self.shell.ask(&format!("{command}\necho .\n"))
    }

    pub(crate) fn now(&self) -> base::Instant {
        base::Instant::from_micros(self.started.elapsed().as_micros() as u64)
    }

    pub(crate) fn begin(&mut self, scenario: &Scenario) {
        for (name, value) in std::mem::take(&mut self.changed) {
            self.here(&format!("sysctl -qw net.netfilter.{name}={value}"));
        }
        let rules = super::ours::ruleset(scenario, true);
        let said = self.here(&format!(
            "iptables-legacy-restore <<'END' && conntrack -F 2>/dev/null && echo done\n{rules}END"
        ));
        assert_eq!(said, ["done"], "{rules}");
        self.seen = Counted::default();
        self.lines.clear();
        self.injector.ask("recv\n");
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let before = self.here(&format!("sysctl -n net.netfilter.{name}")).concat();
        self.changed.push((name.to_string(), before));
        self.here(&format!("sysctl -qw net.netfilter.{name}={value}"));
    }

    /// How many packets have been seen as what, and the lines of `conntrack -L`; both by one process, since
    /// starting them is what takes the time.
    fn looked(&mut self) -> (Counted, Vec<String>) {
        let both = self.here("iptables-legacy-save -c -t mangle; conntrack -L 2>/dev/null");
        let packets =
            both.iter().filter_map(|line| line.strip_prefix('[')?.split_once(':')?.0.parse().ok());
        let mut counted = Counted::default();
        counted.0.iter_mut().zip(packets).for_each(|(to, from)| *to = from);
        let listed = both.into_iter().filter(|line| line.contains(" src=")).collect();
        (counted, listed)
    }

    /// Sends a packet through the router, and says what became of it.
    pub(crate) fn pass(&mut self, side: Side, packet: &Packet, step: &Step) -> (Said, Vec<u64>) {
        let (name, to, from) = match side {
            Side::A => ("A", MAC_RA, MAC_A),
            Side::B => ("B", MAC_RB, MAC_B),
        };
        let mac = |text: &str| text.replace(':', "");
        let frame = format!("{name} {}{}0800{}\n", mac(to), mac(from), to_hex(packet.bytes()));
        self.injector.ask(&frame);
        let before = self.seen;
        let limit = Instant::now() + Duration::from_secs(2);
        while self.seen.0[4] == before.0[4] {
            (self.seen, self.lines) = self.looked();
            assert!(Instant::now() < limit, "the packet did not come in: {}", step.text);
        }
        let states = [State::New, State::Established, State::Related, State::Invalid];
        let at = (0..4).find(|&at| self.seen.0[at] != before.0[at]).unwrap();
        let sent = self.injector.ask("recv\n").into_iter().next().map(|line| {
            let (name, frame) = line.split_once(' ').unwrap();
            let side = if name == "A" { Side::A } else { Side::B };
            (side, settled(&hex_to_bytes(frame)[14..]))
        });
        let (lines, times) = split(self.lines.iter().map(String::as_str));
        (Said { state: states[at], lines, sent }, times)
    }

    /// Runs the real `conntrack`: what it prints, and its exit code.
    pub(crate) fn program(&self, args: &[&str]) -> (String, String, i32) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.names[2], "conntrack"])
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
    }

    /// The ends that answers have, as the kernel says.
    pub(crate) fn reply_tuple(&self) -> Option<Ends> {
        let line = self.lines.first()?;
        let last = |name: &str| {
            line.split_whitespace()
                .rev()
                .find_map(|word| word.strip_prefix(name))
                .map(str::to_string)
        };
        let (src, dst) = (last("src=")?.parse().ok()?, last("dst=")?.parse().ok()?);
        let port = |name: &str| last(name).and_then(|port| port.parse::<u16>().ok());
        let sport = port("sport=").or_else(|| port("id=")).unwrap_or(0);
        Some((src, dst, sport, port("dport=").unwrap_or(0)))
    }
}

/// A process that is told lines and answers with lines, the last of them a dot.
struct Talk {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Talk {
    fn start(command: &mut Command) -> Result<Talk, String> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().map_err(|error| format!("{error}"))?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Talk { child, to, from })
    }

    /// The next line; none when the process is gone.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let len = self.from.read_line(&mut line).ok()?;
        (len > 0).then_some(line)
    }

    fn ask(&mut self, text: &str) -> Vec<String> {
        self.to.write_all(text.as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            match self.line().expect("the other process is gone").trim_end() {
                "." => return lines,
                other => lines.push(other.to_string()),
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines without their times, and the times in the order of the sorted lines.
pub(crate) fn split<'a>(lines: impl Iterator<Item = &'a str>) -> (Vec<String>, Vec<u64>) {
    let mut both: Vec<(String, u64)> = lines.map(without_time).collect();
    both.sort();
    both.into_iter().unzip()
}

fn wire([a, b, r]: &[String; 3]) -> Result<(), String> {
    for name in [a, b, r] {
        tool(&format!("ip netns add {name}"))?;
    }
    let here = |line: &str| tool(&format!("ip netns exec {r} {line}")).map(drop);
    for (end, near, far, own, mac, net) in
        [(a, "ra", "a0", MAC_RA, MAC_A, "10.1.0"), (b, "rb", "b0", MAC_RB, MAC_B, "10.2.0")]
    {
        here(&format!(
            "ip link add {near} address {own} type veth peer name {far} address {mac} netns {end}"
        ))?;
        here(&format!("ip addr add {net}.1/24 dev {near}"))?;
        tool(&format!("ip netns exec {end} sysctl -qw net.ipv6.conf.{far}.disable_ipv6=1"))?;
        here(&format!("sysctl -qw net.ipv6.conf.{near}.disable_ipv6=1"))?;
        here(&format!("sysctl -qw net.ipv4.conf.{near}.rp_filter=0"))?;
        tool(&format!("ip netns exec {end} ip link set {far} up"))?;
        here(&format!("ip link set {near} up"))?;
        for host in 2..20 {
            here(&format!("ip neigh add {net}.{host} lladdr {mac} dev {near} nud permanent"))?;
        }
    }
    here("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0")?;
    here("sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.ra.send_redirects=0")?;
    here("sysctl -qw net.ipv4.conf.rb.send_redirects=0")
}

impl Drop for Router {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = tool(&format!("ip netns del {name}"));
        }
    }
}
