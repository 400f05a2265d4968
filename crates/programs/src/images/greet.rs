//! Databases and other servers of which only the port and the first answer are there.

use std::rc::Rc;

use base::Utc;
use netsim::{Host, TcpListener, TcpStream};

use super::Container;
use super::web::{GRACE, keep, listen, port, until_asked};
use crate::log::Log;

/// Bytes of what a client says that are looked at.
const ASKED_MAX: usize = 16 * 1024;

/// What is said to a client.
enum Reply {
    Say(Vec<u8>),
    /// And then the connection is closed.
    Last(Vec<u8>),
    /// Not yet: more is needed.
    Wait,
}

/// A server.
pub(super) struct Server {
    /// Repositories, without their registry; the first port is decided by `from`.
    names: &'static str,
    ports: &'static [u16],
    from: &'static str,
    /// What it says when somebody has come.
    greeting: fn() -> Vec<u8>,
    /// What it says to what somebody has said.
    answer: fn(&[u8]) -> Reply,
    /// Without one of these variables it does not start.
    wants: &'static str,
    /// What it says then.
    complaint: &'static str,
    /// What it prints when it is ready; `{port}` is filled in.
    ready: &'static str,
}

const NOTHING: Server = Server {
    names: "",
    ports: &[],
    from: "",
    greeting: Vec::new,
    answer: |_| Reply::Wait,
    wants: "",
    complaint: "",
    ready: "",
};

const SERVERS: &[Server] = &[
    Server {
        names: "mysql percona percona/percona-server bitnami/mysql mysql/mysql-server",
        ports: &[3306, 33060],
        from: "--port",
        greeting: || mysql_greeting("8.4.5"),
        answer: mysql_answer,
        wants: "MYSQL_ROOT_PASSWORD MYSQL_ALLOW_EMPTY_PASSWORD MYSQL_RANDOM_ROOT_PASSWORD MYSQL_ROOT_PASSWORD_FILE ALLOW_EMPTY_PASSWORD",
        complaint: "{plus} [ERROR] [Entrypoint]: Database is uninitialized and password option is not specified\n    \
            You need to specify one of the following as an environment variable:\n    - MYSQL_ROOT_PASSWORD\n    \
            - MYSQL_ALLOW_EMPTY_PASSWORD\n    - MYSQL_RANDOM_ROOT_PASSWORD",
        ready: "{iso} 0 [System] [MY-010931] [Server] /usr/sbin/mysqld: ready for connections. Version: '8.4.5'  socket: '/var/run/mysqld/mysqld.sock'  port: {port}  MySQL Community Server - GPL.",
    },
    Server {
        names: "mariadb bitnami/mariadb",
        ports: &[3306],
        from: "--port",
        greeting: || mysql_greeting("11.7.2-MariaDB-ubu2404"),
        answer: mysql_answer,
        wants: "MARIADB_ROOT_PASSWORD MARIADB_ALLOW_EMPTY_ROOT_PASSWORD MARIADB_RANDOM_ROOT_PASSWORD MARIADB_ROOT_PASSWORD_HASH MYSQL_ROOT_PASSWORD MYSQL_ALLOW_EMPTY_PASSWORD MYSQL_RANDOM_ROOT_PASSWORD ALLOW_EMPTY_PASSWORD",
        complaint: "{plus} [ERROR] [Entrypoint]: Database is uninitialized and password option is not specified\n\t\
            You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_HASH, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD",
        ready: "{space} 0 [Note] mariadbd: ready for connections.",
    },
    Server {
        names: "postgres postgis/postgis bitnami/postgresql timescale/timescaledb pgvector/pgvector",
        ports: &[5432],
        from: "PGPORT",
        answer: postgres_answer,
        wants: "POSTGRES_PASSWORD POSTGRES_HOST_AUTH_METHOD POSTGRES_PASSWORD_FILE POSTGRESQL_PASSWORD ALLOW_EMPTY_PASSWORD",
        complaint: "Error: Database is uninitialized and superuser password is not specified.\n       \
            You must specify POSTGRES_PASSWORD to a non-empty value for the\n       \
            superuser. For example, \"-e POSTGRES_PASSWORD=password\" on \"docker run\".\n\n       \
            You may also use \"POSTGRES_HOST_AUTH_METHOD=trust\" to allow all\n       \
            connections without a password. This is *not* recommended.\n\n       \
            See PostgreSQL documentation about \"trust\":\n       \
            https://www.postgresql.org/docs/current/auth-trust.html",
        ready: "{utc} [1] LOG:  listening on IPv4 address \"0.0.0.0\", port {port}\n{utc} [1] LOG:  database system is ready to accept connections",
        ..NOTHING
    },
    Server {
        names: "mongo bitnami/mongodb mongodb/mongodb-community-server",
        ports: &[27017],
        from: "--port",
        answer: mongo_answer,
        ready: "{\"s\":\"I\",\"c\":\"NETWORK\",\"id\":23016,\"ctx\":\"listener\",\"msg\":\"Waiting for connections\",\"attr\":{\"port\":{port},\"ssl\":\"off\"}}",
        ..NOTHING
    },
    Server {
        names: "memcached bitnami/memcached",
        ports: &[11211],
        from: "-p",
        answer: memcached_answer,
        ..NOTHING
    },
    Server {
        names: "rabbitmq bitnami/rabbitmq",
        ports: &[5672, 15692, 25672],
        answer: |asked| match asked.get(..8) {
            // Another version than ours, or no AMQP at all: which one is spoken here (AMQP 0-9-1 §4.2.2).
            Some(head) if head != b"AMQP\0\0\x09\x01" => Reply::Last(b"AMQP\0\0\x09\x01".to_vec()),
            _ => Reply::Wait,
        },
        ready: " Server startup complete; 4 plugins started.",
        ..NOTHING
    },
    Server {
        names: "zookeeper kubernetes-zookeeper bitnami/zookeeper confluentinc/cp-zookeeper",
        ports: &[2181, 2888, 3888],
        answer: |asked| match asked.get(..4) {
            Some(b"ruok") => Reply::Last(b"imok".to_vec()),
            Some(b"srvr") => Reply::Last(b"Zookeeper version: 3.9.3\nMode: standalone\n".to_vec()),
            Some(word @ (b"stat" | b"mntr" | b"conf" | b"cons" | b"dump")) => {
                let word = String::from_utf8_lossy(word);
                Reply::Last(
                    format!("{word} is not executed because it is not in the whitelist.\n")
                        .into_bytes(),
                )
            }
            _ => Reply::Wait,
        },
        ready: "{comma} [myid:1] - INFO  [main:o.a.z.s.NIOServerCnxnFactory@662] - binding to port 0.0.0.0/0.0.0.0:{port}",
        ..NOTHING
    },
    Server {
        names: "nats",
        ports: &[4222, 8222],
        from: "--port",
        greeting: || {
            b"INFO {\"server_id\":\"NPODWIRE\",\"server_name\":\"NPODWIRE\",\"version\":\"2.11.0\",\"proto\":1,\"host\":\"0.0.0.0\",\"port\":4222,\"headers\":true,\"max_payload\":1048576} \r\n".to_vec()
        },
        answer: |asked| {
            if asked.ends_with(b"PING\r\n") {
                Reply::Say(b"PONG\r\n".to_vec())
            } else {
                Reply::Wait
            }
        },
        ready: "[1] [INF] Server is ready",
        ..NOTHING
    },
    Server {
        names: "mailhog/mailhog axllent/mailpit",
        ports: &[1025, 8025],
        greeting: || b"220 mailhog.example ESMTP MailHog\r\n".to_vec(),
        answer: |asked| {
            if asked.ends_with(b"\n") {
                Reply::Say(b"500 Unrecognised command\r\n".to_vec())
            } else {
                Reply::Wait
            }
        },
        ..NOTHING
    },
    Server {
        names: "linuxserver/openssh-server",
        ports: &[2222],
        greeting: || b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        ..NOTHING
    },
    Server {
        names: "kafka apache/kafka bitnami/kafka confluentinc/cp-kafka",
        ports: &[9092],
        ..NOTHING
    },
    Server {
        names: "cassandra google-samples/cassandra bitnami/cassandra scylladb/scylla",
        ports: &[9042, 7000],
        ready: "INFO  [main] {comma} PipelineConfigurator.java:124 - Starting listening for CQL clients on /0.0.0.0:9042 (unencrypted)...",
        ..NOTHING
    },
    Server {
        names: "eclipse-mosquitto",
        ports: &[1883],
        ready: "mosquitto version 2.0.20 running",
        ..NOTHING
    },
];

/// Images that are not more than their ports here: `name port…`.
const PORTS: &str = "caddy 80 443;tomcat 8080;jetty 8080;jenkins/jenkins 8080 50000;grafana/grafana 3000;minio/minio 9000 9001;\
    wordpress 80;drupal 80;joomla 80;ghost 2368;nextcloud 80;phpmyadmin 80;adminer 8080;registry 5000;vault 8200;\
    hashicorp/vault 8200;consul 8500 8300 8301 8600;hashicorp/consul 8500 8300 8301 8600;kibana 5601;kibana/kibana 5601;\
    logstash 5044 9600;influxdb 8086;neo4j 7474 7687;couchdb 5984;haproxy 80;envoyproxy/envoy 10000 9901;traefik 80 8080;\
    prom/node-exporter 9100;prom/alertmanager 9093;keycloak/keycloak 8080;sonarqube 9000;gitea/gitea 3000 22;\
    google-samples/gb-frontend 80;google_samples/gb-frontend 80;azuredocs/azure-vote-front 80;\
    dockersamples/examplevotingapp_vote 80;dockersamples/examplevotingapp_result 80;guestbook 3000;\
    release/examples-bookinfo-productpage-v1 9080;release/examples-bookinfo-details-v1 9080;\
    release/examples-bookinfo-ratings-v1 9080;release/examples-bookinfo-reviews-v1 9080;\
    release/examples-bookinfo-reviews-v2 9080;release/examples-bookinfo-reviews-v3 9080";

/// The ports that an image is known to open.
pub(super) fn known_ports(repository: &str) -> Vec<u16> {
    let row = PORTS.split(';').find_map(|row| {
        let (name, ports) = row.trim().split_once(' ')?;
        (name == repository).then_some(ports)
    });
    row.into_iter().flat_map(str::split_whitespace).filter_map(|port| port.parse().ok()).collect()
}

/// The server of an image, if it is one of these.
pub(super) fn find(repository: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.names.split(' ').any(|name| name == repository))
}

/// Runs an image's server.
pub(super) async fn run(
    host: Host,
    container: Container,
    log: Log,
    server: &'static Server,
) -> i32 {
    let is_set = |name: &str| container.var(name).is_some_and(|value| !value.is_empty());
    if !server.wants.is_empty() && !server.wants.split(' ').any(is_set) {
        let complaint = dated(server.complaint, Utc::at(host.now()));
        complaint.lines().for_each(|line| log.line(host.now(), line));
        return 1;
    }
    let mut first = None;
    for (at, port_number) in server.ports.iter().enumerate() {
        let port = if at == 0 { port(&container, server.from, *port_number) } else { *port_number };
        first = first.or(Some(port));
        let complain = format!("listen tcp 0.0.0.0:{port}: bind: {{error}}");
        let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
        // Only the first port is the one that is known for its greeting.
        let speaks = if at == 0 { server } else { &NOTHING };
        keep(&host, accept(host.clone(), listener, speaks));
    }
    let ready = dated(server.ready, Utc::at(host.now()));
    let ready = ready.replace("{port}", &first.unwrap_or_default().to_string());
    ready.lines().for_each(|line| log.line(host.now(), line));
    until_asked(&host, GRACE).await
}

/// A text with the time in it, in the form that its program has.
fn dated(text: &str, now: Utc) -> String {
    let iso = now.rfc3339_micros();
    let plain = iso.get(..19).unwrap_or_default().replace('T', " ");
    let millis = iso.get(20..23).unwrap_or_default();
    text.replace("{iso}", &iso)
        .replace("{plus}", &format!("{plain}+00:00"))
        .replace("{space}", &plain)
        .replace("{utc}", &format!("{plain}.{millis} UTC"))
        .replace("{comma}", &format!("{plain},{millis}"))
}

async fn accept(host: Host, listener: TcpListener, server: &'static Server) {
    while let Ok((stream, _)) = listener.accept().await {
        let stream = Rc::new(stream);
        host.spawn(async move {
            let _ = converse(&stream, server).await;
        });
    }
}

async fn converse(stream: &TcpStream, server: &Server) -> Option<()> {
    stream.write_all(&(server.greeting)()).await.ok()?;
    let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        asked.extend_from_slice(buffer.get(..read)?);
        match (server.answer)(&asked) {
            Reply::Say(text) => {
                asked.clear();
                stream.write_all(&text).await.ok()?;
            }
            Reply::Last(text) => {
                stream.write_all(&text).await.ok()?;
                stream.shutdown();
                return None;
            }
            Reply::Wait if asked.len() > ASKED_MAX => return None,
            Reply::Wait => {}
        }
    }
}

/// A packet of MySQL's protocol: its length, its number, its content.
fn mysql_packet(number: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = (content.len() as u32).to_le_bytes()[..3].to_vec();
    packet.push(number);
    packet.extend_from_slice(content);
    packet
}

/// The handshake (`Protocol::HandshakeV10`).
fn mysql_greeting(version: &str) -> Vec<u8> {
    let mut content = vec![10];
    content.extend(version.bytes());
    // Connection 8, a salt, capabilities without TLS, utf8mb4, autocommit.
    content.extend([0, 8, 0, 0, 0]);
    content.extend(b"Pw1r3ng!\0");
    content.extend([0xff, 0xf7, 0xff, 0x02, 0x00, 0xff, 0xdf, 21]);
    content.extend([0; 10]);
    content.extend(b"lab0f1packet\0caching_sha2_password\0");
    mysql_packet(0, &content)
}

/// Whoever logs in is not let in (error 1045).
fn mysql_answer(asked: &[u8]) -> Reply {
    let len =
        asked.get(..3).map(|len| len.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)));
    if len.is_none_or(|len| asked.len() < len + 4) {
        return Reply::Wait;
    }
    // The name of the user begins after capabilities, sizes and 23 bytes of nothing.
    let user = asked.get(36..).unwrap_or_default().split(|byte| *byte == 0).next();
    let user = String::from_utf8_lossy(user.unwrap_or_default()).into_owned();
    let mut content = vec![0xff, 0x15, 0x04];
    content.extend(format!("#28000Access denied for user '{user}' (using password: YES)").bytes());
    Reply::Last(mysql_packet(2, &content))
}

/// TLS is declined; whoever begins is asked for a password (`AuthenticationSASL`).
fn postgres_answer(asked: &[u8]) -> Reply {
    let number = |at: usize| -> Option<u32> {
        asked.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
    };
    let (Some(len), Some(code)) = (number(0), number(4)) else { return Reply::Wait };
    match code {
        80_877_103 | 80_877_104 => Reply::Say(b"N".to_vec()),
        196_608.. if asked.len() >= len as usize => {
            let mechanism = b"SCRAM-SHA-256\0\0";
            let mut answer = vec![b'R'];
            answer.extend((mechanism.len() as u32 + 8).to_be_bytes());
            answer.extend(10_u32.to_be_bytes());
            answer.extend(mechanism);
            Reply::Say(answer)
        }
        _ if len > 10_000 => Reply::Last(Vec::new()),
        _ => Reply::Wait,
    }
}

fn mongo_answer(asked: &[u8]) -> Reply {
    if !asked.starts_with(b"GET ") {
        return Reply::Wait;
    }
    let text =
        "It looks like you are trying to access MongoDB over HTTP on the native driver port.\r\n";
    Reply::Last(format!("HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes())
}

fn memcached_answer(asked: &[u8]) -> Reply {
    let Some(line) = asked.strip_suffix(b"\n") else { return Reply::Wait };
    let line = String::from_utf8_lossy(line);
    match line.split_whitespace().next() {
        Some("version") => Reply::Say(b"VERSION 1.6.38\r\n".to_vec()),
        Some("get" | "gets" | "stats") => Reply::Say(b"END\r\n".to_vec()),
        Some("quit") => Reply::Last(Vec::new()),
        Some("set" | "add") => {
            Reply::Say(b"SERVER_ERROR storing is not supported by podwire\r\n".to_vec())
        }
        _ => Reply::Say(b"ERROR\r\n".to_vec()),
    }
}
