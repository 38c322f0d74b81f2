# SPDX-License-Identifier: MIT
"""documented: is everything public described as a reader needs it?

- A declaration has a comment of its own or of its group. (A section's comment adds to it.)
- A function that returns an int or a count lists its errors, by code or by a reference such as "as
  plait_result()", or says "Returns 0" or "never fails". A sentence in the head of the header may
  say it for all ("Each call returns a negative errno as the system call of that name does").
- Whether a function may suspend is said in its comment ("Suspends a fiber", "Never suspends",
  "does not wait", "Blocks the thread", "as plait_sleep()"), or in the head of its header for all.
  A function that lists -ECANCELED or -ETIMEDOUT, or takes a deadline, may suspend, and the head
  must say "waiting suspends a fiber" or "calls that wait suspend"; for the others it must say
  "never suspend". "Every call here suspends" speaks for all.
- Where a function may be called is said in the head of its header for all ("... in tasks of every
  executor and on plain threads", with what limits it), or else in its comment ("On any thread",
  "executors of processes", PLAIT_FIBERS). One for which the head is not true says so.
"""
import re

CODE = r"-E[A-Z][A-Z0-9]+"
ERRORS = re.compile(rf"{CODE}|[Rr]eturns? 0\b|[Nn]ever fails?\b|\b[Aa]s plait_\w+\(|"
                    r"[Rr]eturns (what|that)\b|\berrors of\b|negative errno")
HEAD_ERRORS = re.compile(r"\b([Ee]ach|[Ee]very|[Aa]ll) [^.]*negative errno")
SUSPENDS = re.compile(r"\b[Ss]uspend(s|ed)?\b|[Nn]ever (waits|blocks)\b|[Dd]oes not (wait|block)\b|"
                      r"\bBlocks (the thread|for|while|until)\b|\b[Aa]s plait_\w+\(")
HEAD_SUSPENDS = re.compile(r"(?<!never )\bsuspends\b|\bcalls that wait [^.;]*suspend\b")
HEAD_NEVER = re.compile(r"\bnever suspends?\b")
HEAD_ALL = re.compile(r"\b[Ee]very call [^.;]*\bsuspends\b")
WAITS = re.compile(r"-ECANCELED|-ETIMEDOUT")
HEAD_WHERE = re.compile(r"\bin tasks of every executor\b[^.]*\bon plain threads\b")
WHERE = re.compile(r"\b(any|every|each|all) (executors?|tasks?|process(es)?|threads?)\b|"
                   r"\bexecutors? of\b|\bplain threads?\b|\bPLAIT_(FIBERS|THREADS|PROCESSES)\b",
                   re.I)


def undocumented(header):
    """Yields (line, text) for each thing that is missing."""
    head = " ".join(header.head)
    for group in header.groups:
        comment = " ".join(group.comment)
        for declaration in group.declarations:
            if not comment:
                yield declaration.line, (
                    f"{declaration.name} is not documented: it needs a comment above it, or above "
                    "its group (declarations with no empty line between them)")
            elif declaration.kind == "function":
                yield from missing_in(declaration, f"{group.section} {comment}", head)


def missing_in(function, comment, head):
    fails = re.match(r"(int|ssize_t)\s+\w", function.code)
    if fails and not ERRORS.search(comment) and not HEAD_ERRORS.search(head):
        yield function.line, (
            f"{function.name}() returns {fails.group(1)}, and its comment lists no errors: give "
            'each as -ECODE, or say "Returns 0", "as plait_other()" or "never fails"')
    if not HEAD_WHERE.search(head) and not WHERE.search(comment):
        yield function.line, (
            f"{function.name}() does not say where it may be called: write in the head of the "
            'header "Everything here works in tasks of every executor and on plain threads.", or '
            "in its comment on which executors and threads it works")
    if SUSPENDS.search(comment) or HEAD_ALL.search(head):
        return
    waits = WAITS.search(comment) or re.search(r"\bint64_t deadline\b", function.code)
    if waits and not HEAD_SUSPENDS.search(head):
        yield function.line, (
            f'{function.name}() can wait, and nobody says that it suspends: write "Suspends a '
            'fiber, blocks a thread." in its comment, or in the head of the header for all')
    elif not waits and not HEAD_NEVER.search(head):
        yield function.line, (
            f'{function.name}() does not say whether it may suspend: write "Suspends a fiber, '
            'blocks a thread." or "Never suspends." in its comment, or in the head of the header '
            '"Every call here suspends a fiber and blocks a thread." or "A call that lists '
            '-ECANCELED suspends a fiber and blocks a thread; the others never suspend."')
