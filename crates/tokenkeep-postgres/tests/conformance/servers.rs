//! The whole suite on servers that are set up otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use tokenkeep_conformance::{USER_STORE_CASES, check_store, run_user_store_case};
use tokenkeep_test_server::{Cluster, ClusterOptions, cluster_available};

use crate::harness::Postgres;

fn check(options: ClusterOptions) {
    // What is tested here does not depend on when the disk has it.
    let cluster = Cluster::start(&options.setting("fsync", "off")).unwrap();
    check_store(|| Box::new(Postgres::on(cluster.server())));
    let fails = |case: &&str| {
        let run = || run_user_store_case(case, &Postgres::on(cluster.server()));
        catch_unwind(AssertUnwindSafe(run)).is_err()
    };
    let failed: Vec<_> = USER_STORE_CASES.iter().map(|case| case.name).filter(fails).collect();
    assert!(failed.is_empty(), "the directory fails {failed:?}");
}

/// A locale of this machine in UTF-8, in which letters are sorted as a dictionary does if there is
/// one of those.
fn locale() -> String {
    let told = Command::new("locale").arg("-a").output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap();
    let mut locales: Vec<_> =
        told.lines().filter(|locale| locale.to_lowercase().ends_with("utf8")).collect();
    locales.sort_by_key(|locale| (locale.starts_with('C'), !locale.starts_with("en_US")));
    (*locales.first().unwrap_or(&"C")).to_owned()
}

#[test]
fn the_locale_c_another_time_zone_and_serializable() {
    if cluster_available("the_locale_c_another_time_zone_and_serializable") {
        let options = ClusterOptions::new().initdb("--locale=C");
        check(
            options
                .setting("TimeZone", "Asia/Kathmandu")
                .setting("default_transaction_isolation", "serializable"),
        );
    }
}

#[test]
fn a_locale_of_the_system_and_repeatable_read() {
    if cluster_available("a_locale_of_the_system_and_repeatable_read") {
        let locale = locale();
        println!("the locale is {locale}");
        let options = ClusterOptions::new().initdb(format!("--locale={locale}"));
        check(
            options
                .setting("TimeZone", "America/St_Johns")
                .setting("DateStyle", "German, DMY")
                .setting("default_transaction_isolation", "repeatable read"),
        );
    }
}

#[test]
fn the_order_of_icu_and_strings_as_they_once_were() {
    if cluster_available("the_order_of_icu_and_strings_as_they_once_were") {
        let options = ClusterOptions::new()
            .initdb("--locale-provider=icu")
            .initdb("--icu-locale=en-US")
            .setting("standard_conforming_strings", "off")
            .setting("escape_string_warning", "off")
            .setting("backslash_quote", "on")
            .setting("bytea_output", "escape")
            .setting("extra_float_digits", "-15");
        check(options);
    }
}
