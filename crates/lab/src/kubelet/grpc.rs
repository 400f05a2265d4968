//! gRPC probes (`pkg/probe/grpc/grpc.go`).

use std::net::SocketAddrV4;

use base::Duration;
use netsim::Host;
use netsim::exec;
use programs::grpc::{self, SERVING, Status};

use super::containers::span;
use super::probes::{AGENT, Answer};

/// Asks a server for its health. For `timeout` it is tried to get a connection: whatever stands in the way is not
/// told.
pub(super) async fn probe(
    host: &Host,
    addr: SocketAddrV4,
    service: &str,
    timeout: Duration,
) -> Answer {
    let end = host.now() + timeout;
    let (until, limit) = (|| host.net().sleep_until(end), span(timeout));
    let Some(connection) = exec::timeout(until(), grpc::connect(host, addr)).await else {
        return Answer::Bad(format!(
            "timeout: failed to connect service \"{addr}\" within {limit}: context deadline exceeded"
        ));
    };
    let checking = grpc::check(connection, service, AGENT, end - host.now());
    let why = match exec::timeout(until(), checking).await {
        None => format!("timeout: health rpc did not complete within {limit}"),
        Some(Ok(SERVING)) => return Answer::Good,
        Some(Ok(status)) => {
            let name = grpc::serving_name(status);
            format!("service unhealthy (responded with \"{name}\")")
        }
        Some(Err(Status { code: Status::UNIMPLEMENTED, message })) => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ),
        Some(Err(status)) => format!("error: health rpc probe failed: {}", status.error()),
    };
    Answer::Bad(why)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv4Addr;
    use std::rc::Rc;

    use netsim::{Cause, Sim};
    use programs::grpc::http2::{kind, put, put_headers};

    use super::*;

    const AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000);

    /// What a probe comes to of a server that says this to everybody, and how many milliseconds it takes.
    fn probed(says: Vec<u8>) -> (Answer, u128) {
        let sim = Sim::new(1);
        let ns = sim.net().add_namespace("machine");
        sim.net().start(ns, "server", Cause(0), |host| async move {
            let listener = host.listen(AT).unwrap();
            let mut streams = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.write_all(&says).await.unwrap();
                streams.push(stream);
            }
            0
        });
        let (said, begun) = (Rc::new(RefCell::new(None)), sim.net().now());
        let slot = said.clone();
        sim.net().start(ns, "probe", Cause(1), |host| async move {
            let answer = probe(&host, AT, "", Duration::from_millis(1500)).await;
            *slot.borrow_mut() = Some((answer, (host.now() - begun).as_millis()));
            0
        });
        while sim.step(begun + Duration::from_secs(9)) {}
        said.take().expect("the probe has ended")
    }

    #[test]
    fn it_is_told_apart_what_the_time_has_gone_into() {
        let bad = |why: &str| Answer::Bad(why.to_string());
        let silent = "timeout: failed to connect service \"127.0.0.1:5000\" within 1.5s: context deadline exceeded";
        assert_eq!(probed(Vec::new()), (bad(silent), 1500));
        let mut says = Vec::new();
        put(&mut says, kind::SETTINGS, 0, 0, &[]);
        let slow = "timeout: health rpc did not complete within 1.5s";
        assert_eq!(probed(says.clone()), (bad(slow), 1500));
        let other = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "12"),
            ("grpc-message", "unknown service grpc.health.v1.Health"),
        ];
        put_headers(&mut says, 1, true, &other);
        let none = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): \
            unknown service grpc.health.v1.Health";
        assert_eq!(probed(says), (bad(none), 0));
    }
}
