#!/usr/bin/env python3
"""Breaks each rounding of core/ in each way and runs the golden cases: every mutant must be noticed.

    python3 crates/creto-metering/tests/golden/mutants.py [TEST-FILTER]

A copy of the workspace is made in a temporary directory, in which `Rounding::whole` does what the environment says; it is built
once. With a filter, the crate's integration tests of that name are run for each mutant too. `CARGO_TARGET_DIR` is honoured.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True).stdout.strip())
CRATE = Path("crates/creto-metering")
BROKEN = """    pub fn whole(self, value: &Exact) -> Exact {
        let mutant = std::env::var("MUTANT").unwrap_or_default();
        let half_even = |value: &Exact| {
            let down = value.floor();
            let is_half = value - &down == Exact::ratio(1_u8, 2_u8).unwrap_or_default();
            let is_even = down.over(&Exact::from(2_u8)).is_some_and(|half| half.floor() == half);
            if is_half { if is_even { down } else { value.ceil() } } else { value.nearest() }
        };
        match mutant.split_once(':') {
            Some((name, way)) if name == self.name => match way {
                "none" => value.clone(),
                "up" => value.ceil(),
                "down" => value.floor(),
                "half_away" => value.nearest(),
                "half_even" => half_even(value),
                _ => (value + &Exact::ratio(1_u8, 2_u8).unwrap_or_default()).floor(),
            },
            _ => self.unbroken(value),
        }
    }

    fn unbroken(self, value: &Exact) -> Exact {"""
WAYS = ["none", "up", "down", "half_away", "half_even", "half_up"]
# What is rounded there is never negative: halves away from zero and halves up are the same.
EQUIVALENT = {("true_up", "half_up"), ("coupon", "half_up")}
OWN = {"HalfAway": "half_away", "Up": "up", "Down": "down"}


def copy(to):
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, files):
        source = ROOT / os.fsdecode(name)
        if source.is_file():
            target = to / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def artifacts(to, *arguments):
    built = subprocess.run(["cargo", *arguments, "-p", "creto-metering", "--message-format=json"], cwd=to, stdout=subprocess.PIPE, check=True)
    found = [json.loads(line) for line in built.stdout.splitlines() if line.startswith(b"{")]
    return {entry["target"]["name"]: entry["executable"] for entry in found if entry.get("executable")}


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        to = Path(directory)
        copy(to)
        rounding = to / CRATE / "src/core/rounding.rs"
        text = rounding.read_text()
        rounding.write_text(text.replace("    pub fn whole(self, value: &Exact) -> Exact {", BROKEN, 1))
        golden = artifacts(to, "build", "--example", "golden")["golden"]
        tests = artifacts(to, "test", "--test", "metering", "--no-run")["metering"] if wanted else None
        survivors = []
        for name, direction in re.findall(r'Rounding::new\("(\w+)", Direction::(\w+)\)', text):
            for way in WAYS:
                if way == OWN[direction] or (name, way) in EQUIVALENT:
                    continue
                environment = {**os.environ, "MUTANT": f"{name}:{way}"}
                cases = [ROOT / CRATE / "tests/golden" / file for file in ("metering.json", "oracle.json")]
                runs = [subprocess.run([golden, case], capture_output=True, env=environment).returncode for case in cases]
                noticed = ["facts" if runs[0] else None, "oracle" if runs[1] else None]
                if tests:
                    run = subprocess.run([tests, wanted], cwd=to / CRATE, capture_output=True, env=environment)
                    noticed.append(wanted if run.returncode else None)
                by = [who for who in noticed if who]
                print(f"{name:>14} {way:<10} {'noticed by ' + ', '.join(by) if by else 'SURVIVES'}", flush=True)
                # A bill over HTTP has no negative amounts, the only ones that halves up treat otherwise.
                if not any(runs) or (tests and way != "half_up" and not noticed[2]):
                    survivors.append(f"{name}:{way}")
    if survivors:
        sys.exit(f"{len(survivors)} survive: {' '.join(survivors)}")


main()
