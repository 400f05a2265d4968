//! HPACK: header fields in few bytes (RFC 7541). All of it is read; what is written are literals in plain
//! bytes, which no peer has to remember.

use std::collections::VecDeque;

use super::take;
use crate::http::Headers;

/// Bytes that the fields of one message may take, each counted with 32 more (RFC 9113 §6.5.2); and bytes of
/// the block that they are read from.
pub const FIELDS_MAX: usize = 16 * 1024;
/// Bytes that remembered fields may take (RFC 9113 §6.5.2, `SETTINGS_HEADER_TABLE_SIZE`).
const TABLE_MAX: usize = 4096;
/// What a field takes besides its name and value (RFC 7541 §4.1).
const FIELD: usize = 32;

/// The static table, from index 1 on (RFC 7541, appendix A).
const STATIC: &str = ":authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate";
/// Its length.
const STATIC_LEN: usize = 61;

/// The bits of the Huffman code of every byte, as characters from `0` on; the last is the end of the string
/// (RFC 7541, appendix B). Codes of one length follow each other in the order of their bytes, after all that
/// are shorter, so that the lengths say everything.
const BITS: &[u8; 257] =
    b"=GLLLLLLLHNLLNLLLLLLLLNLLLLLLLLL6::<=68;::8;8666555666666678?6<:=67777777777777777777777878=C=>6?565\
    65666577666567655677777?;>=LDFDDFFFGFGGGGGHGHHFGHGGGGEFGFGGHFEDFFGGEGFFHEFGGEEFEGFGGDFFFGFFGJJDCFGFI\
    JJJKKJHICEJKKJKHEEJJLKKKDHDEFEEGFFIIHHJGJKJJKKKKKLKKKKKJN";
/// The longest code.
const BITS_MAX: usize = 30;

/// Reads the fields of one direction of a connection, and remembers what it is told to.
#[derive(Debug)]
pub struct Decoder {
    /// The youngest is the first.
    remembered: VecDeque<(String, String)>,
    size: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { remembered: VecDeque::new(), size: 0, limit: TABLE_MAX }
    }
}

impl Decoder {
    /// The fields of a block. `None`: it is malformed, or there are more than [`FIELDS_MAX`]; after that nothing
    /// can be read any more.
    pub fn read(&mut self, block: &[u8]) -> Option<Headers> {
        let mut fields = Headers::default();
        let (mut rest, mut size) = (block, 0);
        while let Some(first) = take(&mut rest, 1) {
            let first = *first.first()?;
            // A new limit stands at the beginning (§4.2, §6.3).
            if first & 0xe0 == 0x20 {
                let limit = number(&mut rest, first, 5)?;
                if limit > TABLE_MAX || size > 0 {
                    return None;
                }
                self.limit = limit;
                self.forget(0);
                continue;
            }
            // A field of a table (§6.1), a literal to be remembered (§6.2.1) or one that is not (§6.2.2, §6.2.3).
            let bits = if first & 0x80 != 0 {
                7
            } else if first & 0x40 != 0 {
                6
            } else {
                4
            };
            let index = number(&mut rest, first, bits)?;
            let (name, value) = match (bits, index) {
                (7, _) => self.field(index)?,
                (_, 0) => (text(&mut rest)?, text(&mut rest)?),
                _ => (self.field(index)?.0, text(&mut rest)?),
            };
            size += name.len() + value.len() + FIELD;
            if size > FIELDS_MAX {
                return None;
            }
            if bits == 6 {
                self.remember(&name, &value);
            }
            fields.push(&name, value);
        }
        Some(fields)
    }

    /// A field of the static table, or one that is remembered (§2.3.3).
    fn field(&self, index: usize) -> Option<(String, String)> {
        if index > STATIC_LEN {
            return self.remembered.get(index - STATIC_LEN - 1).cloned();
        }
        let line = STATIC.split('\n').nth(index.checked_sub(1)?)?;
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        Some((name.to_string(), value.to_string()))
    }

    fn remember(&mut self, name: &str, value: &str) {
        let size = name.len() + value.len() + FIELD;
        self.forget(size);
        // One that is longer than all that may be remembered only empties the table (§4.4).
        if size <= self.limit {
            self.size += size;
            self.remembered.push_front((name.to_string(), value.to_string()));
        }
    }

    /// Makes room.
    fn forget(&mut self, room: usize) {
        while self.size + room > self.limit
            && let Some((name, value)) = self.remembered.pop_back()
        {
            self.size -= name.len() + value.len() + FIELD;
        }
    }
}

/// A number of which the lowest `bits` bits of `first` are the beginning (§5.1).
fn number(rest: &mut &[u8], first: u8, bits: u32) -> Option<usize> {
    let all = (1 << bits) - 1;
    let mut number = usize::from(first) & all;
    if number < all {
        return Some(number);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *take(rest, 1)?.first()?;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A string, in plain bytes or Huffman's (§5.2).
fn text(rest: &mut &[u8]) -> Option<String> {
    let first = *take(rest, 1)?.first()?;
    let len = number(rest, first, 7)?;
    let bytes = take(rest, len)?;
    let plain = if first & 0x80 == 0 { bytes.to_vec() } else { unpack(bytes)? };
    Some(String::from_utf8_lossy(&plain).into_owned())
}

/// What Huffman's codes stand for.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    // How many codes have how many bits, and the bytes in the order of their codes.
    let mut counts = [0u32; BITS_MAX + 1];
    let mut order = Vec::with_capacity(BITS.len());
    for (bits, count) in counts.iter_mut().enumerate() {
        for (byte, known) in BITS.iter().enumerate() {
            if usize::from(*known - b'0') == bits {
                order.push(byte);
                *count += 1;
            }
        }
    }
    let mut out = Vec::new();
    let (mut code, mut bits, mut first, mut at) = (0u32, 0, 0, 0);
    let mut is_padding = true;
    for bit in packed.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        (code, bits) = (code << 1 | u32::from(bit), bits + 1);
        is_padding &= bit == 1;
        first <<= 1;
        let count = *counts.get(bits)?;
        if code - first < count {
            // The end of a string is not written (§5.2).
            let byte = *order.get((at + code - first) as usize)?;
            out.push(u8::try_from(byte).ok()?);
            (code, bits, first, at, is_padding) = (0, 0, 0, 0, true);
        } else {
            (first, at) = (first + count, at + count);
        }
    }
    // The rest of the last byte is the beginning of that end.
    (bits < 8 && is_padding).then_some(out)
}

/// Writes a field as a literal (§6.2.2).
pub fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        let mut len = text.len();
        if len < 0x7f {
            out.push(len as u8);
        } else {
            out.push(0x7f);
            len -= 0x7f;
            while len >= 0x80 {
                out.push(len as u8 | 0x80);
                len >>= 7;
            }
            out.push(len as u8);
        }
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// What a decoder makes of some blocks one after the other, and what it remembers in the end.
    fn read(limit: usize, blocks: &[&str]) -> String {
        let mut decoder = Decoder { limit, ..Decoder::default() };
        let mut out = String::new();
        for block in blocks {
            for (name, value) in decoder.read(&bytes(block)).unwrap().0 {
                out += &format!("{name}: {value}\n");
            }
            out += "--\n";
        }
        for (name, value) in &decoder.remembered {
            out += &format!("[{name}: {value}]\n");
        }
        out + &format!("{}\n", decoder.size)
    }

    #[test]
    fn the_specification_s_requests_plain_and_in_huffman_s_codes() {
        // RFC 7541, C.3 and C.4.
        let plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ];
        let packed = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ];
        let read_plain = read(TABLE_MAX, &plain);
        expect![[r#"
            :method: GET
            :scheme: http
            :path: /
            :authority: www.example.com
            --
            :method: GET
            :scheme: http
            :path: /
            :authority: www.example.com
            cache-control: no-cache
            --
            :method: GET
            :scheme: https
            :path: /index.html
            :authority: www.example.com
            custom-key: custom-value
            --
            [custom-key: custom-value]
            [cache-control: no-cache]
            [:authority: www.example.com]
            164
        "#]]
        .assert_eq(&read_plain);
        assert_eq!(read(TABLE_MAX, &packed), read_plain);
    }

    #[test]
    fn the_specification_s_responses_of_which_the_oldest_fields_are_forgotten() {
        // RFC 7541, C.6.
        let blocks = [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ];
        expect![[r#"
            :status: 302
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:21 GMT
            location: https://www.example.com
            --
            :status: 307
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:21 GMT
            location: https://www.example.com
            --
            :status: 200
            cache-control: private
            date: Mon, 21 Oct 2013 20:13:22 GMT
            location: https://www.example.com
            content-encoding: gzip
            set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1
            --
            [set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1]
            [content-encoding: gzip]
            [date: Mon, 21 Oct 2013 20:13:22 GMT]
            215
        "#]]
        .assert_eq(&read(256, &blocks));
    }

    /// All bytes from 0 to 255 as python-hyper's hpack 4.2 packs them.
    const PACKED: &str = "ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffebfffffecfff \
        ffedfffffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3fffffe7fffffebfffffed \
        4fe3f9ffaffcabf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58f265cd9f469d5af66dddbf871e5f9c \
        ff7ff7fffc3ff9ffe45fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7ffbffdffffffcfffe6ffff4bfff9ffffa3fffd3ff \
        ff53fffd5ffffb3fffeb7fffdaffffb7ffff73fffeeffffdeffffebffffbfffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1fff \
        fe4fffee7fffb1ffff97fffd9ffffcdffff9fffffbffffdafffeeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1f \
        ffdfffff7fffff5ffffecffff07fff87fffe0ffff17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1f \
        ffff83ffffe1fffebfffe3ffff3fffff2ffffa3ffffd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8ffff \
        fe6fffffc1fffff87ffffe7fffffc5ffffe5fffe4ffff2fffffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdff \
        ff4ffff9ffffd1ffffcffffeaffffafffffddffffeffffff4fffff5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fff \
        ffd3fffffabfffff5fffffff7ffffecfffffdbfffffbbfffff7ffffff0fffffbbf";

    #[test]
    fn every_byte_has_its_code() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unpack(&bytes(PACKED)), Some(all));
        // As many codes as there can be: none could be added, none is the beginning of another.
        let room: u64 =
            BITS.iter().map(|bits| 1 << (BITS_MAX as u64 - u64::from(bits - b'0'))).sum();
        assert_eq!(room, 1 << BITS_MAX);
        assert_eq!(STATIC.split('\n').count(), STATIC_LEN);
    }

    #[test]
    fn strings_end_with_the_beginning_of_their_end_and_with_nothing_else() {
        assert_eq!(unpack(&bytes("1f")), Some(b"a".to_vec()), "three bits of padding");
        assert_eq!(unpack(&bytes("18")), None, "which are not all set");
        assert_eq!(unpack(&bytes("1fff")), None, "more than a byte of it");
        assert_eq!(unpack(&bytes("ffffffff")), None, "the end itself");
        assert_eq!(unpack(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_malformed_or_too_much_is_refused() {
        let refuses = |block: &str| Decoder::default().read(&bytes(block)).is_none();
        for block in [
            "80",
            "be",
            "c0",
            "40",
            "400161",
            "40026162",
            "0085ffffffffff",
            "3fe21f",
            "823f00",
            "7fffffffffff00",
        ] {
            assert!(refuses(block), "{block}");
        }
        assert!(!refuses("3fe11f"), "the limit as it is");
        // A field of 4,000 bytes, and then one byte for each time that it is meant again.
        let mut long = vec![0x40];
        let mut field = Vec::new();
        put(&mut field, "x", &"y".repeat(4000));
        long.extend_from_slice(&field[1..]);
        let mut decoder = Decoder::default();
        assert_eq!(decoder.read(&long).unwrap().get("x").map(str::len), Some(4000));
        assert_eq!(decoder.read(&[0xbe; 4]).unwrap().0.len(), 4);
        assert!(decoder.read(&[0xbe; 5]).is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut block = Vec::new();
        let fields = [
            ("a", String::new()),
            ("grpc-message", "é".repeat(63)),
            ("b", "x".repeat(126)),
            ("c", "x".repeat(127)),
            ("d", "x".repeat(3000)),
        ];
        for (name, value) in &fields {
            put(&mut block, name, value);
        }
        let mut decoder = Decoder::default();
        let read = decoder.read(&block).unwrap();
        assert_eq!(read.0, fields.map(|(name, value)| (name.to_string(), value)));
        assert!(decoder.remembered.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_none(blocks: [Vec<u8>; 4]) {
            let mut decoder = Decoder::default();
            for block in &blocks {
                let _ = decoder.read(block);
                let size: usize = decoder.remembered.iter().map(|(name, value)| name.len() + value.len() + FIELD).sum();
                prop_assert!(size == decoder.size && size <= TABLE_MAX);
            }
        }
    }
}
