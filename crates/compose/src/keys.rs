//! Which keys there are, and which of them matter for images.
//!
//! The rest of a file (ports, volumes, health checks) is dropped before anything is made of it: a
//! variable that is missing there costs no image. A key that nobody knows is told about, since
//! Compose refuses the file.

use crate::problem::{Report, warning};
use crate::yaml::{Entry, Kind, Node};

/// Keys of a file that say something about images.
const KEPT: &[&str] = &["include", "name", "secrets", "services"];

/// Keys of a file that do not.
const DROPPED: &[&str] = &["configs", "models", "networks", "version", "volumes"];

/// Keys of a service that say something about its image.
const SERVICE_KEPT: &[&str] = &["build", "depends_on", "extends", "image", "platform", "profiles"];

/// Keys of a service that do not.
const SERVICE_DROPPED: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "ports",
    "post_start",
    "pre_start",
    "pre_stop",
    "privileged",
    "provider",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
];

/// Keys of `build`, all of which are kept.
const BUILD: &[&str] = &[
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// A document with what matters for images.
pub(crate) fn select(document: &Node, report: &mut Report) -> Node {
    let mut kept = choose(document, KEPT, DROPPED, report);
    if let Some(Kind::Map(services)) = kept.get_mut("services").map(|node| &mut node.kind) {
        for service in services {
            service.value = choose(&service.value, SERVICE_KEPT, SERVICE_DROPPED, report);
            if let Some(build) = service.value.get_mut("build") {
                *build = choose(build, BUILD, &[], report);
            }
        }
    }
    kept
}

/// A map with the entries that are kept; anything else as it is.
fn choose(node: &Node, kept: &[&str], dropped: &[&str], report: &mut Report) -> Node {
    let Kind::Map(entries) = &node.kind else {
        return node.clone();
    };
    let mut chosen: Vec<Entry> = Vec::new();
    for entry in entries {
        let key = entry.key.as_str();
        if kept.contains(&key) || key == "x-bake" {
            chosen.push(entry.clone());
        } else if !dropped.contains(&key) && !key.starts_with("x-") {
            let message = format!("key `{key}` is not known here and is not read");
            let help = "check its spelling and its indentation; keys of your own begin with `x-`";
            report.push(warning(&entry.key_span, "unknown-key", message, help));
        }
    }
    Node { kind: Kind::Map(chosen), span: node.span.clone(), tag: node.tag.clone() }
}

#[cfg(test)]
mod tests {
    use super::{BUILD, KEPT, SERVICE_DROPPED, SERVICE_KEPT};

    #[test]
    fn tables_are_sorted_and_have_no_key_twice() {
        for table in [KEPT, SERVICE_KEPT, SERVICE_DROPPED, BUILD] {
            assert!(table.windows(2).all(|pair| pair[0] < pair[1]), "{table:?}");
        }
        assert!(SERVICE_KEPT.iter().all(|key| !SERVICE_DROPPED.contains(key)));
    }
}
