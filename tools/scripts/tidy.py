#!/usr/bin/env python3
"""Checks the rules of the tree: who may include whom, sizes, purpose comments, pass naming, error codes with tests.

Run it from anywhere: tools/scripts/tidy.py [ROOT]. It prints `file:line: rule: what is wrong; fix: what to do` and exits 1.
Exceptions stand in tidy_exceptions.txt, one `rule path[:function] limit reason` a line; one that is no longer needed is an error too.
"""

import os
import re
import subprocess
import sys

from cxx_functions import functions

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "codegen", "dialects", "frontend", "passes",
             "runtime", "test", "tools"}
CXX = (".cpp", ".h", ".c")
SOURCES = CXX + (".td", ".py", ".sh", ".cmake", ".fbs", ".mlir", ".test", ".in")
MAX_FILE, MAX_TD, MAX_MAIN, MAX_FUNCTION, MAX_RUNTIME_FUNCTION = 800, 500, 150, 80, 70
MAX_COLUMNS = 120
MAX_REPOSITORY_BYTES = 40 << 20

# Who may include whom, as the first components of an include path: the arrows of the architecture.
LLVM = {"mlir", "llvm", "llvm-c", "lld", "clang"}
COMPILER = {"dialects", "frontend", "passes", "codegen", "tools"} | LLVM
MAY_INCLUDE = [
    # (path prefix, project folders it may name, may it name LLVM)
    ("runtime/", {"runtime", "moray"}, False),
    ("dialects/", {"dialects"}, True),
    ("frontend/", {"frontend", "dialects", "runtime/schema"}, True),  # it compiles the tokenizer tables
    ("passes/", {"passes", "dialects"}, True),
    ("codegen/", {"codegen", "passes", "dialects", "runtime/schema"}, True),
    ("tools/moray-opt/", {"tools", "frontend", "codegen", "passes", "dialects", "moray"}, True),
    ("tools/moray-compile/", {"tools", "frontend", "codegen", "passes", "dialects", "moray", "runtime/include"}, True),
    ("tools/moray-inspect/", {"common", "moray", "runtime/schema"}, False),
    # It walks the commands of artifacts with the runtime's own reader and work model.
    ("tools/moray-plan/", {"common", "moray", "runtime/artifact", "runtime/exec"}, False),
    ("tools/moray-make-model/", {"common", "tools", "frontend", "dialects"}, True),
    ("tools/common/", {"common", "moray"}, False),
    ("tools/cmake/", {"tools"}, True),
    ("tools/", {"common", "moray"}, False),
]
PROJECT = {"dialects", "frontend", "passes", "codegen", "runtime", "tools", "test"}
# How sources name an error code: E2107 or kE2107 anywhere, error(2107, ...), `constexpr int kTokenizerMissing = 2500`.
ERROR_CODES = (re.compile(r"\b()k?E([1-79]\d{3})\b"), re.compile(r"()(?:[Ee]rror|fail|problem)\w*\(([1-79]\d{3}),"),
               re.compile(r"constexpr int (k\w+) = ([1-79]\d{3});"))
ROUND_NUMBERS = {"1000", "1024", "2000", "2048", "3000", "4000", "4096", "5000"}
# Paths of one machine and marks of unfinished work.
FORBIDDEN = re.compile(r"(?<![\w.%}/])/(work|home|root|tmp/build)[/-]|DO NOT COMM[I]T|XX[X]:")


class Tidy:
    def __init__(self, root):
        self.root = root
        self.problems = []
        self.exceptions = self.readExceptions()
        self.used = set()
        self.texts = {}
        self.files = self.listFiles()

    def listFiles(self):
        """Tracked files and new ones that git does not ignore; where the tree is no checkout of its own, everything outside build/."""
        if not os.path.exists(os.path.join(self.root, ".git")):
            return sorted(self.walk())
        command = ["git", "-C", self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        names = result.stdout.decode().split("\0") if result.returncode == 0 else self.walk()
        return sorted({n for n in names if n and os.path.isfile(os.path.join(self.root, n))})

    def walk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = [f for f in folders if f not in ("build", ".git", "__pycache__")]
            for name in files:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def readExceptions(self):
        entries = {}
        path = os.path.join(self.root, "tools/scripts/tidy_exceptions.txt")
        if not os.path.exists(path):
            return entries
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            fields = line.split(None, 3)
            if not fields or line.startswith("#"):
                continue
            if len(fields) < 4 or not fields[2].isdigit():
                self.problem("tools/scripts/tidy_exceptions.txt", number, "exception", "not `rule path limit reason`", "write all four")
                continue
            entries[(fields[0], fields[1])] = (int(fields[2]), number)
        return entries

    def problem(self, path, line, rule, what, fix):
        self.problems.append((path, line, "%s:%d: %s: %s; fix: %s" % (path, line, rule, what, fix)))

    def tooLong(self, rule, path, name, line, size, limit, fix):
        """Reports `size` above `limit`, unless an exception allows exactly that much."""
        if size <= limit:
            return
        key = (rule, name)
        if key in self.exceptions:
            self.used.add(key)
            if size <= self.exceptions[key][0]:
                return
            limit = self.exceptions[key][0]
        self.problem(path, line, rule, "%s has %d lines, at most %d are allowed" % (name, size, limit), fix)

    def text(self, path):
        if path not in self.texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                self.texts[path] = file.read()
        return self.texts[path]

    def sources(self, *suffixes):
        return [f for f in self.files if f.endswith(suffixes) and not f.startswith(("test/golden/", "test/models/"))]

    # ---- rules ----

    def checkTree(self):
        for name in sorted({f.split("/")[0] for f in self.files}):
            if name not in TOP_LEVEL and not name.startswith("."):
                self.problem(name, 1, "top-level", "unknown entry in the root", "move it into one of the folders")
        for folder in ("codegen", "dialects", "frontend", "passes", "runtime", "test", "tools"):
            if folder + "/README.md" not in self.files:
                self.problem(folder, 1, "readme", "no README.md", "say what lives there, what does not, and how to add one")
        size = sum(os.path.getsize(os.path.join(self.root, f)) for f in self.files)
        if size > MAX_REPOSITORY_BYTES:
            self.problem(".", 1, "repository-size", "%d bytes" % size, "keep it under %d" % MAX_REPOSITORY_BYTES)

    def checkIncludes(self):
        for path in self.sources(*CXX):
            for prefix, allowed, llvm in MAY_INCLUDE:
                if path.startswith(prefix):
                    self.checkFileIncludes(path, allowed, llvm)
                    break

    def checkFileIncludes(self, path, allowed, llvm):
        for number, line in enumerate(self.text(path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*[<"]([^">]+)[">]', line)
            if not match:
                continue
            parts = match.group(1).split("/")
            target = parts[0]
            if ".." in parts:
                self.problem(path, number, "include", "relative include of %s" % match.group(1), "name it from the root")
            elif target in LLVM:
                if not llvm:
                    self.problem(path, number, "include", "%s may not use LLVM or MLIR" % path.split("/")[0], "move the code")
            elif target in PROJECT and target not in allowed and "/".join(parts[:2]) not in allowed:
                self.problem(path, number, "include", "%s may not include %s" % (path, match.group(1)),
                             "the arrows are in MAY_INCLUDE of tools/scripts/tidy.py; move the code or pass the data")

    def checkSizes(self):
        for path in self.sources(*SOURCES):
            lines = self.text(path).count("\n")
            limit = MAX_TD if path.endswith(".td") else MAX_FILE
            self.tooLong("file", path, path, 1, lines, limit, "split it by subject")
        for path in self.sources(*CXX):
            limit = MAX_RUNTIME_FUNCTION if path.startswith("runtime/") else MAX_FUNCTION
            for function in functions(self.text(path)):
                name = "%s:%s" % (path, function.name)
                self.tooLong("function", path, name, function.first, function.lines, limit, "take a named step out of it")
                if function.name == "main" and path.startswith("tools/"):
                    self.tooLong("main", path, path, 1, self.text(path).count("\n"), MAX_MAIN, "move logic to a library")

    def checkText(self):
        for path in self.sources(*SOURCES + (".md", ".txt")):
            text = self.text(path)
            if text and not text.endswith("\n"):
                self.problem(path, text.count("\n") + 1, "final-newline", "the last line has no end", "add a newline")
            for number, line in enumerate(text.splitlines(), 1):
                self.checkLine(path, number, line)

    def checkLine(self, path, number, line):
        if line != line.rstrip():
            self.problem(path, number, "trailing-space", "white space at the end", "remove it")
        if path.endswith(CXX) and len(line) > MAX_COLUMNS and "http" not in line:
            self.problem(path, number, "columns", "%d columns" % len(line), "break it at %d (clang-format)" % MAX_COLUMNS)
        word = FORBIDDEN.search(line)
        if word:
            self.problem(path, number, "forbidden", "'%s' belongs to one machine" % word.group(0), "use a relative path or remove it")
        if re.search(r"\b(TODO|FIXME)\b(?!\([^)]+\): )", line) and not path.endswith("tidy.py"):
            self.problem(path, number, "todo", "a to-do without owner", "write TODO(name): consequence, or do it")

    def checkPurpose(self):
        for path in self.sources(*SOURCES):
            head = self.text(path).splitlines()[:12]
            if head and head[0].startswith("#!"):
                head = head[1:]
            test = path.endswith((".mlir", ".test"))
            if test:
                head = [l for l in head if not re.search(r"\b(RUN|REQUIRES|UNSUPPORTED|XFAIL|DEFINE|ALLOW_RETRIES)\b\S*:", l)]
            head = [l for l in head if l.strip() and "SPDX-License-Identifier" not in l]
            first = head[0].strip() if head else ""
            if not test and re.match(r"#(ifndef|define|pragma)", first):
                first = next((l.strip() for l in head if not l.startswith("#")), "")
            comment = re.match(r'(//+|/\*+|#|"""|;|r""")[-= ]*(.*)', first)
            if not comment or len(comment.group(2)) < 12 or len(comment.group(2).split()) < 3:
                self.problem(path, 1, "purpose", "does not open with a sentence on its purpose", "add it as the first comment")

    def checkPasses(self):
        table = "passes/Passes.td"
        if table not in self.files:
            return
        text = self.text(table)
        for match in re.finditer(r'def\s+(\w+)\s*:\s*\w*Pass<\s*"([^"]+)"', text):
            name, flag = match.groups()
            kebab = kebabCase(re.sub(r"Pass$", "", name))
            line = text.count("\n", 0, match.start()) + 1
            if flag != "moray-" + kebab:
                self.problem(table, line, "pass", "%s has the flag %s" % (name, flag), "call it moray-" + kebab)
            if not any(f.startswith("passes/") and os.path.basename(f) == re.sub(r"Pass$", "", name) + ".cpp" for f in self.files):
                self.problem(table, line, "pass", "%s has no file %s.cpp" % (name, name), "one pass, one file of its name")
            if "test/Passes/%s.mlir" % kebab not in self.files:
                self.problem(table, line, "pass", "%s has no test" % name, "add test/Passes/%s.mlir" % kebab)

    def checkErrorCodes(self):
        """Every stable code that the sources name outside of comments is mentioned by a test, as E2107, 2107 or by its constant."""
        tests = "\n".join(self.text(f) for f in self.sources(".mlir", ".test", ".cpp", ".py", ".c", ".h") if f.startswith("test/"))
        tested = set(re.findall(r"E([1-79]\d{3})\b", tests)) | set(re.findall(r"(?<![\w.])([1-5]\d{3})\b(?!\.)", tests)) - ROUND_NUMBERS
        words = set(re.findall(r"\bk[A-Z]\w+", tests))
        seen = set()
        for path in self.sources(".cpp", ".h", ".py"):
            if path.startswith(("test/", "tools/scripts/")):
                continue
            for number, line in enumerate(self.text(path).splitlines(), 1):
                code_line = re.sub(r"(^\s*[*#]|//|/\*).*", "", line)
                for pattern in ERROR_CODES:
                    for name, code in re.findall(pattern, code_line):
                        if code not in seen and code not in tested and name not in words:
                            self.problem(path, number, "error-code", "E%s has no test" % code, "add a test that mentions E%s" % code)
                        seen.add(code)

    def checkExceptions(self):
        for key, (_, number) in sorted(self.exceptions.items()):
            if key not in self.used:
                self.problem("tools/scripts/tidy_exceptions.txt", number, "exception", "%s %s is not needed" % key, "delete the line")


def kebabCase(name):
    """AbsorbMLA -> absorb-mla, QuantizeFP8 -> quantize-fp8, FuseRowOps -> fuse-row-ops, PartitionMoE -> partition-moe."""
    name = name.replace("MoE", "Moe").replace("RoPE", "Rope")
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1-\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../.."))
    tidy = Tidy(root)
    for check in (tidy.checkTree, tidy.checkIncludes, tidy.checkSizes, tidy.checkText, tidy.checkPurpose, tidy.checkPasses,
                  tidy.checkErrorCodes, tidy.checkExceptions):
        check()
    for _, _, line in sorted(tidy.problems):
        print(line)
    print("tidy: %d files, %d problems, %d exceptions" % (len(tidy.files), len(tidy.problems), len(tidy.exceptions)))
    return 1 if tidy.problems else 0


if __name__ == "__main__":
    sys.exit(main())
