//! How a database comes to the schema, and what is refused untouched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;

use tokenkeep::{StoreErrorKind, Timestamp, User, UserDirectory, UserId, UserStore};
use tokenkeep_postgres::{OpenError, PostgresOptions, PostgresStore};
use tokenkeep_test_server::{Database, Server, available};
use tokio::runtime::Runtime;

fn database() -> Database {
    Server::shared().unwrap().database().unwrap()
}

/// Connects from outside a runtime, and returns why it was refused, if it was.
fn connect(url: &str) -> Result<(), OpenError> {
    Runtime::new().unwrap().block_on(PostgresStore::connect(url)).map(drop)
}

/// The names of all tables, with how many columns they have.
fn tables(database: &Database) -> Vec<Vec<String>> {
    let sql = "SELECT table_name, count(*)::text FROM information_schema.columns \
         WHERE table_schema = 'public' GROUP BY table_name ORDER BY table_name";
    database.query(sql).unwrap()
}

#[test]
fn instances_that_start_at_the_same_time_make_one_schema() {
    if !available("instances_that_start_at_the_same_time_make_one_schema") {
        return;
    }
    for _ in 0..5 {
        let database = database();
        let start = Barrier::new(8);
        thread::scope(|scope| {
            let instances: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        connect(&database.url())
                    })
                })
                .collect();
            for instance in instances {
                instance.join().unwrap().unwrap();
            }
        });
        assert_eq!(tables(&database).len(), 10);
        let rows = database.query("SELECT version::text FROM tokenkeep_schema").unwrap();
        assert_eq!(rows, [["1"]]);
    }
}

#[test]
fn a_database_that_is_up_to_date_is_only_read() {
    if !available("a_database_that_is_up_to_date_is_only_read") {
        return;
    }
    let database = database();
    connect(&database.url()).unwrap();
    let read_only = database.url_with("options", "-c default_transaction_read_only=on");
    connect(&format!("{read_only}&target_session_attrs=any")).unwrap();
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    if !available("a_newer_schema_is_refused_untouched") {
        return;
    }
    let database = database();
    connect(&database.url()).unwrap();
    database.query("UPDATE tokenkeep_schema SET version = 99").unwrap();
    let before = tables(&database);
    let error = connect(&database.url()).unwrap_err();
    let rows = database.query("SELECT version, directory_writes FROM tokenkeep_schema").unwrap();
    assert_eq!((tables(&database), rows.concat()), (before, vec!["99".into(), "0".into()]));
    assert!(matches!(error, OpenError::Newer { found: 99, known: 1 }), "{error:?}");
    assert!(error.to_string().ends_with("update it"), "{error}");
}

#[test]
fn tables_of_another_program_are_refused_untouched() {
    if !available("tables_of_another_program_are_refused_untouched") {
        return;
    }
    let database = database();
    database.query("CREATE TABLE tokenkeep_user (id text)").unwrap();
    let error = connect(&database.url()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign), "{error:?}");
    let names: Vec<_> = tables(&database).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(names, ["tokenkeep_user"]);
    // Once they are out of the way, it goes on.
    database.query("DROP TABLE tokenkeep_user").unwrap();
    database.query("CREATE TABLE tokenkeep_schema (of text)").unwrap();
    let error = connect(&database.url()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign), "{error:?}");
    database.query("DROP TABLE tokenkeep_schema").unwrap();
    connect(&database.url()).unwrap();
}

#[test]
fn a_database_of_another_encoding_is_refused_untouched() {
    if !available("a_database_of_another_encoding_is_refused_untouched") {
        return;
    }
    let database = database();
    let name = format!("{}_latin", database.name());
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    database.query(&create).unwrap();
    let error = connect(&database.url().replace(database.name(), &name)).unwrap_err();
    database.query(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    assert!(matches!(&error, OpenError::Encoding(encoding) if encoding == "LATIN1"), "{error:?}");
}

#[test]
fn a_schema_of_its_own_keeps_the_tables_apart() {
    if !available("a_schema_of_its_own_keeps_the_tables_apart") {
        return;
    }
    let database = database();
    database.query("CREATE SCHEMA tokens").unwrap();
    connect(&database.url_with("options", "-c search_path=tokens")).unwrap();
    assert!(tables(&database).is_empty());
}

#[test]
fn what_cannot_be_reached_or_read_says_why_and_no_password() {
    let refused = |url: &str| connect(url).unwrap_err();
    for (url, said) in [
        ("postgres://tokens:geheim@localhost:1/tokens", "refused"),
        ("postgres://tokens:geheim@localhost:port/tokens", "port"),
        ("postgres://tokens:geheim@localhost/tokens?colour=geheim", "`colour`"),
        ("postgres://tokens:ge@geheim?geheim=1@localhost/tokens", "%40"),
        ("postgres://tokens:ge@geheim/geheim@localhost/tokens", "%40"),
        ("postgres://tokens:ge?geheim=1/tokens", "port"),
        ("host=localhost user=tokens password=ge geheim=1", "not known"),
        ("host=localhost user=tokens password='geheim", "postgres://"),
        ("postgres://tokens:geheim@%2Fno%2Fsuch%2Fsocket/tokens", "No such file"),
        ("sqlite:geheim", ""),
    ] {
        let error = refused(url);
        let cause = std::error::Error::source(&error).and_then(std::error::Error::source);
        let told =
            format!("{error} {error:?} {}", cause.map(ToString::to_string).unwrap_or_default());
        assert!(told.contains(said) && !told.contains("geheim"), "{told}");
    }
    let error = refused("postgres://localhost:1/tokens");
    let OpenError::Store(error) = error else { panic!("{error:?}") };
    assert_eq!(*error.kind(), StoreErrorKind::Unavailable);
    assert!(error.is_retryable());
}

#[test]
fn who_may_not_connect_is_told_what_the_server_says() {
    if !available("who_may_not_connect_is_told_what_the_server_says") {
        return;
    }
    let database = database();
    let url = database.url().replace(database.name(), "no_such_database");
    let error = connect(&url).unwrap_err();
    let OpenError::Store(error) = error else { panic!("{error:?}") };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no_such_database") && cause.contains("3D000"), "{cause}");
}

#[test]
fn a_store_is_opened_inside_a_runtime_and_used_outside() {
    assert!(matches!(
        pollster::block_on(PostgresStore::connect("postgres://localhost/tokens")),
        Err(OpenError::NoRuntime)
    ));
    if !available("a_store_is_opened_inside_a_runtime_and_used_outside") {
        return;
    }
    let (runtime, database) = (Runtime::new().unwrap(), database());
    let options = PostgresOptions::new().max_connections(1);
    let store = Arc::new(runtime.block_on(options.connect(&database.url())).unwrap());
    let alice = User::new(UserId::new(2), uuid::Uuid::from_u128(2), "alice", Timestamp::MIN);
    pollster::block_on(store.put_user(alice)).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            thread::spawn(move || pollster::block_on(store.is_active(UserId::new(2))).unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Some(true));
    }
}

/// A role that may use the database and nothing else.
struct Role<'a>(&'a Database, String);

impl<'a> Role<'a> {
    fn create(database: &'a Database) -> Self {
        let name = format!("{}_role", database.name());
        database.query(&format!("CREATE ROLE \"{name}\"")).unwrap();
        database.query("REVOKE CREATE ON SCHEMA public FROM public").unwrap();
        Self(database, name)
    }

    fn url(&self) -> String {
        self.0.url_with("options", &format!("-c role={}", self.1))
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let _ = self.0.query(&format!("DROP OWNED BY \"{0}\"; DROP ROLE \"{0}\"", self.1));
    }
}

#[test]
fn connect_without_privileges_names_the_grant() {
    if !available("connect_without_privileges_names_the_grant") {
        return;
    }
    for is_made in [false, true] {
        let database = database();
        if is_made {
            connect(&database.url()).unwrap();
        }
        let role = Role::create(&database);
        let error = connect(&role.url()).unwrap_err();
        let OpenError::Privilege { role: named, schema, grant } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((named, schema.as_str()), (&role.1, "public"));
        assert!(error.to_string().contains(grant), "{error}");
        database.query(grant).unwrap();
        connect(&role.url()).unwrap();
    }
}

#[test]
fn connect_with_a_search_path_to_nowhere_names_it() {
    if !available("connect_with_a_search_path_to_nowhere_names_it") {
        return;
    }
    let database = database();
    let error = connect(&database.url_with("options", "-c search_path=nowhere")).unwrap_err();
    assert!(matches!(&error, OpenError::NoSchema(path) if path == "nowhere"), "{error:?}");
}

/// PgBouncer refuses the option that a URL sends as a startup parameter.
#[test]
fn connect_through_a_pooler_names_the_way_to_set_a_search_path() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pooler = thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize - 4;
        client.read_exact(&mut vec![0; length]).unwrap();
        let fields = "SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        client.write_all(b"E").unwrap();
        client.write_all(&(u32::try_from(fields.len()).unwrap() + 4).to_be_bytes()).unwrap();
        client.write_all(fields.as_bytes()).unwrap();
    });
    let url = format!("postgres://u@{address}/d?sslmode=disable&options=-c%20search_path%3Dtokens");
    let error = connect(&url).unwrap_err();
    pooler.join().unwrap();
    let OpenError::Store(error) = error else { panic!("{error:?}") };
    assert_eq!(*error.kind(), StoreErrorKind::Unavailable);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("ALTER ROLE"), "{cause}");
}
