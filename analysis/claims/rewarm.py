"""The claims of 2308.04014, with what would settle each: statistic, rule and data, fixed before the runs.

Between `analysis.measures.rewarm`, which measures them, and `analysis.claims.claims`.
"""

from __future__ import annotations

from analysis.claims.claim import REWARM, SWEEP, Claim
from analysis.measures import rewarm

CLAIMS = (
    Claim(
        "R1",
        REWARM,
        "the length of the warm-up leaves no lasting mark",
        "U and V of warm-up 0, .5 and 2 % less 1 %, at h = .17 and at the end, 2 shifts",
        "equal within delta, all",
        rewarm.warmup_leaves_no_mark,
        SWEEP + "scalable_weak scalable_strong",
        shifts=2,
    ),
    Claim(
        "R2",
        REWARM,
        "without a warm-up the upstream loss spikes early",
        "largest U up to h = .02 of warm-up 0 less 2 %",
        "above 0",
        rewarm.no_warmup_spikes,
        SWEEP + "scalable_weak scalable_strong",
    ),
    Claim(
        "R3",
        REWARM,
        "a higher peak lowers the downstream loss and raises the upstream one",
        "V: .5x > 1x > 2x; U: constant < .5x < 1x < 2x; 2 shifts",
        "every adjacent sign",
        rewarm.peak_orders_losses,
        SWEEP + "scalable_weak scalable_strong",
        shifts=2,
    ),
    Claim(
        "R4",
        REWARM,
        "re-warmed models beat training from scratch downstream",
        "V of scratch less the worst re-warmed V, for as many tokens as the base",
        "above 0",
        rewarm.rewarmed_beats_scratch,
        SWEEP + "scalable_baselines",
        seeds=5,
    ),
    Claim(
        "R5",
        REWARM,
        "a constant learning rate is best early and is overtaken by re-warming",
        "V of constant less w1, at h = .02 and at the end",
        "below 0, then above",
        rewarm.constant_is_overtaken,
        SWEEP + "scalable_weak scalable_strong",
    ),
    Claim(
        "R6",
        REWARM,
        "training from scratch downstream keeps lowering the upstream loss",
        "slope of U on log D over h above .5, of a weak shift",
        "below 0",
        rewarm.scratch_lowers_upstream,
        SWEEP + "scalable_weak",
    ),
    Claim(
        "R7",
        REWARM,
        "on the same data re-warming hurts, more with a higher peak, and is not recovered from",
        "U: constant < .5x < 1x < 2x; U of w1 at the end less its base's; unseen windows",
        "every adjacent sign, and above 0",
        rewarm.same_data_hurts,
        SWEEP + "rewarm_same_data",
    ),
    Claim(
        "R8",
        REWARM,
        "on the same data the two perplexities move linearly with each other",
        "R2 of one on the other after the warm-up, of a run, at peaks .5x, 1x and 2x",
        "above .95, by a bootstrap over seeds",
        rewarm.perplexities_move_together,
        SWEEP + "rewarm_same_data",
    ),
    Claim(
        "R9",
        REWARM,
        "the latest base adapts no worse than earlier ones",
        "V from the last base less V from 19 % and 7 % of pre-training",
        "no worse by delta_V",
        rewarm.later_base_adapts_no_worse,
        SWEEP + "rewarm_checkpoints",
    ),
)
