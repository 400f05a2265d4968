//! nft's tokens.

use super::error::Failure;

/// Where something stands in the text: its first byte, and the one behind its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub from: u32,
    /// Behind the last byte.
    pub to: u32,
}

impl Span {
    /// From the beginning of this one to the end of another.
    pub fn to(self, end: Span) -> Span {
        Span { from: self.from, to: end.to.max(self.to) }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Begins with a letter.
    Word(String),
    /// Begins with a digit: a number, an address, a time.
    Number(String),
    /// In quotes.
    Quoted(String),
    /// A sign of punctuation.
    Sign(&'static str),
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// Signs, longer ones first.
const SIGNS: [&str; 29] = [
    "==", "!=", "<=", ">=", "<<", ">>", "&&", "{", "}", "(", ")", "[", "]", ";", ",", ":", ".",
    "=", "<", ">", "&", "|", "^", "~", "!", "@", "$", "-", "+",
];

impl Token {
    /// What nft's parser calls it.
    pub fn name(&self) -> String {
        match self {
            Token::Word(word) if is_keyword(word) => word.clone(),
            Token::Word(_) => "string".to_string(),
            Token::Number(text) if text.contains('.') => "string".to_string(),
            Token::Number(text)
                if text.starts_with(|c: char| c.is_ascii_digit())
                    && super::value::parse_number(text).is_none() =>
            {
                "string".to_string()
            }
            Token::Number(_) => "number".to_string(),
            Token::Quoted(_) => "quoted string".to_string(),
            Token::Sign(";") => "semicolon".to_string(),
            Token::Sign(sign) => match *sign {
                "," => "comma".to_string(),
                ":" => "colon".to_string(),
                "." => ".".to_string(),
                "=" => "=".to_string(),
                "-" => "-".to_string(),
                "/" => "/".to_string(),
                "@" => "@".to_string(),
                other => format!("'{other}'"),
            },
            Token::Newline => "newline".to_string(),
            Token::End => "end of file".to_string(),
        }
    }
}

/// Words that the parser knows, and that cannot be names.
const KEYWORDS: &str = " table chain rule set map element counter quota limit flowtable ruleset tables chains \
    sets maps counters add create insert replace delete destroy flush list reset rename get describe monitor import export \
    include define undefine redefine type typeof hook priority policy handle index position comment flags timeout \
    gc-interval elements size ip ip6 inet arp bridge netdev tcp udp sctp dccp th icmp icmpv6 ether vlan meta ct fib \
    numgen jhash symhash vmap jump goto accept drop continue return reject snat dnat masquerade redirect log notrack \
    update saddr daddr sport dport protocol ttl length mark iif iifname oif oifname l4proto nfproto pkttype skuid \
    skgid state status direction original reply expiration packets bytes random inc mod offset to with tcp-reset over rate burst \
    name devices device interval constant dynamic auto-merge performance memory dscp version id code sequence \
    and or xor eq ne lt gt le ge prefix level group snaplen queue-threshold persistent fully-random reset \
    dormant expires cgroupv2 socket osf rt ipsec dup fwd synproxy queue exists missing all options ";

fn is_keyword(word: &str) -> bool {
    KEYWORDS.split_ascii_whitespace().any(|known| known == word)
}

/// Takes a text apart.
pub fn tokens(text: &str) -> Result<Vec<(Token, Span)>, Failure> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let from = at;
        match byte {
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => {
                at += 2;
                continue;
            }
            b'#' => {
                at =
                    bytes.iter().skip(at).position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
                continue;
            }
            _ => {}
        }
        let token = match byte {
            b'\n' => {
                at += 1;
                Token::Newline
            }
            b'"' => {
                let body = text.get(at + 1..).unwrap_or_default();
                let Some(len) =
                    body.find(['"', '\n']).filter(|len| body.as_bytes().get(*len) == Some(&b'"'))
                else {
                    return Err(Failure::syntax("unexpected junk", span(from, from + 1)));
                };
                at += len + 2;
                Token::Quoted(body.get(..len).unwrap_or_default().to_string())
            }
            _ if byte.is_ascii_alphabetic() || byte == b'_' => {
                at = end_of(bytes, at, |b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b));
                // The beginning of a name, for any that begins so.
                at += usize::from(bytes.get(at) == Some(&b'*'));
                Token::Word(text.get(from..at).unwrap_or_default().to_string())
            }
            _ if byte.is_ascii_digit() => {
                at = end_of(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'.');
                Token::Number(text.get(from..at).unwrap_or_default().to_string())
            }
            b'/' => {
                at += 1;
                Token::Sign("/")
            }
            b'*' => {
                at += 1;
                Token::Sign("*")
            }
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                    Some(sign) => {
                        at += sign.len();
                        Token::Sign(sign)
                    }
                    None => {
                        let len = rest.chars().next().map_or(1, char::len_utf8);
                        return Err(Failure::syntax("unexpected junk", span(from, from + len)));
                    }
                }
            }
        };
        found.push((token, span(from, at)));
    }
    found.push((Token::End, span(bytes.len(), bytes.len() + 1)));
    Ok(found)
}

fn end_of(bytes: &[u8], from: usize, is_part: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.iter().skip(from);
    rest.copied().position(|byte| !is_part(byte)).map_or(bytes.len(), |len| from + len)
}

fn span(from: usize, to: usize) -> Span {
    Span { from: from as u32, to: to as u32 }
}
