# SPDX-License-Identifier: MIT
"""snippets: the C and the Python in the documents is compiled, and whole programs are run.

In a document

    <!-- statements: PARAMETERS -->   before a block of C: it is the body of a function of these
    ```output                         what the program before it prints

Where a Python program and a C program stand in a row, both print it. A block of C that includes
nothing comes after docs/snippets/prelude.h. A block of the library's inside, which names pl_
things, is not C that a user could compile, and is left out.
"""
import concurrent.futures
import dataclasses
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys

STRICT = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
STATEMENTS = re.compile(r"<!-- statements: (.*) -->$")
TOGETHER = 8  # sources that one call of a compiler reads
LIMIT_S = 60


@dataclasses.dataclass
class Snippet:
    document: str
    line: int  # of its first line
    language: str  # "c" or "python"
    text: str
    parameters: str = ""
    output: str = None  # what it prints, where the document says so

    @property
    def place(self):
        return f"{self.document}:{self.line}"

    @property
    def inside(self):
        return self.language == "c" and re.search(r"\bpl_|\bPL_", self.text)

    @property
    def is_program(self):
        return self.language == "python" or re.search(r"\bint main\(", self.text)

    def source(self):
        if self.language == "python":
            return self.text
        prelude = "" if "#include" in self.text else '#include "prelude.h"\n'
        start = f'#line {self.line} "{self.document}"\n'
        if not self.parameters:
            return prelude + start + self.text
        head = f"int snippet({self.parameters})"
        body = re.sub(r"(?m)^(?=.)", "    ", self.text)
        return f"{prelude}{head};\n{head}\n{{\n{start}{body}    return 0;\n}}\n"


def snippets_of(path, document):
    """The blocks of C and Python of one document, each with the output that it promises."""
    found, waiting, parameters, block = [], {}, "", None
    for number, line in enumerate(path.read_text().split("\n"), 1):
        if block is not None:
            if not line.startswith("```"):
                block.append(line)
                continue
            text = "".join(part + "\n" for part in block)
            if language == "output":
                for snippet in waiting.values():
                    snippet.output = text
                waiting = {}
            elif language in ("c", "python"):
                snippet = Snippet(document, number - len(block), language, text, parameters)
                parameters = ""
                if not snippet.inside:
                    found.append(snippet)
                    waiting.pop(language, None)
                    if snippet.is_program:
                        waiting[language] = snippet
            block = None
        elif line.startswith("```"):
            block, language = [], line[3:].strip()
        elif STATEMENTS.match(line):
            parameters = STATEMENTS.match(line).group(1)
        elif line.startswith("#"):
            waiting = {}
    return found


def documents_of(root):
    return sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))


class Workshop:
    """Where snippets are written, compiled and run. Problems are (place, text)."""

    def __init__(self, root, directory, documents=None):
        self.root, self.directory = root, pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.snippets, self.files = [], {}
        for path in documents or documents_of(root):
            self.snippets += snippets_of(path, path.relative_to(root).as_posix())
        for snippet in self.snippets:
            name = re.sub(r"\W", "_", snippet.document) + f"_{snippet.line:05d}"
            suffix = ".c" if snippet.language == "c" else ".py"
            file = self.directory / (name + suffix)
            file.write_text(snippet.source())
            self.files[snippet.place] = file
        self.flags = STRICT + [f"-I{root}/include", f"-I{root}/docs/snippets"]

    def compile(self):
        """Every block, by each compiler that is here."""
        jobs = []
        c = [self.files[s.place] for s in self.snippets if s.language == "c"]
        for compiler in filter(shutil.which, ("gcc", "clang")):
            for first in range(0, len(c), TOGETHER):
                jobs.append([compiler, *self.flags, "-fsyntax-only", *c[first:first + TOGETHER]])
        problems = []
        for command, ended in in_parallel(run_quietly, jobs):
            if ended.returncode:
                problems.append((command[0], ended.stderr))
        for snippet in self.snippets:
            if snippet.language == "python":
                try:
                    compile(snippet.text, snippet.document, "exec")
                except SyntaxError as error:
                    problems.append((snippet.place, str(error)))
        return problems

    def run(self, library):
        """Every program that says what it prints; `library` is libplait.a."""
        self.library = library
        programs = [s for s in self.snippets if s.output is not None]
        return [problem for _, problem in in_parallel(self.run_one, programs) if problem]

    def run_one(self, snippet):
        file = self.files[snippet.place]
        command = [sys.executable, file]
        if snippet.language == "c":
            program = file.with_suffix("")
            built = run_quietly([os.environ.get("CC", "cc"), *self.flags, file, self.library,
                                 "-pthread", "-o", program])
            if built.returncode:
                return snippet.place, built.stderr
            command = [program]
        limit = LIMIT_S * float(os.environ.get("PLAIT_TEST_TIMEOUT_SCALE", "1"))
        try:
            ended = run_quietly(command, timeout=limit)
        except subprocess.TimeoutExpired:
            return snippet.place, f"has not ended after {limit:g} s\n"
        if ended.returncode or ended.stderr:
            return snippet.place, f"exit status {ended.returncode}\n{ended.stderr}"
        if ended.stdout != snippet.output:
            return snippet.place, "".join(difflib.unified_diff(
                snippet.output.splitlines(True), ended.stdout.splitlines(True), "the document",
                snippet.language))
        return None


def run_quietly(command, timeout=None):
    return subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                          timeout=timeout)


def in_parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(zip(items, pool.map(function, items)))
