"""`shift=A_to_B` for any two corpora, without a file for each pair: as Hydra asks for a choice of the group `shift`.

Whether there are corpora of these names is not asked here: `harness.compose.corpora` refuses a run that names others.
"""

from __future__ import annotations

import re

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

_PAIR = re.compile(r"shift/([A-Za-z0-9][\w.-]*?)_to_([A-Za-z0-9][\w.-]*?)(?:\.yaml)?")


def is_pair(config_path: str) -> bool:
    """Is it `shift/A_to_B`?"""
    return _PAIR.fullmatch(config_path) is not None


class Pairs(ConfigSource):
    """A place where Hydra looks for configs that holds `shift/A_to_B` for all A and B."""

    @staticmethod
    def scheme() -> str:
        return "pairs"

    def load_config(self, config_path: str) -> ConfigResult:
        match = _PAIR.fullmatch(config_path)
        if match is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        pair = {"kind": "corpora", "name": None, "upstream": match[1], "downstream": match[2]}
        return ConfigResult(
            provider=self.provider, path="pairs://", config=OmegaConf.create(pair), header={"package": None}
        )

    def is_group(self, config_path: str) -> bool:  # noqa: ARG002
        return False

    def is_config(self, config_path: str) -> bool:
        return is_pair(config_path)

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:  # noqa: ARG002
        return []


class PairsPath(SearchPathPlugin):
    """Adds `Pairs` to what Hydra searches, whoever composes."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("rewarm", "pairs://")
