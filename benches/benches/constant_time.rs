//! Whether the time that a key takes tells how near it is to one that is kept, by the method of dudect
//! (Reparaz, Balasch, Verbauwhede, 2017): two kinds of input in random order, a million samples, and
//! Welch's t for their means, also of the samples below some percentiles, where noise is left out. Beyond
//! 4.5 they differ. The control compares byte by byte and has to be found out.
//!
//! dudect-bencher, which does the same, prints and judges nothing, and needs clap 2, which nobody keeps.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use tokenkeep::{KeyDigest, Random, SeededRandom, TokenKey};
use tokenkeep_benches::dudect::{LIMIT, largest_t};

const SAMPLES: usize = 1_000_000;

/// How often each sample does the same: the clock alone takes as long as a comparison.
const TIMES: usize = 16;

/// Times `act` on two inputs in random order, each copied to the same place before.
fn compare<I: Copy, O>(inputs: [I; 2], act: impl Fn(&I) -> O) -> f64 {
    let mut order = vec![0; SAMPLES];
    SeededRandom::new(1).fill(&mut order).unwrap();
    let mut input = inputs[0];
    let sample = |drawn: &u8| {
        let kind = drawn % 2 == 1;
        input = black_box(inputs)[usize::from(kind)];
        let start = Instant::now();
        for _ in 0..TIMES {
            black_box(act(black_box(&input)));
        }
        (kind, start.elapsed().as_nanos() as f64)
    };
    let samples: Vec<_> = order.iter().map(sample).collect();
    largest_t(&samples)
}

const KEY: [u8; 60] = *b"an API key of sixty letters, as tokenkeep makes them, it is!";

/// The kept key, one that differs in its last letter, and one that differs in all.
fn keys() -> [(&'static str, [u8; 60]); 3] {
    let mut near = KEY;
    near[59] ^= 1;
    [("equal", KEY), ("near", near), ("far", KEY.map(|letter| letter ^ 1))]
}

fn key(bytes: &[u8; 60]) -> TokenKey {
    TokenKey::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The kept digest, one that differs in its last bit, and one that differs in all.
fn digests() -> [(&'static str, [u8; 33]); 3] {
    let kept = *KeyDigest::of(&key(&KEY)).as_bytes();
    let mut near = kept;
    near[32] ^= 1;
    [("equal", kept), ("near", near), ("far", kept.map(|byte| !byte))]
}

/// Prints t for each pair of inputs, and returns the largest.
fn pairs<I: Copy, O>(what: &str, inputs: [(&str, I); 3], act: impl Fn(&I) -> O) -> f64 {
    let pairs = [(0, 1), (0, 2), (1, 2)];
    let judge = |(one, other): (usize, usize)| {
        let ((name, input), (other_name, other)) = (inputs[one], inputs[other]);
        let t = compare([input, other], &act);
        println!("{what}, {name} or {other_name}: |t| = {t:.1}");
        t
    };
    pairs.into_iter().map(judge).fold(0.0, f64::max)
}

fn main() -> ExitCode {
    let kept = KeyDigest::of(&key(&KEY));
    let compared = pairs("comparison", digests(), |shown| {
        KeyDigest::from_bytes(shown).is_some_and(|shown| shown == kept)
    });
    let hashed = pairs("hash and comparison", keys(), |shown| KeyDigest::of(&key(shown)) == kept);
    let control = pairs("byte by byte", digests(), |shown| {
        shown.iter().zip(kept.as_bytes()).all(|(shown, kept)| black_box(shown) == black_box(kept))
    });
    let is_constant = compared < LIMIT && hashed < LIMIT;
    let is_sharp = control > LIMIT;
    println!("{SAMPLES} samples a pair: no difference: {is_constant}; control found: {is_sharp}");
    if is_constant && is_sharp { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
