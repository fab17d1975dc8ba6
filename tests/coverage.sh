#!/bin/bash
# SPDX-License-Identifier: MIT
# Which branches of the resolver its own tests never take, by gcov: tests/coverage.sh BUILD_DIR, a build with
# --enable-coverage in which they have run (`make check-coverage` does all that). Asserts do not count, as never to fail is
# their meaning, nor do lines marked LCOV_EXCL_BR_LINE, which say why. Prints each branch that was never taken; exit code 1
# if there is one, or a file of the resolver that the tests are not built with.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$1"
for data in sync/tests_test_resolver*-resolver*.gcda; do
	gcov --branch-probabilities --json-format --stdout "$data"
done | python3 -c '
import collections, glob, json, os, sys

taken = collections.defaultdict(lambda: collections.defaultdict(int))  # file: (line, which): how often
for text in sys.stdin:
    for source in json.loads(text)["files"]:
        if "sync/resolver" not in source["file"] or not source["file"].endswith(".c"):
            continue
        for line in source["lines"]:
            for which, branch in enumerate(line["branches"]):
                taken[source["file"]][line["line_number"], which] += branch["count"]
n_taken = n_all = 0
for name, branches in sorted(taken.items()):
    code = [""] + open(name).read().split("\n")
    counted = {at: n for at, n in branches.items()
               if "assert(" not in code[at[0]] and "LCOV_EXCL_BR_LINE" not in code[at[0]]}
    for line, which in sorted(at for at, n in counted.items() if n == 0):
        print(f"{name}:{line}: branch {which} never taken: {code[line].strip()}")
    here = sum(n > 0 for n in counted.values())
    print(f"# {name}: {here} of {len(counted)} branches taken")
    n_taken += here
    n_all += len(counted)
print(f"# {n_taken} of {n_all} branches taken")
missing = {os.path.basename(f) for f in glob.glob(sys.argv[1] + "/sync/resolver*.c")} - {os.path.basename(f) for f in taken}
for name in sorted(missing):
    print(f"sync/{name}: nothing is known of it")
sys.exit(n_taken < n_all or n_all == 0 or len(missing) > 0)
' "$top"
