//! Encrypted connections, and who is refused one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::error::Error;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokenkeep_postgres::{OpenError, PostgresOptions};
use tokenkeep_test_server::{Cluster, ClusterOptions, Database, cluster_available};
use tokio::runtime::Runtime;

/// A server with a certificate for `name`, and the authority that has signed it.
struct Encrypted {
    directory: TempDir,
    cluster: Cluster,
    database: Database,
}

impl Encrypted {
    fn with_name(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &Issuer::new(authority, key)).unwrap();

        let options = ClusterOptions::new()
            .file("server.crt", server.pem())
            .file("server.key", server_key.serialize_pem())
            .setting("ssl", "on");
        let cluster = Cluster::start(&options).unwrap();
        let database = cluster.database().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("root.pem"), root.pem()).unwrap();
        Self { directory, cluster, database }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    fn url(&self, mode: &str) -> String {
        format!("{}?sslmode={mode}", self.database.url_at(self.cluster.address()))
    }

    /// Connects, and returns whether the server says that the connection is encrypted.
    fn connect(&self, mode: &str, root: Option<&Path>) -> Result<bool, OpenError> {
        let options = PostgresOptions::new();
        let options = root.map_or(options.clone(), |root| options.root_certificates(root));
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(options.connect(&self.url(mode)))?;
        let sql = "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'tokenkeep'";
        let rows = self.database.query(sql).unwrap();
        drop(store);
        Ok(rows == [["true"]])
    }

    /// Why it does not connect.
    fn refusal(&self, mode: &str, root: Option<&Path>) -> String {
        let OpenError::Store(error) = self.connect(mode, root).unwrap_err() else {
            panic!("it was refused for another reason")
        };
        error.source().unwrap().to_string()
    }
}

#[test]
fn a_server_is_believed_whose_certificate_is_signed_for_its_name() {
    if !cluster_available("a_server_is_believed_whose_certificate_is_signed_for_its_name") {
        return;
    }
    let server = Encrypted::with_name("127.0.0.1");
    assert!(server.connect("require", Some(&server.root())).unwrap());
    assert!(!server.connect("disable", Some(&server.root())).unwrap());
    // On this machine nothing is encrypted unless it is asked for.
    assert!(!server.connect("prefer", Some(&server.root())).unwrap());
}

#[test]
fn a_server_is_refused_that_cannot_show_who_it_is() {
    if !cluster_available("a_server_is_refused_that_cannot_show_who_it_is") {
        return;
    }
    let server = Encrypted::with_name("127.0.0.1");
    let refusal = server.refusal("require", None);
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");

    let other = Encrypted::with_name("db.example.com");
    let refusal = other.refusal("require", Some(&other.root()));
    assert!(
        refusal.contains("NotValidForName") || refusal.contains("not valid for name"),
        "{refusal}"
    );

    let plain = Cluster::start(&ClusterOptions::new()).unwrap();
    let database = plain.database().unwrap();
    let url = format!("{}?sslmode=require", database.url_at(plain.address()));
    let options = PostgresOptions::new().root_certificates(server.root());
    let refused = Runtime::new().unwrap().block_on(options.connect(&url));
    let OpenError::Store(error) = refused.unwrap_err() else { panic!("another reason") };
    assert!(error.source().unwrap().to_string().contains("TLS"), "{:?}", error.source());
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for file in [directory.path().join("missing.pem"), empty] {
        let options = PostgresOptions::new().root_certificates(&file);
        let url = "postgres://db.example.com/tokens";
        let refused = Runtime::new().unwrap().block_on(options.connect(url)).unwrap_err();
        assert!(matches!(&refused, OpenError::RootCertificates(named) if *named == file));
    }
}
