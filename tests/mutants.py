"""Breaks the core on purpose, in every way that cargo-mutants knows, and tells which of them no test sees.

    python3 tests/mutants.py                        every mutant that has no result yet
    python3 tests/mutants.py --file key/ access.rs  only those in files whose path contains that
    python3 tests/mutants.py --again missed         forgets the results of that kind first
    python3 tests/mutants.py --name 'in judge'      only those whose name contains that
    python3 tests/mutants.py --summary              tells what is known, and runs nothing

cargo-mutants builds the crate anew for each mutant, which takes hours. This has the same mutants, from
`cargo mutants --list`, all in one build: it copies the workspace, and puts each mutant in front of the body of
its function, behind a question that is answered by the environment:

    fn is_even(n: u8) -> bool { if crate::mutant::is(17) { return { n % 2 != 0 }; } n % 2 == 0 }

What does not compile is taken out again and counted as unviable, as cargo-mutants does. Then the tests run once
without any mutant, which tells who reaches which function, and for each mutant until one of them fails or hangs.
In what the compiler evaluates no mutant is on. Constants and bodies that return `impl Trait`, of which there are
few, have a build each, at the end.

Results are kept in `target/mut/results.json`, and a run goes on where the last one stopped. The copy is
brought up to date at each run: after a change of the product, forget what is there with `--again all`, after
new tests only what was missed. It needs `cargo mutants` on PATH or in target/tools/bin. Doc tests are not run.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / "target" / "mut"
TREE = HOME / "tree"
BUILD = HOME / "build"
RESULTS = HOME / "results.json"
MISSED = HOME / "missed.txt"
SOURCE = "crates/tokenkeep/src"

# What runs for each mutant, quickest first: package and test binary.
SUITES = [
    ("tokenkeep", "tokenkeep"),
    ("tokenkeep-tests", "service"),
    ("tokenkeep-tests", "update"),
    ("tokenkeep-tests", "unknown_outcomes"),
    ("tokenkeep-tests", "body_properties"),
    ("tokenkeep-tests", "known_holes"),
    ("tokenkeep-tests", "canary"),
    ("tokenkeep-memory", "conformance"),
    ("tokenkeep-tests", "keys"),
    ("tokenkeep-tests", "listing"),
    ("tokenkeep-tests", "reconcile"),
    ("tokenkeep-tests", "operations"),
    ("tokenkeep-tests", "http"),
    ("tokenkeep-tests", "revocation"),
    ("tokenkeep-tests", "copy"),
    ("tokenkeep-tests", "sweep"),
    ("tokenkeep-tests", "access_table"),
    ("tokenkeep-tests", "http_vectors"),
]

# The core is the same on every backend, and what starts a process is slow.
SKIPPED = ["sqlite", "postgres", "with_a_cache", "two_processes::", "command::"]

# Small counts, one build for all of it, and no server: the core is the same on every backend.
ENVIRONMENT = {
    "CARGO_TARGET_DIR": str(BUILD),
    "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
    "CARGO_PROFILE_DEV_DEBUG": "0",
    "RUSTFLAGS": "--cap-lints allow",
    "RUSTC_BOOTSTRAP": "tokenkeep",
    "TOKENKEEP_REVOCATION_RACES": "50",
    "TOKENKEEP_TEST_POSTGRES_BIN": "/nonexistent",
}

SHORTEST_TIMEOUT = 10.0  # seconds
MEMORY = 8 << 30  # bytes, for mutants that never stop collecting

# The module that the copy gets. The intrinsic makes it one that a `const fn` may ask.
SWITCH = """
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Setting {
    on: usize,
    reached: Option<File>,
}

static SETTING: OnceLock<Setting> = OnceLock::new();
static REACHED: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

pub(crate) const fn is(number: usize) -> bool {
    std::intrinsics::const_eval_select((number,), never, is_on)
}

const fn never(_: usize) -> bool {
    false
}

fn is_on(number: usize) -> bool {
    let setting = SETTING.get_or_init(|| Setting {
        on: std::env::var("TOKENKEEP_MUTANT").ok().and_then(|on| on.parse().ok()).unwrap_or(COUNT),
        reached: std::env::var_os("TOKENKEEP_MUTANTS_REACHED")
            .and_then(|path| File::options().append(true).create(true).open(path).ok()),
    });
    if let Some(mut file) = setting.reached.as_ref() {
        if !REACHED[number].swap(true, Relaxed) {
            let _ = file.write_all(format!("{number}\\n").as_bytes());
        }
    }
    setting.on == number
}
"""


@dataclasses.dataclass(frozen=True)
class Mutant:
    number: int
    name: str
    file: str
    start: tuple  # line and column, from 1
    end: tuple
    function_end: tuple | None  # of a constant: none
    is_body: bool
    replacement: str
    is_apart: bool  # needs a build of its own: a constant, or a body whose type would be another one

    @property
    def short_file(self):
        return self.file.removeprefix(SOURCE + "/")


# The list


def list_mutants():
    command = ["cargo", "mutants", "--list", "--json", "-p", "tokenkeep"]
    path = f"{ROOT}/target/tools/bin:{os.environ['PATH']}"
    listed = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, check=True
    )
    return [mutant_of(number, entry) for number, entry in enumerate(json.loads(listed.stdout))]


def mutant_of(number, entry):
    def place(at):
        return at["line"], at["column"]

    function = entry["function"]
    return Mutant(
        number=number,
        name=entry["name"].removeprefix(SOURCE + "/"),
        file=entry["file"],
        start=place(entry["span"]["start"]),
        end=place(entry["span"]["end"]),
        function_end=function and place(function["span"]["end"]),
        is_body=entry["genre"] == "FnValue",
        replacement=entry["replacement"],
        is_apart=not function or "impl " in function["return_type"],
    )


# The copy


def copy_workspace():
    """Copies what has changed, so that cargo builds no more than that; removes what is gone."""
    kept = {"target", ".git", "fuzz", "docs"}
    wanted = {path for top in ROOT.iterdir() if top.name not in kept for path in files_in(top)}
    wanted |= set(files_in(ROOT / "docs"))
    wanted = {path.relative_to(ROOT) for path in wanted}
    for path in files_in(TREE):
        if path.relative_to(TREE) not in wanted and path.name != "mutant.rs":
            path.unlink()
    for path in wanted:
        if not str(path).startswith(SOURCE):
            write_if_other(TREE / path, (ROOT / path).read_bytes())
            shutil.copymode(ROOT / path, TREE / path)


def files_in(top):
    if top.is_file():
        yield top
    elif top.is_dir() and top.name != "target":
        for path in top.iterdir():
            yield from files_in(path)


def write_if_other(path, content):
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# Source text

# What must not be searched for braces: comments, strings, characters.
OPAQUE = re.compile(
    r"""//[^\n]* | /\*.*?\*/
      | b?r(?P<hashes>\#*)".*?"(?P=hashes)
      | b?"(?:\\.|[^"\\])*"
      | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'
      | [{}]""",
    re.VERBOSE | re.DOTALL,
)


def opening_braces(text):
    """Where the block began that ends at an offset."""
    opened, openings = [], {}
    for token in OPAQUE.finditer(text):
        if token.group() == "{":
            opened.append(token.start())
        elif token.group() == "}":
            openings[token.start()] = opened.pop()
    return openings


def offsets_of_lines(text):
    offsets = [0, 0]  # lines count from 1
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    return offsets


def mutated(text, mutant, begin=0, end=None):
    """The text, or a part of it, with the mutant in place."""
    lines = offsets_of_lines(text)
    start, stop = offset(lines, mutant.start), offset(lines, mutant.end)
    return text[begin:start] + mutant.replacement + text[stop:end]


def offset(lines, place):
    return lines[place[0]] + place[1] - 1


def insertions(text, mutants):
    """The mutants as texts, each with the offset of the body before which it goes."""
    openings, lines = opening_braces(text), offsets_of_lines(text)
    for mutant in mutants:
        close = offset(lines, mutant.function_end) - 1
        begin = openings[close] + 1
        body = mutant.replacement if mutant.is_body else mutated(text, mutant, begin, close)
        yield begin, mutant.number, f" if crate::mutant::is({mutant.number}) {{ return {{ {body}\n}}; }}"


def instrument(text, mutants):
    """The text with all the mutants, and which bytes of it are whose."""
    parts, owners, at, length = [], [], 0, 0

    def add(part):
        nonlocal length
        parts.append(part)
        length += len(part.encode())

    for begin, number, insertion in sorted(insertions(text, mutants)):
        add(text[at:begin])
        start, at = length, begin
        add(insertion)
        owners.append((start, length, number))
    add(text[at:])
    return "".join(parts), owners


def write_source(mutants, apart=None):
    """Rewrites the core's source, with `apart` in place. Returns, for each file, which bytes are whose."""
    in_file = collections.defaultdict(list)
    for mutant in mutants:
        in_file[mutant.file].append(mutant)
    owners = {}
    for path in files_in(ROOT / SOURCE):
        name = str(path.relative_to(ROOT))
        text = path.read_text()
        if apart and apart.file == name:
            text = mutated(text, apart)
        elif path.suffix == ".rs":
            text, owners[name] = instrument(text, in_file[name])
        if name == f"{SOURCE}/lib.rs":
            text = "#![feature(core_intrinsics, const_eval_select)]\n" + text + "\nmod mutant;\n"
        write_if_other(TREE / name, text.encode())
    return owners


def write_switch(count):
    write_if_other(TREE / SOURCE / "mutant.rs", f"const COUNT: usize = {count};\n{SWITCH}".encode())


# Building


def cargo(*arguments):
    """Runs cargo on the copy. Returns its messages."""
    command = ["nice", "-n", "5", "cargo", *arguments, "--message-format=json"]
    done = subprocess.run(
        command, cwd=TREE, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 and not any(errors_in(messages)):
        sys.exit(done.stderr)
    return messages


def errors_in(messages):
    for message in messages:
        if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            if message["message"]["spans"]:
                yield message["message"]


def owner_of_error(error, owners):
    """The mutant in whose text the compiler sees an error, at first glance or at last."""
    spans = sorted(error["spans"], key=lambda span: not span["is_primary"])
    for span in spans:
        while span is not None:
            for start, end, number in owners.get(span["file_name"], []):
                if start <= span["byte_start"] < end:
                    return number
            span = span["expansion"] and span["expansion"]["span"]
    return None


def take_out_unviable(mutants):
    """Leaves only the mutants with which the core compiles. Returns them."""
    while True:
        owners = write_source(mutants)
        errors = list(errors_in(cargo("check", "-p", "tokenkeep")))
        if not errors:
            return mutants
        unviable = {owner_of_error(error, owners) for error in errors}
        if None in unviable:
            lost = [error["rendered"] for error in errors if owner_of_error(error, owners) is None]
            print("\n".join(lost), file=sys.stderr)
        if unviable <= {None}:
            sys.exit("the copy does not compile, and it is no mutant's fault")
        print(f"{len(unviable - {None})} do not compile")
        mutants = [mutant for mutant in mutants if mutant.number not in unviable]


def build_suites(chosen):
    """Builds these tests. Returns where each is."""
    packages = [flag for package in dict.fromkeys(package for package, _ in chosen) for flag in ("-p", package)]
    tests = [flag for package, name in chosen if package != name for flag in ("--test", name)]
    messages = cargo("test", "--no-run", *packages, "--lib", *tests)
    for error in errors_in(messages):
        sys.exit(error["rendered"])
    built = {}
    for message in messages:
        if message["reason"] == "compiler-artifact" and message["executable"]:
            directory = pathlib.Path(message["manifest_path"]).parent
            built[message["target"]["name"]] = (directory, message["executable"])
    return [Suite(name, *built[name]) for _, name in chosen]


# Running


@dataclasses.dataclass
class Suite:
    name: str
    directory: pathlib.Path
    executable: str
    reached: set = dataclasses.field(default_factory=set)
    timeout: float = 600.0

    def run(self, environment):
        """Whether it passes; `None` if it did not end in time."""
        skipped = [argument for name in SKIPPED for argument in ("--skip", name)]
        running = subprocess.Popen(
            ["nice", "-n", "5", self.executable, "-q", "-Zunstable-options", "--fail-fast", *skipped],
            cwd=self.directory,
            env=os.environ | ENVIRONMENT | {"RUSTC_BOOTSTRAP": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=(HOME / "output.txt").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )
        try:
            return running.wait(self.timeout) == 0
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_group(running)


def end_group(process):
    """Ends the children of a test, too."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def forget_cases():
    """Takes back the cases that property tests have kept: no mutant is seen by what another left."""
    for path in TREE.glob("tests/tests/**/*.regressions"):
        path.unlink()
    for path in ROOT.glob("tests/tests/**/*.regressions"):
        shutil.copy(path, TREE / path.relative_to(ROOT))


def look_what_is_reached(suites):
    """Runs everything without a mutant."""
    log = HOME / "reached.txt"
    for suite in suites:
        log.unlink(missing_ok=True)
        began = time.monotonic()
        if not suite.run({"TOKENKEEP_MUTANTS_REACHED": str(log)}):
            sys.exit(f"{suite.name} fails without any mutant, see {HOME}/output.txt")
        took = time.monotonic() - began
        suite.timeout = max(SHORTEST_TIMEOUT, 5 * took)
        suite.reached = {int(line) for line in log.read_text().split()} if log.exists() else set()
        print(f"{suite.name}: {took:.1f} s, reaches {len(suite.reached)}")


def judge_apart(mutant):
    """The same, in a build of its own."""
    write_source([], mutant)
    if any(errors_in(cargo("check", "-p", "tokenkeep"))):
        return "unviable", ""
    # Most are seen by the quickest tests: the others are built for the rest only.
    for chosen in (SUITES[:1], SUITES[1:]):
        suites = build_suites(chosen)
        for suite in suites:
            suite.reached = {mutant.number}
        result = judge(mutant, suites)
        if result[0] != "missed":
            break
    return result


def judge(mutant, suites):
    """What becomes of a mutant, and which tests see it."""
    for suite in suites:
        if mutant.number in suite.reached:
            passes = suite.run({"TOKENKEEP_MUTANT": str(mutant.number)})
            if not passes:
                forget_cases()
                return ("timeout" if passes is None else "caught"), suite.name
    return "missed", ""


# Results


def read_results():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def print_summary(mutants, results):
    kinds = ["caught", "timeout", "missed", "unviable", "not tried"]
    table = collections.defaultdict(collections.Counter)
    for mutant in mutants:
        table[mutant.short_file][results.get(mutant.name, ["not tried"])[0]] += 1
    table = {row: table[row] for row in sorted(table)}
    table["all"] = sum(table.values(), collections.Counter())
    print("| file | mutants | caught | timeout | missed | unviable | not tried | |\n|---|" + "---:|" * 7)
    for row, counts in table.items():
        seen, missed = counts["caught"] + counts["timeout"], counts["missed"]
        share = f"{100 * seen / (seen + missed):.1f} %" if seen + missed else ""
        cells = [row, counts.total(), *(counts[kind] for kind in kinds), share]
        print("| " + " | ".join(map(str, cells)) + " |")
    missed = [mutant.name for mutant in mutants if results.get(mutant.name, [""])[0] == "missed"]
    MISSED.write_text("".join(f"{name}\n" for name in missed))
    print(f"{len(missed)} missed, see {MISSED}")


def note(mutant, result, results):
    print(*result, mutant.name, flush=True)
    results[mutant.name] = result
    RESULTS.with_suffix(".new").write_text(json.dumps(results, indent=0))
    RESULTS.with_suffix(".new").replace(RESULTS)


def run_together(mutants, chosen, results):
    """Builds all the mutants, and tries the chosen ones that have no result."""
    unviable = {name for name, result in results.items() if result[0] == "unviable"}
    viable = take_out_unviable([mutant for mutant in mutants if mutant.name not in unviable])
    for mutant in set(mutants) - set(viable):
        note(mutant, ["unviable", ""], results)
    suites = build_suites(SUITES)
    look_what_is_reached(suites)
    for mutant in chosen:
        if mutant.name not in results:
            note(mutant, judge(mutant, suites), results)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", nargs="+", default=[""], help="only files whose path contains one of these")
    parser.add_argument("--name", default="", help="only mutants whose name contains this")
    parser.add_argument("--again", nargs="+", default=[], help="forget these results first: missed, caught, all, …")
    parser.add_argument("--summary", action="store_true", help="only tell what is known")
    return parser.parse_args()


def main():
    arguments = read_arguments()
    HOME.mkdir(parents=True, exist_ok=True)
    mutants = list_mutants()
    chosen = [
        mutant
        for mutant in mutants
        if any(part in mutant.short_file for part in arguments.file) and arguments.name in mutant.name
    ]
    results = read_results()
    if arguments.summary:
        return print_summary(chosen, results)
    for mutant in chosen:
        if {"all", results.get(mutant.name, [""])[0]} & set(arguments.again):
            results.pop(mutant.name, None)
    copy_workspace()
    write_switch(len(mutants))
    together = [mutant for mutant in mutants if not mutant.is_apart]
    run_together(together, [mutant for mutant in chosen if not mutant.is_apart], results)
    for mutant in chosen:
        if mutant.is_apart and mutant.name not in results:
            note(mutant, judge_apart(mutant), results)
    print_summary(chosen, results)


if __name__ == "__main__":
    main()
