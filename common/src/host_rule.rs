//! Which `Host` a request may name. A page of another site can make a browser send requests to a server on
//! this machine under a name of its own (DNS rebinding); a name that is not ours gives it away.

// An address as a value; `core` has no sockets.
use core::net::IpAddr;

use crate::{Error, ErrorCode, Result};

/// How a request names the host that it is for.
#[derive(Clone, Copy, Debug)]
pub struct NamedHost<'a> {
    /// The authority of its URI, which HTTP/2 has.
    pub authority: Option<&'a str>,
    /// Its header `Host`.
    pub header: Option<&'a [u8]>,
    /// Whether it is of HTTP/1.1, which demands the header (RFC 9112, section 3.2).
    pub is_required: bool,
}

/// The hosts that requests may name.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// Lower-case names beside `localhost` and the loopback addresses; `None` allows every host.
    allowed: Option<Vec<String>>,
}

impl HostRule {
    /// The rule for a server bound to `host`. Named hosts always restrict; without any, a server that
    /// others can reach anyway takes every name, since it cannot know by which it is called.
    #[must_use]
    pub fn new(host: &str, advertised: Option<&str>, named: &[String]) -> HostRule {
        if named.is_empty() && !is_loopback(host) {
            return HostRule { allowed: None };
        }
        let own = [Some(host), advertised.map(without_port)].into_iter().flatten();
        let names = own.chain(named.iter().map(String::as_str)).map(str::to_ascii_lowercase);
        HostRule { allowed: Some(names.collect()) }
    }

    /// Refuses a request that names another host, and one of HTTP/1.1 that names none.
    pub fn check(&self, request: NamedHost<'_>) -> Result<()> {
        let header = request.header.map(|value| std::str::from_utf8(value).unwrap_or("?"));
        let named = request.authority.or(header);
        if named.is_none() && request.is_required {
            return Err(Error::bad_request("a request of HTTP/1.1 must name its host in the header 'Host'"));
        }
        let (Some(allowed), Some(host)) = (&self.allowed, named) else { return Ok(()) };
        let name = without_port(host);
        if is_loopback(name) || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let shown: String = name.chars().take(80).collect();
        Err(Error::new(ErrorCode::UnknownHost, format!("this server is not '{shown}'"))
            .with_hint("start the server with --allowed-host to let requests name that host"))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of `host:port`; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon)
            if !host[colon..].contains(']') && (host.starts_with('[') || !host[..colon].contains(':')) =>
        {
            &host[..colon]
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &HostRule, host: &str) -> bool {
        let header = Some(host.as_bytes());
        rule.check(NamedHost { authority: None, header, is_required: true }).is_ok()
    }

    #[test]
    fn a_loopback_server_answers_to_its_own_names_alone() {
        let rule = HostRule::new("localhost", Some("db.internal:5000"), &[]);
        for own in ["localhost", "LOCALHOST:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "db.internal:7"] {
            assert!(allows(&rule, own), "{own}");
        }
        for other in ["evil.test", "localhost.evil.test", "evil.test:5000", "10.0.0.1", "[::2]:1", ""] {
            assert!(!allows(&rule, other), "{other}");
        }
    }

    #[test]
    fn only_http_1_0_may_leave_the_host_out() {
        for rule in [HostRule::new("localhost", None, &[]), HostRule::new("0.0.0.0", None, &[])] {
            let check = |is_required| rule.check(NamedHost { authority: None, header: None, is_required });
            assert_eq!(check(true).unwrap_err().code, ErrorCode::BadRequest);
            assert!(check(false).is_ok());
        }
    }

    #[test]
    fn a_reachable_server_answers_to_every_name_unless_told() {
        assert!(allows(&HostRule::new("0.0.0.0", None, &[]), "anything.test"));
        let named = HostRule::new("0.0.0.0", None, &["db.test".into()]);
        assert!(allows(&named, "db.test:1") && allows(&named, "localhost") && !allows(&named, "other.test"));
    }
}
