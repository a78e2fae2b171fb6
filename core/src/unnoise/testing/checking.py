"""What a check is, how checks are run, and what is said of one that fails."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from textwrap import fill, shorten
from typing import Literal, TypeVar

from unnoise.errors import UserError, did_you_mean
from unnoise.testing.subject import Check, Subject

Status = Literal["passed", "failed", "skipped", "expected failure", "unexpected pass"]
Names = TypeVar("Names", Sequence[str], Mapping[str, str])

MARKS: Mapping[Status, str] = {
    "passed": "ok",
    "failed": "FAIL",
    "skipped": "skip",
    "expected failure": "xfail",
    "unexpected pass": "XPASS",
}
"""Status -> how a line of the table begins."""

CHECKS: dict[str, Check] = {}
"""Name -> check, in the order in which they are run."""


class NotApplicableError(Exception):
    """A check that does not apply; the message says why."""


class Failure(AssertionError):
    """A check that failed.

    Args:
        seen: what was found.
        cause: the likeliest reason.
        fix: what to do about it.
    """

    def __init__(self, seen: str, cause: str, fix: str) -> None:
        super().__init__(seen)
        self.seen, self.cause, self.fix = seen, cause, fix


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Args:
        name: of the check.
        status: "expected failure" and "unexpected pass" are about checks that were announced to fail.
        detail: what was seen of a failure; reason of a skip, or of a failure that was announced.
        expected: what the check wants.
        cause: the likeliest reason of a failure.
        fix: what to do about it.
        seconds: how long it took.
        error: what was raised.
    """

    name: str
    status: Status
    detail: str = ""
    expected: str = ""
    cause: str = ""
    fix: str = ""
    seconds: float = 0.0
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        return self.status in ("passed", "skipped", "expected failure")

    def __str__(self) -> str:
        """A line of the table."""
        reason = f"  {self.detail}" if self.status in ("skipped", "expected failure") else ""
        return f"{MARKS[self.status]:5}  {self.name:{max(map(len, CHECKS))}}  {self.seconds:4.1f} s{reason}"


def check(function: Check) -> Check:
    """Register a check under its own name; its docstring says what it wants."""
    CHECKS[function.__name__] = function
    return function


def expect(holds: bool, seen: str, cause: str, fix: str) -> None:
    """Raise :class:`Failure` unless something holds."""
    if not holds:
        raise Failure(seen, cause, fix)


def iter_checks(
    name: str,
    expected_failures: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Iterator[Result]:
    """Run the checks on a modality, one after the other; arguments and errors as for :func:`run_checks`."""
    expected, chosen = _known(expected_failures or {}), _known(only) or list(CHECKS)
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(name, Path(folder), words)
        subject.registry.modality(name)
        for check_name in CHECKS:
            if check_name in chosen:
                yield _run(check_name, subject, expected)


def run_checks(
    name: str,
    expected_failures: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[Result]:
    """Run the checks on a modality.

    Args:
        name: of the modality.
        expected_failures: check -> reason. Such a check must fail: a pass is a failure too.
        words: config overrides, as on the command line.
        only: these checks; all if empty.

    Raises:
        UserError: if there is no such modality or check.
    """
    return list(iter_checks(name, expected_failures, words, only))


def modality_checks(
    name: str, expected_failures: Mapping[str, str] | None = None, words: Sequence[str] = ()
) -> Callable[..., None]:
    """A pytest function with one case a check; assign it to a name that starts with ``test_``. Arguments as for
    :func:`run_checks`.
    """
    import pytest

    expected = _known(expected_failures or {})
    folder = tempfile.TemporaryDirectory()
    subject = Subject(name, Path(folder.name), words)

    @pytest.mark.parametrize("check_name", list(CHECKS))
    def run(check_name: str) -> None:
        result = _run(check_name, subject, expected)
        if result.status == "skipped":
            pytest.skip(result.detail)
        if result.status == "expected failure":
            pytest.xfail(result.detail)
        if not result.ok:
            raise AssertionError(explained([result])) from result.error

    run.__dict__["folder"] = folder  # lives as long as the cases do
    return run


def explained(results: Iterable[Result]) -> str:
    """What is said of the checks that are not as they should be. Those that fail alike are explained once: where a
    data set cannot be read, every check says so.
    """
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if not result.ok:
            groups.setdefault((result.detail, result.cause, result.fix), []).append(result)
    texts = []
    for (seen, cause, fix), (first, *others) in groups.items():
        rows = {"expected": first.expected, "seen": seen, "cause": cause, "fix": fix}
        lines = [f"{first.name}: {first.status}"]
        lines += [_paragraph(title, text) for title, text in rows.items() if text]
        if others:
            lines.append(_paragraph("also", f"the same in {', '.join(result.name for result in others)}"))
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def summary(name: str, results: Sequence[Result]) -> str:
    """How many checks were run, and what became of them: ``"toy: 20 run (20 passed), 2 skipped, 8.1 s"``."""
    counts = {status: sum(result.status == status for result in results) for status in MARKS}
    skipped = counts.pop("skipped")
    plural = {"expected failure": "expected failures", "unexpected pass": "unexpected passes"}
    said = [f"{n} {status if n == 1 else plural.get(status, status)}" for status, n in counts.items() if n]
    seconds = sum(result.seconds for result in results)
    return f"{name}: {sum(counts.values())} run ({', '.join(said) or 'none'}), {skipped} skipped, {seconds:.1f} s"


def _paragraph(title: str, text: str) -> str:
    return fill(text, 110, initial_indent=f"  {title:10}", subsequent_indent=" " * 12, break_long_words=False)


def _known(names: Names) -> Names:
    """The names of checks, as they are; raises :class:`UserError` if there is no such check."""
    for name in names:
        if name not in CHECKS:
            raise UserError(
                f"there is no check {name!r}.{did_you_mean(name, CHECKS)}", f"there are: {', '.join(CHECKS)}"
            )
    return names


def _run(name: str, subject: Subject, expected: Mapping[str, str]) -> Result:
    started, wanted = time.perf_counter(), " ".join((CHECKS[name].__doc__ or "").split())
    failure: Failure | None = None
    raised: BaseException | None = None
    try:
        with redirect_stderr(StringIO()):  # progress bars
            CHECKS[name](subject)
    except NotApplicableError as reason:
        return Result(name, "skipped", str(reason), wanted, seconds=time.perf_counter() - started)
    except Exception as error:
        raised, failure = error, error if isinstance(error, Failure) else _unforeseen(error, subject)
    seconds = time.perf_counter() - started
    if failure is None and name in expected:
        cause, fix = f"it was announced to fail: {expected[name]}", f"take {name!r} out of expected_failures"
        return Result(name, "unexpected pass", "it passed", wanted, cause, fix, seconds)
    if failure is None:
        return Result(name, "passed", "", wanted, seconds=seconds)
    if name in expected:
        return Result(name, "expected failure", expected[name], wanted, failure.cause, failure.fix, seconds, raised)
    return Result(name, "failed", failure.seen, wanted, failure.cause, failure.fix, seconds, raised)


def _unforeseen(error: Exception, subject: Subject) -> Failure:
    """A failure from an exception that no check raised: of the plugin's own code, or of the engine's."""
    if isinstance(error, UserError):
        return Failure(error.message, "the engine refuses what the plugin or its config gives it", error.fix)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if set(Path(frame.filename).parts) & subject.packages]
    where = (own or frames)[-1]
    text = shorten(str(error), 300, placeholder=" ...")
    seen = f"{type(error).__name__}: {text} ({Path(where.filename).name}:{where.lineno}, in {where.name})"
    cause = "the plugin's own code raised it" if own else "the engine cannot go on with what the plugin gave it"
    return Failure(seen, cause, f"the whole trace: test_contract = modality_checks({subject.name!r}) in a test, pytest")
