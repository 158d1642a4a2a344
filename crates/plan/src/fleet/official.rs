//! The names of Docker Hub's official images: `FROM` one of these means Docker Hub, and any
//! other name without a registry is nowhere if it is not in the fleet.
//!
//! <https://github.com/docker-library/official-images/tree/master/library>

/// Sorted, so that it can be searched.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "adminer", "aerospike", "almalinux", "alpine", "alt", "amazoncorretto", "amazonlinux",
    "api-firewall", "arangodb", "archlinux", "backdrop", "bash", "bonita", "buildpack-deps",
    "busybox", "caddy", "cassandra", "centos", "chronograf", "cirros", "clearlinux", "clefos",
    "clickhouse", "clojure", "composer", "convertigo", "couchbase", "couchdb", "crate", "crux",
    "dart", "debian", "docker", "drupal", "eclipse-mosquitto", "eclipse-temurin", "eggdrop",
    "elasticsearch", "elixir", "emqx", "erlang", "express-gateway", "fedora", "flink", "fluentd",
    "friendica", "gazebo", "gcc", "geonetwork", "ghost", "golang", "gradle", "groovy", "haproxy",
    "haskell", "haxe", "hello-world", "hitch", "httpd", "hylang", "ibm-semeru-runtimes",
    "ibmjava", "influxdb", "irssi", "java", "jetty", "jobber", "joomla", "jruby", "julia",
    "kapacitor", "kibana", "known", "kong", "krakend", "lightstreamer", "liquibase", "logstash",
    "mageia", "mariadb", "matomo", "maven", "mediawiki", "memcached", "mongo", "mongo-express",
    "monica", "mono", "mysql", "nats", "nats-streaming", "neo4j", "neurodebian", "nextcloud",
    "nginx", "node", "notary", "odoo", "open-liberty", "openjdk", "opensuse", "oraclelinux",
    "orientdb", "percona", "perl", "photon", "php", "php-zendserver", "phpmyadmin", "plone",
    "postfixadmin", "postgres", "pypy", "python", "r-base", "rabbitmq", "rakudo-star",
    "rapidoid", "redis", "redmine", "registry", "rethinkdb", "rocket.chat", "rockylinux", "ros",
    "ruby", "rust", "sapmachine", "satosa", "scratch", "silverpeas", "sl", "solr", "sonarqube",
    "sourcemage", "spark", "spiped", "storm", "swarm", "swift", "swipl", "telegraf",
    "thrift", "tomcat", "tomee", "traefik", "ubuntu", "unit", "valkey", "varnish", "vault",
    "websphere-liberty", "wordpress", "xwiki", "yourls", "znc", "zookeeper",
];

/// Whether Docker Hub has an official image of that name.
pub(super) fn is_official(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_found() {
        assert!(NAMES.is_sorted());
        assert!(is_official("python") && is_official("adminer") && is_official("zookeeper"));
        assert!(!is_official("pc2-base"));
    }
}
