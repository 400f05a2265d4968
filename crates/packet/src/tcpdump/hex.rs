//! `-x`, `-X` and `-A`.

use std::fmt::Write;

use super::Dump;

/// Columns that sixteen bytes take in hexadecimal.
const WIDTH: usize = 40;

pub(super) fn dump(out: &mut String, kind: Dump, bytes: &[u8]) {
    match kind {
        Dump::None => {}
        Dump::Hex => hex(out, bytes, false),
        Dump::HexAscii => hex(out, bytes, true),
        Dump::Ascii => ascii(out, bytes),
    }
}

/// Lines of sixteen bytes, each after a newline and a tab.
pub(super) fn hex(out: &mut String, bytes: &[u8], with_ascii: bool) {
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let mut digits = String::with_capacity(WIDTH);
        for pair in chunk.chunks(2) {
            digits.push(' ');
            for byte in pair {
                let _ = write!(digits, "{byte:02x}");
            }
        }
        let _ = write!(out, "\n\t0x{:04x}: ", line * 16);
        if !with_ascii {
            out.push_str(&digits);
            continue;
        }
        let text: String = chunk.iter().map(|byte| visible(*byte)).collect();
        let _ = write!(out, "{digits:WIDTH$}  {text}");
    }
}

fn visible(byte: u8) -> char {
    if byte.is_ascii_graphic() { char::from(byte) } else { '.' }
}

/// Text as it is, with its newlines; a carriage return is left out at the end of a line,
/// and where only one byte follows.
fn ascii(out: &mut String, bytes: &[u8]) {
    out.push('\n');
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        match byte {
            b'\r' if after.len() > 1 && after.first() != Some(&b'\n') => out.push('.'),
            b'\r' => {}
            b'\n' | b'\t' | b' ' => out.push(char::from(*byte)),
            byte => out.push(visible(*byte)),
        }
        rest = after;
    }
}
