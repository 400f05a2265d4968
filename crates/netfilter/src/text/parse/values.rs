//! Names, numbers and addresses in a command.

use super::*;

pub(super) fn plain_target(name: &str) -> Target {
    match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "RETURN" => Target::Return,
        _ => Target::Jump(name.into()),
    }
}

/// All addresses are as good as none, unless they are excluded.
pub(super) fn wanted_address(
    mask: Option<AddrMask>,
    not: Option<&bool>,
) -> Option<Wanted<AddrMask>> {
    let not = not.copied().unwrap_or(false);
    mask.map(|value| Wanted { not, value }).filter(|w| w.value.mask != 0 || w.not)
}

pub(super) fn rule_number(word: &str) -> Result<u32, ParseError> {
    let number = parse_number(word).filter(|number| (1..=i32::MAX as u32).contains(number));
    number.ok_or_else(|| ParseError::new(format!("Invalid rule number `{word}'")))
}

/// The name after `-N` (`parse_chain`).
pub(super) fn check_chain_name(name: &str) -> Result<(), ParseError> {
    if name.len() >= NAME_MAX {
        return Err(ParseError::new(format!(
            "chain name `{name}' too long (must be under {NAME_MAX} chars)"
        )));
    }
    if let Some(first @ ('-' | '!')) = name.chars().next() {
        return Err(ParseError::new(format!("chain name not allowed to start with `{first}'")));
    }
    if ext::is_target(name) {
        return Err(ParseError::new("chain name may not clash with target name"));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(ParseError::new(format!("Invalid chain name `{name}'")));
    }
    Ok(())
}

/// The name after `-j` (`xt_parse_target`).
pub(super) fn check_target_name(name: &str) -> Result<(), ParseError> {
    if name.is_empty() {
        return Err(ParseError::new("Invalid target name (too short)"));
    }
    if name.len() >= NAME_MAX {
        return Err(ParseError::new(format!("Invalid target name `{name}' (28 chars max)")));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(ParseError::new(format!("Invalid target name `{name}'")));
    }
    Ok(())
}

/// `-c 5 100` or `-c 5,100`.
pub(super) fn counters(value: &str, words: &mut Words<'_>) -> Result<Counters, ParseError> {
    // The comma is looked for after the first character.
    let comma = value.char_indices().skip(1).find(|(_, c)| *c == ',');
    let bytes = match comma {
        Some((at, _)) => value.get(at + 1..),
        None => words.argument(),
    };
    let bytes = bytes.ok_or_else(|| ParseError::new("-c requires packet and byte counter"))?;
    let number = |text: &str, what: &str| {
        let digits = text.trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number = digits.get(..end).and_then(|digits| digits.parse::<u64>().ok());
        number.ok_or_else(|| ParseError::new(format!("-c {what} counter not numeric")))
    };
    Ok(Counters { packets: number(value, "packet")?, bytes: number(bytes, "byte")? })
}

/// The pattern after `-i` and the like.
pub(crate) fn interface(text: &str) -> Result<IfPattern, ParseError> {
    if text.len() > IFNAME_MAX {
        return Err(ParseError::new(format!(
            "interface name `{text}' must be shorter than IFNAMSIZ ({IFNAME_MAX})"
        )));
    }
    Ok(IfPattern::new(text))
}

/// `10.0.0.0/8,192.168.1.1`
pub(super) fn addresses(text: &str) -> Result<Vec<AddrMask>, ParseError> {
    text.split(',').map(|part| parse_addr_mask(part.trim_start())).collect()
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10/8`.
pub fn parse_addr_mask(text: &str) -> Result<AddrMask, ParseError> {
    let (addr, mask) = match text.rsplit_once('/') {
        Some((addr, mask)) => (addr, Some(mask)),
        None => (text, None),
    };
    let mask = match mask {
        None => u32::MAX,
        Some(mask) => match (parse_number(mask), mask.parse::<Ipv4Addr>()) {
            (Some(len @ 0..=32), _) => AddrMask::prefix(Ipv4Addr::UNSPECIFIED, len as u8).mask,
            (_, Ok(mask)) => u32::from(mask),
            _ => return Err(ParseError::new(format!("invalid mask `{mask}' specified"))),
        },
    };
    let addr = parse_addr(addr)
        .ok_or_else(|| ParseError::new(format!("host/network `{addr}' not found")))?;
    Ok(AddrMask { addr: Ipv4Addr::from(u32::from(addr) & mask), mask })
}

/// An address; the last numbers may be left out, and are then zero.
pub(super) fn parse_addr(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    if let [one] = parts.as_slice()
        && let Some(big) = parse_u64(one)
        && big > 255
    {
        return u32::try_from(big).ok().map(Ipv4Addr::from);
    }
    if parts.len() > 4 {
        return None;
    }
    let mut octets = [0; 4];
    for (octet, part) in octets.iter_mut().zip(&parts) {
        *octet = u8::try_from(parse_u64(part)?).ok()?;
    }
    Some(Ipv4Addr::from(octets))
}
