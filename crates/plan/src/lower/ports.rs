//! `EXPOSE`: `[ip:][host:]container[/protocol]`, with ranges.

/// `port/protocol` of each port that `spec` names, or what is wrong with it.
pub(super) fn parse(spec: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (ip, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [ip @ .., host, container] => (ip.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    let invalid = |what: String| format!("invalid port: {spec:?}: {what}");
    if port.is_empty() {
        return Err(invalid("no port specified".to_owned()));
    }
    let protocol = protocol.to_ascii_lowercase();
    let protocol = match protocol.as_str() {
        "" => "tcp",
        known @ ("tcp" | "udp" | "sctp") => known,
        _ => return Err(invalid(format!("invalid proto: {protocol}"))),
    };
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(&ip);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    let (start, end) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
    if !host.is_empty() {
        let (first, last) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if last - first != end - start && start != end {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {port} and {host}"
            ));
        }
    }
    Ok((start..=end).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok();
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((start, end)) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then_some((start, end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let cases: [(&str, Option<&[&str]>); 11] = [
            ("80", Some(&["80/tcp"])),
            ("80/UDP", Some(&["80/udp"])),
            ("8000-8002", Some(&["8000/tcp", "8001/tcp", "8002/tcp"])),
            ("127.0.0.1:81:80", Some(&["80/tcp"])),
            ("8080:80", Some(&["80/tcp"])),
            ("", None),
            ("80/x", None),
            ("90-80", None),
            ("70000", None),
            ("1.2.3:81:80", None),
            ("1-3:1-2", None),
        ];
        for (spec, expected) in cases {
            let ports = parse(spec).ok();
            let ports: Option<Vec<&str>> =
                ports.as_ref().map(|p| p.iter().map(String::as_str).collect());
            assert_eq!(ports.as_deref(), expected, "{spec}");
        }
    }
}
