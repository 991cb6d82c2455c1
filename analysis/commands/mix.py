"""`python -m analysis mix`: from fits to a decision.

python -m analysis mix --general docs.json --domain python.json --N 1e5 --D 6e5 --tolerance 0.05 --base-loss 3.66
python -m analysis mix --domain python.json --N 1e5 --domain-tokens 3e5
python -m analysis mix --domain python.json --flops 1e12 --r 0.9
python -m analysis mix --general docs.json --N 1e5 --D 6e5 --base-loss 3.66
python -m analysis mix --fit docs=a.json --fit python=b.json --weights docs=1,python=2 --tokens 1e9
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.answers.answer import FARTHEST, WITHOUT, Answer
from analysis.answers.ensemble import settled
from analysis.answers.optimise import compute_allocation, critical_share, curves, domain_ability, limited_domain
from analysis.answers.simplex import best_mixture
from analysis.fitting.fit import LEVEL, Fit
from analysis.fitting.fit_file import read_fit
from analysis.formulas.assignments import pair_of, parse_numbers
from analysis.options.extrapolation import add_extrapolate, within_of
from harness.core.errors import InputError
from harness.core.files import user_path
from harness.core.options import amount, path

MEANINGS = {
    "interior": "an optimum inside the range",
    "on_bound": "at an end of what can be chosen",
    "on_limit": "held by the tolerance or a cap",
    "infeasible": "nothing satisfies the limit",
    "contradicted": "the measured runs say otherwise",
}
# Question -> the options it reads, of those that some question reads.
READS = {
    "the mixture of several corpora": ("fit", "weights", "tokens", "N", "available", "most_epochs"),
    "the best N and D for a training budget": ("flops", "r"),
    "the critical share": ("general", "N", "D", "base_loss", "tolerance", "increase"),
    "the share of limited downstream tokens": (
        "domain",
        "N",
        "domain_tokens",
        "general",
        "tolerance",
        "base_loss",
        "plot",
    ),
    "the share under a tolerance": ("general", "domain", "N", "D", "tolerance", "base_loss", "plot"),
    "the next runs for limited downstream tokens": ("domain", "N", "domain_tokens"),
}


def add_mix_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument("--flops", type=amount, metavar="C", help="best N and D for a training budget (usage 3)")
    parser.add_argument("--r", type=float, help="with --flops: the share of the fit's corpus")
    parser.add_argument("--increase", type=float, metavar="NATS", help="an absolute tolerance, for the critical share")
    several = parser.add_argument_group("mixtures of several corpora")
    several.add_argument("--fit", action="append", default=[], metavar="CORPUS=FIT", help="the fit of a corpus's loss")
    several.add_argument("--weights", default="", metavar="CORPUS=W,...", help="of the losses in the sum (1 each)")
    parser.add_argument(
        "--given",
        dest="further",
        default="",
        metavar="NAME=VALUE,...",
        help="further variables of the laws, such as U=5e8",
    )
    several.add_argument("--tokens", type=amount, help="of the run")
    several.add_argument("--available", default="", metavar="CORPUS=TOKENS,...", help="of scarce corpora")
    several.add_argument("--most-epochs", type=float, metavar="E", help="how often a token may be repeated")
    parser.add_argument("--plot", type=path, metavar="FILE", help="losses against the share: png, pdf or svg")


def mix(options: argparse.Namespace, _: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The document of `mix`, and its lines for a terminal. Raises InputError."""
    within = within_of(options)
    answer, fits = answer_to(options)
    warnings = [*unread(options, fits), *warning_lines(fits)]
    if options.plot:
        _plot(options.plot, options, answer, fits)
    return {**answer.document(within), "warnings": warnings}, [*answer_lines(answer, within), *warnings]


def answer_to(options: argparse.Namespace) -> tuple[Answer, dict[str, Fit]]:
    """The answer to the question that the options ask, and the fits by role or corpus. Raises InputError."""
    if options.fit:
        check_read(options, "the mixture of several corpora")
        fits = _settled(_fits_of_corpora(options.fit), options)
        weights = parse_numbers(options.weights, "weights") or dict.fromkeys(fits, 1.0)
        tokens = needed(options, "tokens")
        answer = best_mixture(
            fits,
            weights,
            tokens=tokens,
            N=options.N,
            most_epochs=options.most_epochs,
            available=parse_numbers(options.available, "available") or None,
            independent=options.independent,
        )
        return answer, fits
    if options.flops is not None:
        role = "general" if options.domain is None else "domain"
        check_read(options, "the best N and D for a training budget", role)
        fits = fits_of(options)
        return compute_allocation(fits[role], flops=options.flops, r=options.r, role=role), fits
    if options.domain is None:
        question = "the critical share"
    else:
        limited = options.domain_tokens is not None
        question = "the share of limited downstream tokens" if limited else "the share under a tolerance"
    check_read(options, question)
    fits = fits_of(options)
    general, domain = fits.get("general"), fits.get("domain")
    if domain is None:
        assert general is not None
        answer = critical_share(
            general,
            base_loss=needed(options, "base_loss"),
            tolerance=options.tolerance or 0.0,
            increase=options.increase,
            N=options.N,
            D=options.D,
        )
        return answer, fits
    if options.domain_tokens is not None:
        answer = limited_domain(
            domain,
            N=read_by(options, "N", fits),
            domain_tokens=options.domain_tokens,
            general=general,
            tolerance=options.tolerance,
            base_loss=options.base_loss,
            independent=options.independent,
        )
        return answer, fits
    if general is None:
        raise InputError("general", None, "what the tolerance is for", "give --general, --domain-tokens or --flops")
    answer = domain_ability(
        general,
        domain,
        N=read_by(options, "N", fits),
        D=read_by(options, "D", fits),
        tolerance=needed(options, "tolerance"),
        base_loss=needed(options, "base_loss"),
        independent=options.independent,
    )
    return answer, fits


def answer_lines(answer: Answer, within: float = FARTHEST) -> list[str]:
    """An answer for a terminal: the verdict first, where something speaks against it."""
    verdict = answer.verdict(within)
    lines = [verdict.line] if verdict.line else []
    for name, value in answer.values.items():
        span = ""
        if answer.interval is not None:
            low, high = answer.interval[name]
            span = f"   {LEVEL:.0%} interval {low:.4g} to {high:.4g}"
        lines.append(f"{name} = {value:.4g}{span}" if value == value else f"{name}: no answer")
    lines.append(f"{answer.status}: {MEANINGS[answer.status]}")
    lines += [f"{name} loss {loss:.4f}" for name, loss in answer.loss.items() if loss == loss]
    if answer.limit is not None:
        lines.append(f"limit of the general loss {answer.limit:.4f}")
    if answer.share_infeasible:
        over = "; the interval is over the others" if answer.interval is not None else ""
        lines.append(f"{answer.share_infeasible:.0%} of the draws have no answer{over}")
    if answer.interval is None and answer.share_infeasible is None and answer.status not in WITHOUT:
        lines.append("no interval: the fits have no resamples (fit with --bootstrap 1000)")
    if answer.paired is False:
        lines.append("the fits' draws are not paired, so they were taken as independent")
    return lines


def unread(options: argparse.Namespace, fits: Mapping[str, Fit]) -> list[str]:
    """Amounts that were given and that a fit's law does not depend on, such as the size after `--fix A=0`."""
    found = []
    for option, name in (("N", "N"), ("D", "D"), ("domain_tokens", "D")):
        given = getattr(options, option, None)
        if given is not None and (without := [role for role, fit in fits.items() if name not in fit.law.variables]):
            fixed = {f"{key}={value:g}" for role in without for key, value in fits[role].fixed.items()}
            why = f"with {','.join(sorted(fixed))} " if fixed else ""
            text = f"plays no part in the loss of {', '.join(without)}: {why}its law has no {name}"
            found.append(f"warning: --{option.replace('_', '-')} {text}")
    return found


def warning_lines(fits: dict[str, Fit]) -> list[str]:
    """What a decision should not be built on: what each fit says of itself."""
    return [f"warning: the fit of {name}: {text}" for name, fit in fits.items() for text in fit.warnings]


def _plot(path: Path, options: argparse.Namespace, answer: Answer, fits: dict[str, Fit]) -> None:
    from analysis.figures.plots import ratio_family, save

    if not {"general", "domain"} <= fits.keys() or options.N is None:
        raise InputError("plot", path, "it shows both losses against the share", "give --general, --domain and --N")
    family = curves(
        fits["general"],
        fits["domain"],
        N=options.N,
        D=options.D,
        domain_tokens=options.domain_tokens,
        independent=options.independent,
    )
    save(path, lambda ax: ratio_family(ax, {"": family}, answer, within=within_of(options)))


def add_question(parser: argparse.ArgumentParser) -> None:
    """The options that `mix` and `next` share."""
    parser.add_argument("--general", type=path, metavar="FIT", help="of the upstream loss: a file of `fit ... --json`")
    parser.add_argument("--domain", type=path, metavar="FIT", help="of the downstream loss")
    parser.add_argument("--N", type=amount, help="parameters outside the embeddings")
    parser.add_argument("--D", type=amount, help="tokens of continual pre-training")
    parser.add_argument("--domain-tokens", type=amount, metavar="D_d", help="downstream tokens that exist (usage 2)")
    parser.add_argument("--tolerance", type=float, metavar="T", help="relative rise of the general loss that is borne")
    parser.add_argument("--base-loss", type=float, metavar="L", help="general loss before continual pre-training")
    parser.add_argument("--independent", action="store_true", help="the fits' draws need not be of the same runs")
    add_extrapolate(parser)


def fits_of(options: argparse.Namespace) -> dict[str, Fit]:
    """The fits given, by role. Raises InputError."""
    given = {role: path for role in ("general", "domain") if (path := getattr(options, role)) is not None}
    if not given:
        raise InputError("arguments", "none", "no fit to decide by", "give --general FIT, --domain FIT or both")
    return _settled({role: read_fit(path, role) for role, path in given.items()}, options)


def _fits_of_corpora(given: Sequence[str]) -> dict[str, Fit]:
    """The fits of `--fit CORPUS=FIT ...`, each corpus given once."""
    fits: dict[str, Fit] = {}
    for name, file in map(_named, given):
        if name in fits:
            raise InputError("fit", f"{name}={file}", f"{name} is given twice", "give one fit of each corpus")
        fits[name] = read_fit(user_path(name, file))
    return fits


def _settled(fits: dict[str, Fit], options: argparse.Namespace) -> dict[str, Fit]:
    """The fits at the values of `--given`, which only `mix` has. Raises InputError."""
    given = parse_numbers(getattr(options, "further", ""), "given")
    for name in given:
        if name in ("N", "D", "r") or not any(name in fit.law.variables for fit in fits.values()):
            why = f"no law of {', '.join(fits)} has such a variable, beside those with options of their own"
            raise InputError("given", name, why, "leave it out, or use --N, --D or --tokens")
    return {name: settled(fit, given) for name, fit in fits.items()}


def check_read(options: argparse.Namespace, question: str, *more: str) -> None:
    """InputError for an option that the question does not read: what is asked is not what would be answered."""
    known = dict.fromkeys(name for names in READS.values() for name in names)
    for name in known:
        value = getattr(options, name, None)
        if value not in (None, "", []) and name not in (*READS[question], *more):
            raise InputError(
                name.replace("_", "-"), value, f"plays no part in {question}", "leave it out, or ask another question"
            )


def needed(options: argparse.Namespace, name: str) -> float:
    """An option that the question cannot do without. Raises InputError."""
    value = getattr(options, name)
    if value is None:
        raise InputError(name.replace("_", "-"), None, "this question needs it", f"give --{name.replace('_', '-')}")
    return float(value)


def read_by(options: argparse.Namespace, name: str, fits: Mapping[str, Fit]) -> float | None:
    """An option that the question needs if the law of a fit reads it. Raises InputError."""
    if any(name in fit.law.variables for fit in fits.values()):
        return needed(options, name)
    value = getattr(options, name)
    return None if value is None else float(value)


def _named(text: str) -> tuple[str, str]:
    name, path = pair_of(text)
    if not (name and path):
        raise InputError("fit", text, "not CORPUS=FIT", "write --fit docs=docs.json")
    return name, path
