//! `ip neigh`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use netsim::neigh::NeighState;

use super::link::mac;
use super::{Answer, Call, Fail, address, garbage, is, unknown};

pub(super) fn run(mut call: Call<'_>) -> Answer {
    let verb = call.next().unwrap_or("show");
    match verb {
        _ if is(verb, "add") => put(call, (false, true)),
        _ if is(verb, "change") || verb == "chg" => put(call, (true, false)),
        _ if is(verb, "replace") => put(call, (true, true)),
        _ if is(verb, "delete") => delete(call),
        _ if is(verb, "flush") => flush(call),
        _ if is(verb, "show") || is(verb, "list") || verb == "lst" => show(call),
        "get" => Err(Fail::unsupported("'ip neigh get'")),
        _ => Err(unknown(verb, "neigh")),
    }
}

fn state(text: &str) -> Result<NeighState, Fail> {
    NeighState::of_name(text).ok_or_else(|| Fail::wrong(text, "nud state is bad"))
}

fn show(mut call: Call<'_>) -> Answer {
    let (mut dev, mut only, mut to) = (None, None, None);
    while let Some(word) = call.next() {
        match word {
            "dev" => {
                let name = call.value()?;
                call.device(name)?;
                dev = Some(name);
            }
            "nud" => only = Some(state(call.value()?)?),
            "to" => to = Some(super::prefix(call.value()?)?),
            word => to = Some(super::prefix(word)?),
        }
    }
    let mut out = String::new();
    for neighbour in call.net.neighbours(call.ns) {
        let is_shown = dev.is_none_or(|dev| dev == neighbour.dev)
            && to.is_none_or(|to| to.contains(neighbour.addr))
            && match only {
                Some(only) => only == neighbour.state,
                None => neighbour.state != NeighState::NoArp,
            };
        if !is_shown {
            continue;
        }
        let _ = write!(out, "{} ", neighbour.addr);
        if dev.is_none() {
            let _ = write!(out, "dev {} ", neighbour.dev);
        }
        if let Some(mac) = neighbour.mac {
            let _ = write!(out, "lladdr {mac} ");
        }
        let _ = writeln!(out, "{} ", neighbour.state.name());
    }
    Ok(out)
}

fn both(dev: Option<&str>, addr: Option<Ipv4Addr>) -> Result<(&str, Ipv4Addr), Fail> {
    let missing = || Fail("Device and destination are required arguments.".into(), 255);
    dev.zip(addr).ok_or_else(missing)
}

fn put(mut call: Call<'_>, may: (bool, bool)) -> Answer {
    call.change()?;
    let (mut addr, mut dev, mut lladdr, mut nud) = (None, None, None, NeighState::Permanent);
    while let Some(word) = call.next() {
        match word {
            "dev" => dev = Some(call.value()?),
            "lladdr" => lladdr = Some(call.value()?),
            "nud" => nud = state(call.value()?)?,
            "proxy" | "router" | "use" | "managed" | "extern_learn" | "protocol" => {
                return Err(Fail::unsupported(&format!("'ip neigh … {word}'")));
            }
            "to" => addr = Some(address(call.value()?)?),
            word if addr.is_none() => addr = Some(address(word)?),
            word => return Err(garbage("to", word)),
        }
    }
    let (dev, addr) = both(dev, addr)?;
    let read =
        |text: &str| mac(text).ok_or_else(|| Fail(format!("\"{text}\" is invalid lladdr."), 1));
    let lladdr = lladdr.map(read).transpose()?;
    let id = call.device(dev)?;
    call.net.put_neighbour(id, addr, (lladdr, nud), may)?;
    Ok(String::new())
}

fn delete(mut call: Call<'_>) -> Answer {
    call.change()?;
    let (mut addr, mut dev) = (None, None);
    while let Some(word) = call.next() {
        match word {
            "dev" => dev = Some(call.value()?),
            "lladdr" | "nud" => drop(call.value()?),
            "to" => addr = Some(address(call.value()?)?),
            word if addr.is_none() => addr = Some(address(word)?),
            word => return Err(garbage("to", word)),
        }
    }
    let (dev, addr) = both(dev, addr)?;
    let id = call.device(dev)?;
    call.net.remove_neighbour(id, addr)?;
    Ok(String::new())
}

fn flush(mut call: Call<'_>) -> Answer {
    let (mut dev, mut to, mut is_given) = (None, None, false);
    while let Some(word) = call.next() {
        is_given = true;
        match word {
            "dev" => dev = Some(call.device_value()?),
            "to" => to = Some(super::prefix(call.value()?)?),
            "nud" => return Err(Fail::unsupported("'ip neigh flush nud'")),
            "all" => {}
            word => to = Some(super::prefix(word)?),
        }
    }
    if !is_given {
        return Err(Fail("Flush requires arguments.".into(), 1));
    }
    call.change()?;
    call.net.flush_neighbours(call.ns, |at, addr| {
        dev.is_none_or(|dev| dev == at) && to.is_none_or(|to| to.contains(addr))
    });
    Ok(String::new())
}
