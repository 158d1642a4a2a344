//! The two files of `/etc` that every step gets: `hosts` and `resolv.conf`.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use bakehouse_model::op::Network;

/// The host name of a step that asks for none; BuildKit's, which scripts know.
pub(super) const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What systemd's resolver would have written there if it were not listening itself.
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// The text of `/etc/hosts`.
pub(super) fn hosts(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (host, address) in extra {
        let _ = writeln!(text, "{address}\t{host}");
    }
    text
}

/// The text of `/etc/resolv.conf`, from this machine's.
pub(super) fn resolv_conf(network: Network) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let own = read(RESOLV_CONF);
    match network {
        // The step shares the machine's network, so a resolver on loopback answers it.
        Network::Host => own,
        Network::Default if is_systemd_stub(&own) => {
            let upstream = read(SYSTEMD_RESOLV_CONF);
            if upstream.is_empty() { own } else { upstream }
        }
        Network::Default => own,
        Network::None => without_loopback(&own),
    }
}

fn nameserver(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    if words.next() != Some("nameserver") {
        return None;
    }
    let address = words.next()?;
    address.split('%').next()?.parse().ok()
}

fn is_systemd_stub(text: &str) -> bool {
    let servers: Vec<IpAddr> = text.lines().filter_map(nameserver).collect();
    servers == [IpAddr::from([127, 0, 0, 53])]
}

fn without_loopback(text: &str) -> String {
    text.lines()
        .filter(|line| nameserver(line).is_none_or(|address| !address.is_loopback()))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_buildkits() {
        let plain = "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        assert_eq!(hosts("box", &[]), plain);
        let extra = [("db".to_owned(), "10.0.0.1".to_owned())];
        assert_eq!(hosts("box", &extra), format!("{plain}10.0.0.1\tdb\n"));
    }

    #[test]
    fn a_stub_resolver_is_recognised_only_when_it_is_alone() {
        assert!(is_systemd_stub("# x\nnameserver 127.0.0.53\noptions edns0\n"));
        assert!(!is_systemd_stub("nameserver 127.0.0.53\nnameserver 1.1.1.1\n"));
        assert!(!is_systemd_stub("search example.com\n"));
    }

    #[test]
    fn loopback_resolvers_go_and_the_rest_stays() {
        let text = "search a.example\nnameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver ::1\n";
        assert_eq!(without_loopback(text), "search a.example\nnameserver 10.0.0.2\n");
    }
}
