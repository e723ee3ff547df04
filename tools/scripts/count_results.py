#!/usr/bin/env python3
"""Adds up the results of lit, ctest and GoogleTest: count_results.py RESULTS_DIR GTEST_DIR...; exits 1 on any failure.

RESULTS_DIR holds lit.xml and ctest-PRESET.xml. A ctest entry that left a GoogleTest file of its name counts by its cases, any
other entry (or one that died before it could write the file) counts as one test. The last line is `N passed, N failed, N skipped`.
"""

import os
import sys
import xml.etree.ElementTree as ElementTree


class Counts:
    def __init__(self):
        self.passed, self.failed, self.skipped, self.failures = 0, 0, 0, []

    def add(self, name, outcome):
        if outcome == "failed":
            self.failed += 1
            self.failures.append(name)
        elif outcome == "skipped":
            self.skipped += 1
        else:
            self.passed += 1


def caseOutcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled") or case.get("result") in ("skipped", "suppressed"):
        return "skipped"
    return "failed" if case.get("status") == "fail" else "passed"


def cases(path):
    try:
        return list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []


def addCtest(counts, path, folders):
    preset = os.path.basename(path)[len("ctest-"):-len(".xml")]
    for entry in cases(path):
        name, outcome = entry.get("name"), caseOutcome(entry)
        inner = [c for f in folders if ("/%s/" % preset) in f + "/" for c in cases(os.path.join(f, name + ".xml"))]
        outcomes = [(c.get("classname", "") + "." + c.get("name", ""), caseOutcome(c)) for c in inner]
        if not outcomes or (outcome == "failed" and not any(o == "failed" for _, o in outcomes)):
            outcomes.append((name, outcome))
        for case, result in outcomes:
            counts.add("%s: %s: %s" % (preset, name, case), result)


def main():
    results, folders = sys.argv[1], sys.argv[2:]
    counts = Counts()
    for case in cases(os.path.join(results, "lit.xml")):
        counts.add("lit: %s/%s" % (case.get("classname"), case.get("name")), caseOutcome(case))
    for name in sorted(os.listdir(results)):
        if name.startswith("ctest-"):
            addCtest(counts, os.path.join(results, name), folders)
    if not os.path.exists(os.path.join(results, "lit.xml")):
        counts.add("lit: did not run", "failed")
    for name in counts.failures:
        print("failed: " + name)
    print("%d passed, %d failed, %d skipped" % (counts.passed, counts.failed, counts.skipped))
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main())
