//! Connection URLs, as far as the tests put them together.

use std::net::SocketAddr;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// A URL taken apart. What stands in it stays as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `postgres://ROLE:PASSWORD@HOST:PORT`, with what is there of it.
    server: String,
    database: String,
    /// `NAME=VALUE&…`.
    parameters: String,
}

impl Url {
    /// Reads `postgres://…`; `None` when it is something else.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (rest, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = rest.split_once("://")?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self {
            server: format!("{scheme}://{authority}"),
            database: database.to_owned(),
            parameters: parameters.to_owned(),
        })
    }

    /// The role `postgres` at a unix socket.
    pub(crate) fn of_socket(directory: &Path, port: u16) -> Self {
        let directory = directory.to_string_lossy();
        Self::of_server(format!("postgres://postgres@{}:{port}", encoded(&directory)))
    }

    /// The role `postgres` at a TCP address.
    pub(crate) fn of_address(address: SocketAddr) -> Self {
        Self::of_server(format!("postgres://postgres@{address}"))
    }

    fn of_server(server: String) -> Self {
        Self { server, database: "postgres".to_owned(), parameters: String::new() }
    }

    /// The same server's database of that name.
    pub(crate) fn database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// With one more parameter.
    pub(crate) fn parameter(mut self, name: &str, value: &str) -> Self {
        let between = if self.parameters.is_empty() { "" } else { "&" };
        self.parameters = format!("{}{between}{name}={}", self.parameters, encoded(value));
        self
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.server, self.database)?;
        if !self.parameters.is_empty() {
            write!(f, "?{}", self.parameters)?;
        }
        Ok(())
    }
}

fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_what_it_does_not_change() {
        let url = Url::parse("postgresql://me:a%40b@db.example:5433/main?sslmode=require").unwrap();
        let other = url.database("t_1").parameter("options", "-c lock_timeout=1s");
        assert_eq!(
            other.to_string(),
            "postgresql://me:a%40b@db.example:5433/t_1?sslmode=require\
             &options=%2Dc%20lock%5Ftimeout%3D1s",
        );
        assert_eq!(Url::parse("postgres://h").unwrap().database("d").to_string(), "postgres://h/d");
        assert_eq!(Url::parse("host=h dbname=d"), None);
    }

    #[test]
    fn a_socket_is_read_as_a_host_by_the_driver() {
        let url = Url::of_socket(Path::new("/tmp/a b"), 20_001).database("d").to_string();
        let config: tokio_postgres::Config = url.parse().unwrap();
        let host = tokio_postgres::config::Host::Unix("/tmp/a b".into());
        assert_eq!((config.get_hosts(), config.get_ports()), (&[host][..], &[20_001][..]));
        assert_eq!((config.get_user(), config.get_dbname()), (Some("postgres"), Some("d")));
    }
}
