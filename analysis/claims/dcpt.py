"""The claims of 2406.01375, and X2 of ours, with what would settle each: statistic, rule and data, before the runs.

Between `analysis.measures.dcpt`, which measures them, and `analysis.claims.claims`.
"""

from __future__ import annotations

from analysis.claims.claim import DCPT, OURS, Claim
from analysis.measures import dcpt

CLAIMS = (
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
        "X2",
        OURS,
        "the general loss rises with tokens where little of its corpus is left, and an extended law says so",
        "slope of U on log D at r_d >= .8; error of what is unseen, extended less L3, on a domain that chose nothing",
        "above 0; below 0, both ways to leave out",
        dcpt.general_loss_rises,
        of_laws=True,
    ),
)
