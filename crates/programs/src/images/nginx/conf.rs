//! nginx's configuration: text to directives, as `ngx_conf_file.c` reads it.

use std::rc::Rc;

use crate::files::Files;

/// Directives within each other at most.
const DEPTH_MAX: usize = 16;
/// Bytes of all files together.
const SIZE_MAX: usize = 1024 * 1024;

/// A line or a block of the configuration. A block that is copied is not held twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Rc<[Directive]>,
    /// ` in /etc/nginx/nginx.conf:3`, as complaints end.
    pub(super) place: String,
}

impl Directive {
    /// The first value.
    pub(super) fn value(&self) -> &str {
        self.args.first().map(String::as_str).unwrap_or_default()
    }

    /// The directives of a name in this block.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.block.iter().filter(move |directive| directive.name == name)
    }

    /// The last directive of a name in this block.
    pub(super) fn get(&self, name: &str) -> Option<&Directive> {
        self.block.iter().rev().find(|directive| directive.name == name)
    }
}

/// A word, or one of `;`, `{`, `}`, and its line.
enum Token {
    Word(String),
    Sign(char),
}

fn tokens(text: &str) -> Vec<(Token, usize)> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' | '}' => tokens.push((Token::Sign(c), line)),
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(next) = chars.next().filter(|next| *next != c) {
                    line += usize::from(next == '\n');
                    match next {
                        '\\' => word.push(escaped(chars.next())),
                        next => word.push(next),
                    }
                }
                tokens.push((Token::Word(word), line));
            }
            c => {
                let mut word = String::from(c);
                // `${name}` is part of a word.
                let ends = |c: &char| c.is_whitespace() || matches!(c, ';' | '{' | '}');
                loop {
                    if word.ends_with('$') && chars.peek() == Some(&'{') {
                        for next in chars.by_ref() {
                            word.push(next);
                            if next == '}' {
                                break;
                            }
                        }
                    }
                    match chars.next_if(|c| !ends(c)) {
                        Some(next) => word.push(next),
                        None => break,
                    }
                }
                tokens.push((Token::Word(word), line));
            }
        }
    }
    tokens.push((Token::Sign('\0'), line));
    tokens
}

/// What stands for a character after a backslash.
fn escaped(c: Option<char>) -> char {
    match c {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some(c) => c,
        None => '\\',
    }
}

/// Reads files, and what they include.
pub(super) struct Reader<'a> {
    files: &'a Files,
    read: usize,
    /// The block of all that have none.
    nothing: Rc<[Directive]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a Files) -> Reader<'a> {
        Reader { files, read: 0, nothing: Rc::default() }
    }

    /// The directives of a file.
    pub(super) fn file(&mut self, path: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let content = self
            .files
            .read(path)
            .ok_or_else(|| format!("open() \"{path}\" failed (2: No such file or directory)"))?;
        self.read += content.len();
        if depth > DEPTH_MAX || self.read > SIZE_MAX {
            return Err(format!("too many includes in {path}"));
        }
        let text = String::from_utf8_lossy(&content);
        let mut tokens = tokens(&text).into_iter();
        let block = self.block(&mut tokens, path, depth, false)?;
        Ok(block)
    }

    fn block(
        &mut self,
        tokens: &mut std::vec::IntoIter<(Token, usize)>,
        path: &str,
        depth: usize,
        is_inner: bool,
    ) -> Result<Vec<Directive>, String> {
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        while let Some((token, line)) = tokens.next() {
            let sign = match token {
                Token::Word(word) => {
                    words.push(word);
                    continue;
                }
                Token::Sign(sign) => sign,
            };
            let place = format!(" in {path}:{line}");
            let is_empty = words.is_empty();
            match sign {
                ';' | '{' if is_empty => return Err(format!("unexpected \"{sign}\"{place}")),
                '}' if !is_empty || !is_inner => return Err(format!("unexpected \"}}\"{place}")),
                '}' => return Ok(directives),
                '\0' if is_inner || !is_empty => {
                    let wanted = if is_empty { "\"}\"" } else { "\";\" or \"}\"" };
                    return Err(format!("unexpected end of file, expecting {wanted}{place}"));
                }
                '\0' => return Ok(directives),
                _ => {}
            }
            let args = words.split_off(1);
            let name = words.pop().unwrap_or_default();
            if sign == '{' && depth >= DEPTH_MAX {
                return Err(format!("too many blocks{place}"));
            }
            let block = match sign {
                '{' => self.block(tokens, path, depth + 1, true)?.into(),
                _ => self.nothing.clone(),
            };
            if name == "include" {
                for file in self.included(args.first().map(String::as_str).unwrap_or_default()) {
                    let included = self.file(&file, depth + 1);
                    directives.extend(included.map_err(|why| match why.starts_with("open()") {
                        true => why + &place,
                        false => why,
                    })?);
                }
                continue;
            }
            directives.push(Directive { name, args, block, place });
        }
        Ok(directives)
    }

    /// The files that a pattern means: `conf.d/*.conf`.
    fn included(&self, pattern: &str) -> Vec<String> {
        let pattern = match pattern.starts_with('/') {
            true => pattern.to_string(),
            false => format!("/etc/nginx/{pattern}"),
        };
        // Media types are known anyway.
        if pattern.ends_with("/mime.types") {
            return Vec::new();
        }
        let Some((directory, last)) = pattern.rsplit_once('/') else { return Vec::new() };
        let Some((before, after)) = last.split_once('*') else { return vec![pattern] };
        let names = self.files.list(directory).unwrap_or_default();
        let fits = |name: &String| name.starts_with(before) && name.ends_with(after);
        names.iter().filter(|name| fits(name)).map(|name| format!("{directory}/{name}")).collect()
    }
}

/// Directives that are understood, or without effect here.
const KNOWN: &str = " absolute_redirect access_log add_header aio alias allow auth_basic auth_basic_user_file \
    autoindex charset client_body_buffer_size client_body_timeout client_header_buffer_size \
    client_header_timeout client_max_body_size daemon default_type deny env error_log error_page etag events \
    expires fastcgi_buffers fastcgi_index fastcgi_param fastcgi_pass fastcgi_split_path_info gzip gzip_comp_level \
    gzip_disable gzip_http_version gzip_min_length gzip_proxied gzip_static gzip_types gzip_vary hash http if \
    index internal ip_hash keepalive keepalive_requests keepalive_timeout large_client_header_buffers \
    least_conn limit_conn limit_conn_zone limit_except limit_rate limit_req limit_req_zone listen load_module \
    location log_format log_not_found map multi_accept open_file_cache pid port_in_redirect proxy_buffer_size \
    proxy_buffering proxy_buffers proxy_busy_buffers_size proxy_cache proxy_cache_bypass proxy_cache_path \
    proxy_cache_valid proxy_connect_timeout proxy_hide_header proxy_http_version proxy_intercept_errors \
    proxy_next_upstream proxy_pass proxy_pass_header proxy_read_timeout proxy_redirect \
    proxy_request_buffering proxy_send_timeout proxy_set_header proxy_ssl_server_name proxy_ssl_verify random \
    real_ip_header resolver resolver_timeout return rewrite root satisfy sendfile server server_name \
    server_name_in_redirect server_names_hash_bucket_size server_names_hash_max_size server_tokens set \
    set_real_ip_from ssl_certificate ssl_certificate_key ssl_ciphers ssl_prefer_server_ciphers ssl_protocols \
    ssl_session_cache ssl_session_timeout stream stub_status sub_filter sub_filter_once tcp_nodelay tcp_nopush \
    try_files types types_hash_bucket_size types_hash_max_size underscores_in_headers upstream use user \
    variables_hash_bucket_size variables_hash_max_size worker_connections worker_processes \
    worker_rlimit_nofile worker_shutdown_timeout zone ";

/// The first directive that nginx does not know.
pub(super) fn unknown(directives: &[Directive]) -> Option<String> {
    for directive in directives {
        // In these, the names are values.
        if matches!(directive.name.as_str(), "map" | "types" | "stream") {
            continue;
        }
        if !KNOWN.contains(&format!(" {} ", directive.name)) {
            return Some(format!("unknown directive \"{}\"{}", directive.name, directive.place));
        }
        if let Some(found) = unknown(&directive.block) {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Directive>, String> {
        let files = Files::default();
        files.bake("/c", text.as_bytes());
        Reader::new(&files).file("/c", 0)
    }

    #[test]
    fn words_blocks_and_quotes() {
        let read = read("a 1 'x y';# c\nb {\n c \"q\\n\" ${v}z;\n}\n").unwrap();
        assert_eq!(read[0].args, ["1", "x y"]);
        assert_eq!(read[1].get("c").unwrap().args, ["q\n", "${v}z"]);
        assert_eq!(read[1].get("c").unwrap().place, " in /c:3");
    }

    #[test]
    fn complaints_are_nginx_own() {
        let why = |text| read(text).unwrap_err();
        assert_eq!(why("a 1;\n}"), "unexpected \"}\" in /c:2");
        assert_eq!(why("a {"), "unexpected end of file, expecting \"}\" in /c:1");
        assert_eq!(why("a\n"), "unexpected end of file, expecting \";\" or \"}\" in /c:2");
        assert_eq!(why(";"), "unexpected \";\" in /c:1");
        assert_eq!(
            why("include /nope;"),
            "open() \"/nope\" failed (2: No such file or directory) in /c:1"
        );
        assert_eq!(
            unknown(&read("http { servr {} }").unwrap()),
            Some("unknown directive \"servr\" in /c:1".to_string())
        );
        assert!(read(&"a {".repeat(100)).is_err());
        assert!(read("include /c;").is_err());
    }
}
