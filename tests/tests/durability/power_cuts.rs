//! Power cuts: the file system goes away under the process, with all that was not flushed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokenkeep_tests::history::{Draw, Judged, Told};

use crate::at_every_write::not_run;
use crate::child::{NORMAL, PLACE, WORK};
use crate::kills::{judge_lines, lines_of};

/// What `cut.sh` exits with where there can be no cuts.
pub(crate) const IMPOSSIBLE: i32 = 77;

fn cuts() -> u64 {
    let cuts = std::env::var("TOKENKEEP_POWER_CUTS").ok();
    cuts.and_then(|cuts| cuts.parse().ok()).unwrap_or(60)
}

/// Makes a file system of a file.
pub(crate) fn make_image(image: &Path) -> Option<()> {
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).status();
    made.is_ok_and(|made| made.success()).then_some(())
}

/// Cuts the power once while everything is written, and judges what is left; `None` where that cannot
/// be done.
fn cut(number: u64, normal: bool) -> Option<Judged> {
    let directory = tempfile::tempdir().unwrap();
    let (image, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
    let copy = directory.path().join("copy");
    fs::create_dir(&mounted).unwrap();
    fs::create_dir(&copy).unwrap();
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    make_image(&image)?;
    let millis = 100 + Draw::new(number).below(200);
    let mode = if number.is_multiple_of(2) { "data=ordered" } else { "data=writeback" };
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/cut.sh")]);
    command.arg(&image).arg(&mounted).args([mode, &format!("0.{millis:03}")]);
    command.arg(std::env::current_exe().unwrap()).arg(&copy);
    command.env(PLACE, mounted.join("tokens.db")).env(WORK, "everything");
    if normal {
        command.env(NORMAL, "1");
    }
    let said = directory.path().join("said");
    command.stdout(Stdio::piped()).stderr(File::create(&said).unwrap());
    let mut script = command.spawn().ok()?;
    let lines = lines_of(script.stdout.take().unwrap());
    let ended = script.wait().unwrap();
    if ended.code() == Some(IMPOSSIBLE) || (!ended.success() && lines.is_empty()) {
        return None;
    }
    assert!(ended.success(), "{ended}: {}", fs::read_to_string(said).unwrap());
    let path = copy.join("tokens.db");
    if !path.exists() {
        // It had no name yet when the power was cut.
        return Some(Judged::default());
    }
    Some(pollster::block_on(judge_lines(&path, &before_the_cut(&lines), !normal)))
}

/// What was told before the cut, and of what came during it only what was begun: its answer does not
/// count.
pub(crate) fn before_the_cut(lines: &[String]) -> Vec<String> {
    let at = |mark| lines.iter().position(|line| line == mark).expect("the power was cut");
    let (cutting, cut) = (at("cutting"), at("cut"));
    let is_begun = |line: &&String| matches!(line.parse(), Ok(Told::Begun { .. }));
    lines[..cutting].iter().chain(lines[cutting..cut].iter().filter(is_begun)).cloned().collect()
}

pub(crate) fn is_root() -> bool {
    // Those of root belong to root.
    let own = File::open("/proc/self").and_then(|own| own.metadata());
    own.is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Cuts so many times, at most until `enough`; `None` where that cannot be done.
pub(crate) fn all(
    cuts: u64,
    cut: impl Fn(u64) -> Option<Judged>,
    enough: impl Fn(&Judged) -> bool,
) -> Option<Judged> {
    let mut all = Judged::default();
    for number in 0..cuts {
        // All loop devices may be in use for a moment.
        let judged = (0..3).find_map(|_| is_root().then(|| cut(number)).flatten());
        let Some(judged) = judged else {
            assert_eq!(number, 0, "cuts could be made, and cannot any more");
            not_run("power cuts, which need root, loop devices, ext4, unshare and perl");
            return None;
        };
        all.add_all(judged);
        if enough(&all) {
            break;
        }
    }
    Some(all)
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let start = Instant::now();
    if let Some(judged) = all(cuts(), |number| cut(number, false), |_| false) {
        println!("{} power cuts: {judged:?} in {:.1?}", cuts(), start.elapsed());
        assert_nothing_lost(judged, cuts());
    }
}

/// Where much was under way when the power was cut, it may be too much to decide. That is reported: how
/// much is under way depends on the load of the machine.
pub(crate) fn assert_nothing_lost(judged: Judged, cuts: u64) {
    assert_eq!(judged.impossible, 0, "{judged:?}");
    assert!(judged.linearizable > cuts, "{judged:?}");
}

/// The control: without flushes something has to be lost.
#[test]
fn without_flushes_something_is_lost() {
    if let Some(judged) = all(40, |number| cut(number, true), |judged| judged.impossible > 0) {
        assert!(judged.impossible > 0, "nothing was cut: {judged:?}");
    }
}
