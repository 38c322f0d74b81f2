# SPDX-License-Identifier: MIT
"""names.py links DOCUMENT... | commands PLAIT DOCUMENT...: what documents refer to must exist."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(os.environ["PLAIT_SOURCE"])
MESON = {"b_sanitize", "b_lundef", "buildtype", "werror", "c_args", "prefix", "default_library"}
WITH_VALUE = {"--on", "-j", "--workers", "--window", "--timeout", "--retries", "--journal",
              "--memory", "-o", "--output"}


def anchors(path):
    """The anchors of a document, made from its headings as GitHub makes them."""
    found, fenced = set(), False
    for line in path.read_text().split("\n"):
        fenced ^= line.startswith("```")
        if not fenced and line.startswith("#"):
            text = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(text.replace(" ", "-"))
    return found


def check_links(path, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        if not to.exists():
            yield f"the link {target} leads nowhere"
        elif anchor and anchor not in anchors(to):
            yield f"the link {target}: there is no such heading"


def code_lines(text):
    """What a reader may type: code spans, and the lines of indented and fenced blocks."""
    fenced = False
    for line in text.split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def output(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True, cwd=ROOT).stdout


class Names:
    def __init__(self, plait):
        help_run = output(plait, "help", "run")
        self.dev = set(re.findall(r"^\./dev (\S+)", output("./dev", "help"), re.M)) | {"help"}
        self.steps = set(output("./dev", "check", "--list").split()) | {"--fast", "--list"}
        self.jobs = set(re.findall(r"^  ([a-z]\w+) [A-Z\[]", help_run, re.M))
        self.options = set(re.findall(r"(?<![\w-])(--?[\w-]+)", help_run))
        tests = ROOT / "tests"
        self.tests = [path.relative_to(tests).as_posix() for path in tests.rglob("*.*")]
        options = (ROOT / "meson_options.txt").read_text()
        self.meson = MESON | set(re.findall(r"option\('(\w+)'", options))

    def check_dev(self, words):
        if words and words[0] not in self.dev | {"COMMAND"}:
            yield f"./dev has no command {words[0]}"
        for word in words[1:]:
            if word == "#":
                break
            if words[0] == "test" and not any(word in name for name in self.tests):
                yield f"no test file has {word} in its path"
            if words[0] == "bench" and word.startswith("--"):
                if f'"{word}"' not in (ROOT / "tools/bench").read_text():
                    yield f"./dev bench has no option {word}"
            elif words[0] == "bench" and not (ROOT / f"bench/{word.split('/')[0]}.c").exists():
                yield f"there is no benchmark {word}"
            if words[0] == "check" and word not in self.steps:
                yield f"./dev check has no step {word}"

    def check_run(self, words):
        job, value = None, False
        for word in words:
            if word in ("--", "|", "<", ">", "#"):
                break
            if value or re.match(r"\[|<", word):
                value = False
            elif word.startswith("-"):
                value = word in WITH_VALUE
                if word not in self.options:
                    yield f"plait run has no option {word}"
            elif job is None:
                job = word
                if word not in self.jobs | {"JOB", "..."} and ".so:" not in word:
                    yield f"plait run has no job {word}"

    def check_plait(self, words):
        if words[0] == "run":
            yield from self.check_run(words[1:])
        elif words[0] == "help":
            for word in words[1:2]:
                if word not in self.jobs | {"run", "JOB"}:
                    yield f"plait help knows no {word}"
        elif words[0] not in ("--help", "--version"):
            yield f"there is no command plait {words[0]}"

    def check(self, _path, text):
        for line in code_lines(text):
            for found in re.finditer(r"\./dev((?: [^\s&|;]+)*)", line):
                yield from self.check_dev(found.group(1).split())
            for found in re.finditer(r"(?:^|[|;&$] |time )(?:[\w./]*/)?plait (--?\w+|[a-z]+\b.*)",
                                     line):
                yield from self.check_plait(re.sub(r"[()]", "", found.group(1)).split())
            for name in re.findall(r"(?<!\w)-D(\w+)=", line):
                if name not in self.meson:
                    yield f"meson has no option {name}"


def main():
    what, *arguments = sys.argv[1:]
    check = check_links if what == "links" else Names(arguments.pop(0)).check
    wrong = 0
    for name in arguments:
        path = pathlib.Path(name)
        for text in check(path, path.read_text()):
            print(f"{path.relative_to(ROOT)}: {text}")
            wrong += 1
    sys.exit(1 if wrong else 0)


main()
