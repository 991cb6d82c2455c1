"""The claims of 2403.08763, and X1 of ours, with what would settle each: statistic, rule and data, before the runs.

Between `analysis.measures.scalable`, which measures them, and `analysis.claims.claims`.
"""

from __future__ import annotations

from analysis.claims.claim import OURS, SCALABLE, Claim
from analysis.measures import scalable

CLAIMS = (
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
        "X1",
        OURS,
        "peak and replay interact",
        "F(2x) less F(1x) at 5 % replay, less the same without",
        "on one side of 0",
        scalable.peak_and_replay_interact,
    ),
)
