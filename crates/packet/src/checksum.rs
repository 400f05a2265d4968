//! The Internet checksum.

use std::net::Ipv4Addr;

/// The one's complement sum of `bytes` on top of `initial`, not yet folded (RFC 1071).
pub fn sum(initial: u32, bytes: &[u8]) -> u32 {
    let mut sum = u64::from(initial);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        // `chunks_exact(4)` yields four bytes; the pattern keeps the access checked without a panic path.
        if let [a, b, c, d] = *word {
            sum += u64::from(u32::from_be_bytes([a, b, c, d]));
        }
    }
    match *words.remainder() {
        [a] => sum += u64::from(u16::from_be_bytes([a, 0])),
        [a, b] => sum += u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => {
            sum += u64::from(u16::from_be_bytes([a, b])) + u64::from(u16::from_be_bytes([c, 0]));
        }
        _ => {}
    }
    // Fold to 32 bits with end-around carry; 32-bit words and 16-bit words sum to the same modulo 65535.
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    u32::from(fold(sum as u32))
}

/// Folds a sum to 16 bits with end-around carry.
#[inline]
pub fn fold(sum: u32) -> u16 {
    // The first carry may make another, the second cannot.
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum field for `bytes` whose checksum field holds zero.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(0, bytes))
}

/// The sum over the pseudo header of TCP and UDP (RFC 9293 §3.1, RFC 768).
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u32 {
    let sum = sum(0, &src.octets());
    let sum = self::sum(sum, &dst.octets());
    sum + u32::from(protocol) + u32::from(len)
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624 §3, equation 3).
#[inline]
pub fn adjust(check: u16, old: u16, new: u16) -> u16 {
    adjust_by(check, change(old, new))
}

/// What a change of one 16-bit word from `old` to `new` adds to a sum; a few of these may be added up.
#[inline]
pub fn change(old: u16, new: u16) -> u32 {
    u32::from(!old) + u32::from(new)
}

/// What a change of an address adds to a sum.
#[inline]
pub fn change_of_addr(old: Ipv4Addr, new: Ipv4Addr) -> u32 {
    let [old, new] = [u32::from(old), u32::from(new)];
    change((old >> 16) as u16, (new >> 16) as u16) + change(old as u16, new as u16)
}

/// The checksum after changes that add `changes` to the sum. Folding once for all of them is folding after each:
/// a sum is zero only if all that was added was.
#[inline]
pub fn adjust_by(check: u16, changes: u32) -> u16 {
    !fold(u32::from(!check) + changes)
}

/// The checksum after a stretch of whole words changed, given the [`sum`]s of what was there and what is.
pub fn adjust_sum(check: u16, before: u32, after: u32) -> u16 {
    !fold(u32::from(!check) + u32::from(!fold(before)) + u32::from(fold(after)))
}

/// Whether an SCTP packet's CRC32c is right; true for what is too short to have one.
pub fn sctp_ok(packet: &[u8]) -> bool {
    let Some((head, rest)) = packet.split_at_checked(12) else { return true };
    let field = head.get(8..12).unwrap_or_default();
    field == sctp_crc(head, rest).to_le_bytes()
}

/// Fills in the CRC32c of an SCTP packet (RFC 9260 §6.8).
pub fn fill_sctp(packet: &mut [u8]) {
    let Some((head, rest)) = packet.split_at_checked(12) else { return };
    let crc = sctp_crc(head, rest);
    if let Some(field) = packet.get_mut(8..12) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Over the header with its checksum field taken as zero, and the rest.
fn sctp_crc(head: &[u8], rest: &[u8]) -> u32 {
    let crc = crc32c(!0, head.get(..8).unwrap_or_default());
    !crc32c(crc32c(crc, &[0; 4]), rest)
}

/// CRC32c (Castagnoli, reflected) without the final complement.
fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        crc = (crc >> 8) ^ CRC32C.get(index as usize).copied().unwrap_or_default();
    }
    crc
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1624_section_4_worked_example() {
        // The example whose result RFC 1141's formula gets wrong: it must be 0x0000, not 0xffff.
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        let mut packet = [7; 20];
        fill_sctp(&mut packet);
        assert!(sctp_ok(&packet));
        packet[0] ^= 1;
        assert!(!sctp_ok(&packet));
    }

    proptest! {
        #[test]
        fn adjusting_equals_recomputing(mut bytes in prop::collection::vec(any::<u8>(), 2..80), new: u16, at: prop::sample::Index) {
            bytes[0] |= 1; // the all-zero packet has two checksums; real headers are never all zero
            let at = at.index(bytes.len()).div_ceil(2) * 2;
            prop_assume!(at + 2 <= bytes.len() && at > 0);
            let before = of(&bytes);
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(adjust(before, old, new), of(&bytes));
        }

        #[test]
        fn sums_of_parts_make_the_sum_of_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..64), cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1) / 2 * 2;
            let parts = sum(sum(0, &bytes[..cut]), &bytes[cut..]);
            prop_assert_eq!(fold(parts), fold(sum(0, &bytes)));
        }
    }
}
