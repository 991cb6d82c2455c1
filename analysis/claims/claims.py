"""The claims of the three papers, with what would settle each: statistic, rule and data, fixed before the runs.

Between the measures of the papers (`rewarm`, `scalable`) and `analysis.claims.verdict`. Rules are those of
`analysis.claims.rules`; delta_V = max(.01 nat, 2 % of what w1 adapts), delta_U = max(.01, 5 % of what it forgets).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.claims import dcpt, rewarm, scalable
from analysis.claims.evidence import Evidence, Test

REWARM, SCALABLE, DCPT = "2308.04014", "2403.08763", "2406.01375"
OURS = "beyond the papers"


@dataclass(frozen=True)
class Claim:
    """One row of the table of claims."""

    id: str
    paper: str
    claim: str
    statistic: str
    rule: str
    measure: Callable[[Evidence], list[Test]] | None
    shifts: int = 1
    """Pairs of corpora that a verdict takes."""
    lacks: str = ""
    """Without a measure: what one would take."""
    unmeasured: str = ""
    """The part of it that the measure does not look at: without it nothing is reproduced."""
    of_laws: bool = False
    """Laws are fitted for it, to means over seeds, for many seconds: it is not asked anew without each seed."""
    beside: Callable[[Evidence], list[str]] | None = None
    """What is printed beside the verdict and has none: numbers of another scale than the paper's."""


CLAIMS = (
    Claim(
        "R1",
        REWARM,
        "the length of the warm-up leaves no lasting mark",
        "U and V of warm-up 0, .5 and 2 % less 1 %, at h = .17 and at the end, 2 shifts",
        "equal within delta, all",
        rewarm.warmup_leaves_no_mark,
        shifts=2,
    ),
    Claim(
        "R2",
        REWARM,
        "without a warm-up the upstream loss spikes early",
        "largest U up to h = .02 of warm-up 0 less 2 %",
        "above 0",
        rewarm.no_warmup_spikes,
    ),
    Claim(
        "R3",
        REWARM,
        "a higher peak lowers the downstream loss and raises the upstream one",
        "V: .5x > 1x > 2x; U: constant < .5x < 1x < 2x; 2 shifts",
        "every adjacent sign",
        rewarm.peak_orders_losses,
        shifts=2,
    ),
    Claim(
        "R4",
        REWARM,
        "re-warmed models beat training from scratch downstream",
        "V of scratch less the worst re-warmed V",
        "above 0",
        rewarm.rewarmed_beats_scratch,
    ),
    Claim(
        "R5",
        REWARM,
        "a constant learning rate is best early and is overtaken by re-warming",
        "V of constant less w1, at h = .02 and at the end",
        "below 0, then above",
        rewarm.constant_is_overtaken,
    ),
    Claim(
        "R6",
        REWARM,
        "training from scratch downstream keeps lowering the upstream loss",
        "slope of U on log D, h > .5, weak shift",
        "below 0",
        None,
        lacks="runs of a weak shift, from prose to prose",
    ),
    Claim(
        "R7",
        REWARM,
        "on the same data re-warming hurts, more with a higher peak, and is not recovered from",
        "U: constant < .5x < 1x < 2x; U of w1 at the end less its base's; unseen windows",
        "every adjacent sign, and above 0",
        rewarm.same_data_hurts,
    ),
    Claim(
        "R8",
        REWARM,
        "on the same data the two perplexities move linearly with each other",
        "R2 of one on the other after the warm-up",
        "lower end of the bootstrap at least .95",
        None,
        lacks="same-data runs in which a second corpus is measured",
    ),
    Claim(
        "R9",
        REWARM,
        "the latest base adapts no worse than earlier ones",
        "V from the last base less V from 19 % and 7 % of pre-training",
        "no worse by delta_V",
        rewarm.later_base_adapts_no_worse,
    ),
    Claim(
        "S1",
        SCALABLE,
        "decaying again is needed",
        "V of w1 less no decay, and less a constant learning rate, 2 shifts",
        "below 0, both",
        scalable.redecay_is_needed,
        shifts=2,
    ),
    Claim(
        "S2",
        SCALABLE,
        "forgetting falls with replay; a stronger shift forgets more",
        "U over the shares of replay, 2 shifts; F of the strong less the weak one",
        "every adjacent sign, and above 0",
        scalable.replay_reduces_forgetting,
        shifts=2,
        unmeasured="forgetting of the stronger shift less that of the weaker",
        beside=scalable.shares_removed,
    ),
    Claim(
        "S3",
        SCALABLE,
        "the replay that was chosen costs little downstream",
        "V of 5 % replay less none (weak shift), of 25 % less none (strong)",
        "no worse by delta_V; by 3 delta_V",
        scalable.replay_costs_little,
        unmeasured="5 % replay under a weak shift",
    ),
    Claim(
        "S4",
        SCALABLE,
        "continual pre-training with replay matches training on the union",
        "mean of U and V, less the union's",
        "no worse by max(.01, 2 % of what w1 adapts)",
        None,
        lacks="runs on the union of both corpora",
    ),
    Claim(
        "S5",
        SCALABLE,
        "continual pre-training with replay beats training from scratch downstream, on both losses",
        "U and V less those of scratch",
        "below 0, both",
        scalable.beats_scratch,
    ),
    Claim(
        "S6",
        SCALABLE,
        "infinite schedules are as good as a cosine",
        "V after one phase, and after each of three anneals, less the cosine's",
        "no worse by delta_V, all",
        None,
        lacks="runs of infinite schedules over three corpora",
    ),
    Claim(
        "S7",
        SCALABLE,
        "infinite schedules forget negligibly over boundaries",
        "loss of the first part after the second less after the first",
        "no worse by delta_U",
        None,
        lacks="runs of infinite schedules over three corpora",
    ),
    Claim(
        "S8",
        SCALABLE,
        "the spike of the upstream loss grows with the peak, and is larger under a shift",
        "largest U less the base's: .5x < 1x < 2x, of a shift and of the same data",
        "every adjacent sign",
        scalable.spike_grows,
        unmeasured="the spike under a shift less that on the same data",
    ),
    Claim(
        "S9",
        SCALABLE,
        "keeping or resetting the optimizer ends alike",
        "U and V of kept less reset",
        "equal within delta",
        None,
        lacks="runs with optimizer_state=keep",
    ),
    Claim(
        "S10",
        SCALABLE,
        "larger models forget less, and replay helps at each size",
        "slope of F on log N over 3 sizes; F of 5 % replay less none",
        "below 0, all",
        None,
        lacks="replay at three sizes",
    ),
    Claim(
        "S11",
        SCALABLE,
        "domain by domain is worse than mixed; merging is worse than replay",
        "mean loss over sources; mean of U and V",
        "above 0, both",
        None,
        lacks="runs domain by domain, and merged ones",
    ),
    Claim(
        "D1",
        DCPT,
        "the law fits",
        "R2, Huber loss, relative error and R2 within runs, by domain and target",
        "above .97, of each; within runs stated",
        dcpt.law_fits,
        of_laws=True,
    ),
    Claim(
        "D2",
        DCPT,
        "it holds for ratios, lengths and sizes that it has not seen",
        "R2 of unseen r, D and N, mean over domains, and skill against the nearest run",
        "R2 above .9 and skill above 0, of each",
        dcpt.law_predicts,
        of_laws=True,
    ),
    Claim(
        "D3",
        DCPT,
        "it is the best of the forms",
        "log of the Huber loss of unseen runs less that of L1, L4 and L5, over domains and targets",
        "below 0",
        dcpt.law_is_best,
        of_laws=True,
    ),
    Claim(
        "D4",
        DCPT,
        "losses fall with the ratio and with tokens, and the more of one the faster with the other",
        "share of the cells of the grid where finite differences do, over domains",
        "above 95 %, all; else where it fails",
        dcpt.trends_hold,
        of_laws=True,
    ),
    Claim(
        "D5",
        DCPT,
        "the mixture that it solves for is the best, within its limit",
        "general loss less its limit; regret to the best trained; intervals that hold; few tokens: V less both ends",
        "no worse by delta_U and delta_V; 4 of 5; below 0",
        dcpt.mixtures_are_best,
        of_laws=True,
    ),
    Claim(
        "D6",
        DCPT,
        "a domain's constant works from 1 % of the cost",
        "relative error less that of a mean-domain law and of a fit of that 1 % alone",
        "below 0, at least 4 domains",
        dcpt.constant_works,
        of_laws=True,
    ),
    Claim(
        "X1",
        OURS,
        "peak and replay interact",
        "F(2x) less F(1x) at 5 % replay, less the same without",
        "on one side of 0",
        scalable.peak_and_replay_interact,
    ),
    Claim(
        "X2",
        OURS,
        "the general loss rises with tokens where little of its corpus is left, and an extended law says so",
        "slope of U on log D at r_d >= .8; error of what is unseen, extended less L3, on a domain that chose nothing",
        "above 0; below 0, both ways to leave out",
        dcpt.general_loss_rises,
        of_laws=True,
    ),
)
