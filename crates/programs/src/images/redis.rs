//! Redis and what speaks like it: strings, numbers and lists in memory, over RESP2.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use base::Utc;
use netsim::{Host, TcpListener, TcpStream};

use super::Container;
use super::web::{GRACE, flag, keep, listen, port, until_asked};
use crate::log::Log;

const VERSION: &str = "7.4.2";
/// Bytes of a command; who sends more is not listened to.
const COMMAND_MAX: usize = 1024 * 1024;
/// Words of a command.
const WORDS_MAX: usize = 4096;
/// Keys, and items of a list.
const ITEMS_MAX: usize = 10_000;
/// Bytes of all keys and values together (`maxmemory`).
const MEMORY_MAX: usize = 16 * 1024 * 1024;

enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::List(list) => list.iter().map(Vec::len).sum(),
        }
    }
}

#[derive(Default)]
struct Store {
    values: BTreeMap<Vec<u8>, Value>,
    /// What the values take.
    bytes: usize,
    commands: u64,
    connections: u64,
}

type Shared = Rc<RefCell<Store>>;

/// What is said to a command.
enum Reply {
    Simple(&'static str),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    Nil,
    Many(Vec<Reply>),
}

impl Reply {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
            Reply::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Reply::Number(number) => out.extend(format!(":{number}\r\n").bytes()),
            Reply::Bulk(bytes) => {
                out.extend(format!("${}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Reply::Nil => out.extend(b"$-1\r\n"),
            Reply::Many(replies) => {
                out.extend(format!("*{}\r\n", replies.len()).bytes());
                replies.iter().for_each(|reply| reply.write(out));
            }
        }
    }
}

/// `redis-server [--port N] [--requirepass WORD]`
pub(super) async fn redis(host: Host, container: Container, log: Log) -> i32 {
    let words = container.words();
    let port = port(&container, "--port REDIS_PORT_NUMBER", 6379);
    let password = flag(&words, "requirepass").or_else(|| container.var("REDIS_PASSWORD"));
    let password: Option<Rc<str>> = password.map(Rc::from);
    let say = |role: char, text: &str| {
        let now = Utc::at(host.now());
        let date = now.http();
        // `Mon, 05 Jan 2026 09:00:00 GMT` → `05 Jan 2026 09:00:00.000`
        let date = date.get(5..25).unwrap_or_default();
        let millis = now.millis_of_day() % 1000;
        log.line(host.now(), format!("1:{role} {date}.{millis:03} {text}"));
    };
    say('C', "* oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    say(
        'C',
        &format!(
            "* Redis version={VERSION}, bits=64, commit=00000000, modified=0, pid=1, just started"
        ),
    );
    say(
        'C',
        match words.len() > 1 {
            true => "* Configuration loaded",
            false => {
                "# Warning: no config file specified, using the default config. In order to specify a config file use redis-server /path/to/redis.conf"
            }
        },
    );
    say('M', "* monotonic clock: POSIX clock_gettime");
    let complain =
        "# Warning: Could not create server TCP listening socket *:{port}: bind: {error}";
    let complain = complain.replace("{port}", &port.to_string());
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    say('M', &format!("* Running mode=standalone, port={port}."));
    say('M', "* Server initialized");
    say('M', "* Ready to accept connections tcp");
    keep(&host, accept(host.clone(), listener, Shared::default(), password));
    host.terminated().await;
    say('S', "* Received SIGTERM scheduling shutdown...");
    let code = until_asked(&host, GRACE).await;
    say('M', "# Redis is now ready to exit, bye bye...");
    code
}

async fn accept(host: Host, listener: TcpListener, store: Shared, password: Option<Rc<str>>) {
    while let Ok((stream, _)) = listener.accept().await {
        store.borrow_mut().connections += 1;
        let (store, password) = (store.clone(), password.clone());
        host.spawn(async move {
            let _ = converse(stream, store, password).await;
        });
    }
}

async fn converse(stream: TcpStream, store: Shared, password: Option<Rc<str>>) -> Option<()> {
    let mut received = Vec::new();
    let mut is_in = password.is_none();
    let mut buffer = [0; 4096];
    loop {
        match command(&received) {
            Ok(Some((words, used))) => {
                received.drain(..used);
                let Some(first) = words.first() else { continue };
                let name = String::from_utf8_lossy(first).to_ascii_uppercase();
                let reply = match name.as_str() {
                    "QUIT" => Reply::Simple("OK"),
                    "AUTH" => {
                        let given = words.last().map(Vec::as_slice).unwrap_or_default();
                        let fits = password.as_ref().is_some_and(|known| known.as_bytes() == given);
                        is_in |= fits;
                        match (fits, &password) {
                            (true, _) => Reply::Simple("OK"),
                            (false, None) => Reply::Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into()),
                            (false, Some(_)) => Reply::Error("WRONGPASS invalid username-password pair or user is disabled.".into()),
                        }
                    }
                    _ if !is_in => Reply::Error("NOAUTH Authentication required.".into()),
                    name => store.borrow_mut().run(name, words.get(1..).unwrap_or_default()),
                };
                let mut out = Vec::new();
                reply.write(&mut out);
                stream.write_all(&out).await.ok()?;
                if name == "QUIT" {
                    return None;
                }
            }
            Ok(None) => {
                let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
                received.extend_from_slice(buffer.get(..read)?);
            }
            Err(why) => {
                let text = format!("-ERR Protocol error: {why}\r\n");
                stream.write_all(text.as_bytes()).await.ok()?;
                return None;
            }
        }
    }
}

/// The words of a command, and the bytes they took.
type Command = (Vec<Vec<u8>>, usize);

/// The next command; `None` while it is not all there.
fn command(bytes: &[u8]) -> Result<Option<Command>, &'static str> {
    if bytes.len() > COMMAND_MAX {
        return Err("too big mbulk count string");
    }
    let line = |at: usize| -> Option<(&[u8], usize)> {
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest.get(..end)?;
        Some((line.strip_suffix(b"\r").unwrap_or(line), at + end + 1))
    };
    let number = |text: &[u8]| -> Option<usize> { std::str::from_utf8(text).ok()?.parse().ok() };
    let Some((first, mut at)) = line(0) else { return Ok(None) };
    let Some(count) = first.strip_prefix(b"*") else {
        // A line as people type it.
        let words = first.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    };
    let count = number(count).filter(|count| *count <= WORDS_MAX);
    let count = count.ok_or("invalid multibulk length")?;
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((head, after)) = line(at) else { return Ok(None) };
        let len = head.strip_prefix(b"$").ok_or("expected '$'")?;
        let len = number(len).filter(|len| *len <= COMMAND_MAX).ok_or("invalid bulk length")?;
        let Some(word) = bytes.get(after..after + len) else { return Ok(None) };
        if bytes.len() < after + len + 2 {
            return Ok(None);
        }
        words.push(word.to_vec());
        at = after + len + 2;
    }
    Ok(Some((words, at)))
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const NO_NUMBER: &str = "ERR value is not an integer or out of range";

/// How many words a command takes after its name, at least and at most.
const ARITY: &str = "APPEND 2 2;CLIENT 0 9;COMMAND 0 9;CONFIG 1 9;DBSIZE 0 0;DECR 1 1;DECRBY 2 2;DEL 1 99;ECHO 1 1;\
    EXISTS 1 99;EXPIRE 2 3;FLUSHALL 0 1;FLUSHDB 0 1;GET 1 1;GETSET 2 2;HELLO 0 9;INCR 1 1;INCRBY 2 2;INFO 0 9;KEYS 1 1;\
    LLEN 1 1;LPOP 1 2;LPUSH 2 99;LRANGE 3 3;MGET 1 99;MSET 2 99;PING 0 1;ROLE 0 0;RPOP 1 2;RPUSH 2 99;SELECT 1 1;\
    SET 2 9;SETNX 2 2;STRLEN 1 1;TIME 0 0;TTL 1 1;TYPE 1 1";

impl Store {
    fn run(&mut self, name: &str, args: &[Vec<u8>]) -> Reply {
        self.commands += 1;
        let known = ARITY.split(';').find_map(|row| {
            let mut row = row.split_whitespace();
            (row.next() == Some(name)).then(|| {
                let mut number = || row.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                (number(), number())
            })
        });
        let Some((least, most)) = known else {
            let shown = args.iter().take(3).map(|a| format!("'{}' ", String::from_utf8_lossy(a)));
            let shown: String = shown.collect();
            return Reply::Error(format!(
                "ERR unknown command '{name}', with args beginning with: {shown}"
            ));
        };
        if !(least..=most).contains(&args.len()) {
            let name = name.to_ascii_lowercase();
            return Reply::Error(format!("ERR wrong number of arguments for '{name}' command"));
        }
        self.answer(name, args).unwrap_or_else(Reply::Error)
    }

    fn answer(&mut self, name: &str, args: &[Vec<u8>]) -> Result<Reply, String> {
        let first = args.first().map(Vec::as_slice).unwrap_or_default();
        let second = args.get(1).map(Vec::as_slice).unwrap_or_default();
        Ok(match name {
            "PING" if args.is_empty() => Reply::Simple("PONG"),
            "PING" | "ECHO" => Reply::Bulk(first.to_vec()),
            "SELECT" | "CLIENT" | "FLUSHALL" | "FLUSHDB" => {
                if name.starts_with("FLUSH") {
                    self.values.clear();
                    self.bytes = 0;
                }
                Reply::Simple("OK")
            }
            "COMMAND" | "CONFIG" => Reply::Many(Vec::new()),
            "HELLO" if first == b"3" => Reply::Error("NOPROTO unsupported protocol version".into()),
            "HELLO" => {
                let text = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
                Reply::Many(vec![
                    text("server"),
                    text("redis"),
                    text("version"),
                    text(VERSION),
                    text("proto"),
                    Reply::Number(2),
                    text("mode"),
                    text("standalone"),
                    text("role"),
                    text("master"),
                ])
            }
            "DBSIZE" => Reply::Number(self.values.len() as i64),
            "INFO" => Reply::Bulk(self.info().into_bytes()),
            "ROLE" => Reply::Many(vec![
                Reply::Bulk(b"master".to_vec()),
                Reply::Number(0),
                Reply::Many(Vec::new()),
            ]),
            "TIME" => return Err("ERR TIME is not supported by podwire".to_string()),
            "GET" => self.text(first)?.map_or(Reply::Nil, Reply::Bulk),
            "STRLEN" => Reply::Number(self.text(first)?.map_or(0, |text| text.len()) as i64),
            "MGET" => {
                let value =
                    |key: &Vec<u8>| self.text(key).ok().flatten().map_or(Reply::Nil, Reply::Bulk);
                Reply::Many(args.iter().map(value).collect())
            }
            "SET" => self.set_with(first, second, args.get(2..).unwrap_or_default())?,
            "MSET" => {
                for pair in args.chunks_exact(2) {
                    if let [key, value] = pair {
                        self.put(key, Value::Text(value.clone()))?;
                    }
                }
                Reply::Simple("OK")
            }
            "SETNX" => {
                let is_new = !self.values.contains_key(first);
                if is_new {
                    self.put(first, Value::Text(second.to_vec()))?;
                }
                Reply::Number(i64::from(is_new))
            }
            "GETSET" => {
                let old = self.text(first)?.map_or(Reply::Nil, Reply::Bulk);
                self.put(first, Value::Text(second.to_vec()))?;
                old
            }
            "APPEND" => {
                let mut text = self.text(first)?.unwrap_or_default();
                text.extend_from_slice(second);
                let len = text.len() as i64;
                self.put(first, Value::Text(text))?;
                Reply::Number(len)
            }
            "INCR" => self.add(first, 1)?,
            "DECR" => self.add(first, -1)?,
            "INCRBY" | "DECRBY" => {
                let by = integer(second)?;
                self.add(first, if name == "INCRBY" { by } else { by.saturating_neg() })?
            }
            "EXISTS" => Reply::Number(
                args.iter().filter(|key| self.values.contains_key(*key)).count() as i64,
            ),
            "DEL" => Reply::Number(args.iter().filter(|key| self.remove(key)).count() as i64),
            "TTL" => Reply::Number(if self.values.contains_key(first) { -1 } else { -2 }),
            "EXPIRE" => return Err("ERR EXPIRE is not supported by podwire".to_string()),
            "TYPE" => Reply::Simple(match self.values.get(first) {
                Some(Value::Text(_)) => "string",
                Some(Value::List(_)) => "list",
                None => "none",
            }),
            "KEYS" => {
                let keys = self.values.keys().filter(|key| fits(first, key));
                Reply::Many(keys.map(|key| Reply::Bulk(key.clone())).collect())
            }
            _ => return self.list(name, first, args.get(1..).unwrap_or_default()),
        })
    }

    fn list(&mut self, name: &str, key: &[u8], rest: &[Vec<u8>]) -> Result<Reply, String> {
        if matches!(name, "LPUSH" | "RPUSH") && !self.values.contains_key(key) {
            self.put(key, Value::List(VecDeque::new()))?;
        }
        let mut none = VecDeque::new();
        let list = match self.values.get_mut(key) {
            Some(Value::List(list)) => list,
            Some(Value::Text(_)) => return Err(WRONG_TYPE.to_string()),
            None => &mut none,
        };
        Ok(match name {
            "LPUSH" | "RPUSH" => {
                let more: usize = rest.iter().map(Vec::len).sum();
                let is_too_much = list.len() + rest.len() > ITEMS_MAX;
                if is_too_much || self.bytes + more > MEMORY_MAX {
                    if list.is_empty() {
                        self.values.remove(key);
                    }
                    return Err(FULL.to_string());
                }
                self.bytes += more;
                for item in rest {
                    match name {
                        "LPUSH" => list.push_front(item.clone()),
                        _ => list.push_back(item.clone()),
                    }
                }
                Reply::Number(list.len() as i64)
            }
            "LPOP" | "RPOP" => {
                let count = rest.first().map(|count| integer(count)).transpose()?;
                let mut items = Vec::new();
                while i64::try_from(items.len()).is_ok_and(|had| had < count.unwrap_or(1)) {
                    let item = if name == "LPOP" { list.pop_front() } else { list.pop_back() };
                    let Some(item) = item else { break };
                    self.bytes -= item.len();
                    items.push(Reply::Bulk(item));
                }
                if list.is_empty() {
                    self.remove(key);
                }
                match (count, items.is_empty()) {
                    (_, true) => Reply::Nil,
                    (Some(_), false) => Reply::Many(items),
                    (None, false) => items.pop().unwrap_or(Reply::Nil),
                }
            }
            "LLEN" => Reply::Number(list.len() as i64),
            _ => {
                let len = list.len() as i64;
                let at = |text: Option<&Vec<u8>>| -> Result<i64, String> {
                    let at = integer(text.map(Vec::as_slice).unwrap_or_default())?;
                    Ok(if at < 0 { at.saturating_add(len) } else { at })
                };
                let (from, to) = (at(rest.first())?.max(0), at(rest.get(1))?);
                let chosen = (0_i64..).zip(&*list).filter(|(n, _)| (from..=to).contains(n));
                Reply::Many(chosen.map(|(_, item)| Reply::Bulk(item.clone())).collect())
            }
        })
    }

    fn text(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::List(_)) => Err(WRONG_TYPE.to_string()),
            None => Ok(None),
        }
    }

    fn put(&mut self, key: &[u8], value: Value) -> Result<(), String> {
        let old = self.values.get(key).map(Value::size);
        let bytes = self.bytes - old.unwrap_or(0) + value.size();
        let is_too_long = matches!(&value, Value::Text(text) if text.len() > COMMAND_MAX);
        let are_too_many = old.is_none() && self.values.len() >= ITEMS_MAX;
        if is_too_long || are_too_many || bytes > MEMORY_MAX {
            return Err(FULL.to_string());
        }
        self.bytes = bytes;
        self.values.insert(key.to_vec(), value);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.values.remove(key);
        self.bytes -= removed.as_ref().map_or(0, Value::size);
        removed.is_some()
    }

    fn set_with(&mut self, key: &[u8], value: &[u8], how: &[Vec<u8>]) -> Result<Reply, String> {
        let has = |word: &str| how.iter().any(|given| given.eq_ignore_ascii_case(word.as_bytes()));
        let known = ["NX", "XX", "KEEPTTL"];
        let is_known =
            |word: &&Vec<u8>| known.iter().any(|k| word.eq_ignore_ascii_case(k.as_bytes()));
        if let Some(word) = how.iter().find(|word| !is_known(word)) {
            let word = String::from_utf8_lossy(word).to_ascii_uppercase();
            return Err(format!("ERR SET {word} is not supported by podwire"));
        }
        let is_there = self.values.contains_key(key);
        if has("NX") && is_there || has("XX") && !is_there {
            return Ok(Reply::Nil);
        }
        self.put(key, Value::Text(value.to_vec()))?;
        Ok(Reply::Simple("OK"))
    }

    fn add(&mut self, key: &[u8], by: i64) -> Result<Reply, String> {
        let now = match self.text(key)? {
            Some(text) => integer(&text)?,
            None => 0,
        };
        let sum = now.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
        self.put(key, Value::Text(sum.to_string().into_bytes()))?;
        Ok(Reply::Number(sum))
    }

    fn info(&self) -> String {
        format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nos:Linux 6.12.0-podwire x86_64\r\narch_bits:64\r\nprocess_id:1\r\n\r\n# Clients\r\nconnected_clients:1\r\n\r\n# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n{}",
            self.connections,
            self.commands,
            match self.values.len() {
                0 => String::new(),
                keys => format!("db0:keys={keys},expires=0,avg_ttl=0\r\n"),
            }
        )
    }
}

fn integer(text: &[u8]) -> Result<i64, String> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| NO_NUMBER.to_string())
}

/// `*` stands for anything.
fn fits(pattern: &[u8], key: &[u8]) -> bool {
    let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'*').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == key };
    let Some(mut rest) = key.strip_prefix(*first) else { return false };
    for part in middle.iter().filter(|part| !part.is_empty()) {
        match rest.windows(part.len()).position(|window| window == *part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(lines: &[&str]) -> String {
        let mut store = Store::default();
        let mut out = Vec::new();
        for line in lines {
            let (words, _) = command(format!("{line}\r\n").as_bytes()).unwrap().unwrap();
            let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
            store.run(&name, &words[1..]).write(&mut out);
        }
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn it_counts_and_remembers() {
        assert_eq!(talk(&["ping", "INCR n", "incrby n 4", "GET n"]), "+PONG :1 :5 $1 5 ");
        assert_eq!(talk(&["GET x", "SET x a", "SET x b NX", "GET x"]), "$-1 +OK $-1 $1 a ");
        assert_eq!(
            talk(&["RPUSH l a b c", "LPOP l", "LRANGE l 0 -1", "GET l"]),
            format!(":3 $1 a *2 $1 b $1 c -{WRONG_TYPE} ")
        );
        assert_eq!(
            talk(&["GET", "NOPE a"]),
            "-ERR wrong number of arguments for 'get' command \
             -ERR unknown command 'NOPE', with args beginning with: 'a'  "
        );
        assert_eq!(
            talk(&["RPUSH l a b c", "LPOP l 2", "LPOP l 2", "LPOP l 2"]),
            ":3 *2 $1 a $1 b *1 $1 c $-1 "
        );
        assert_eq!(talk(&["SET a 1 EX 9"]), "-ERR SET EX is not supported by podwire ");
        assert_eq!(talk(&["MSET a1 1 b1 2 ab 3", "KEYS a*"]), "+OK *2 $2 a1 $2 ab ");
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut store = Store::default();
        let big = vec![b'x'; COMMAND_MAX];
        let push = |store: &mut Store, key: &str| {
            matches!(store.run("RPUSH", &[key.into(), big.clone()]), Reply::Number(_))
        };
        let pushed = (0..20).filter(|_| push(&mut store, "a")).count();
        assert_eq!(pushed, MEMORY_MAX / COMMAND_MAX);
        assert!(!push(&mut store, "b"));
        store.run("RPOP", &[b"a".to_vec()]);
        assert!(push(&mut store, "b"));
        store.run("DEL", &[b"a".to_vec(), b"b".to_vec()]);
        assert_eq!((store.bytes, store.values.len()), (0, 0));
    }

    #[test]
    fn commands_come_in_pieces_and_may_be_rubbish() {
        let whole = b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n";
        for cut in 1..whole.len() {
            assert_eq!(command(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(command(whole).unwrap().unwrap().1, whole.len());
        assert!(command(b"*1\r\n$99999999999\r\n").is_err());
        assert!(command(b"*-1\r\n").is_err());
        assert!(command(b"*1\r\nx\r\n").is_err());
    }
}
