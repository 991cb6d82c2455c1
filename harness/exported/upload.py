"""An exported folder to a repository of a hub, through `huggingface_hub`, with errors as one line each.

url = push(folder, "someone/name", public=False)
"""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import InputError
from harness.formats.servers import Trouble
from harness.model.checkpoints import REPOSITORY
from harness.model.hub_client import Repository

REFUSED = {
    401: "the hub knows no such repository, or the token (HF_TOKEN) is missing or wrong",
    403: "the token (HF_TOKEN) may not write there",
    404: "the hub knows no such owner or repository, or the token (HF_TOKEN) may not see it",
}


def check_repository(name: str) -> None:
    """InputError unless it is OWNER/NAME."""
    if not REPOSITORY.fullmatch(name):
        raise InputError("--push", name, "not the name of a repository", "give OWNER/NAME")


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload the folder as one commit; the repository is made (private unless `public`) if need be.

    Where, with which token and through which proxy is the client's: HF_ENDPOINT, HF_TOKEN, HF_HOME. A busy hub is asked
    again. InputError, field --push, for what it refuses; the token is in none. Returns the address of the commit.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    hub = _Target(name, folder)
    disable_progress_bars()
    try:
        hub.ask(lambda: hub.api.create_repo(name, private=not public, exist_ok=True))
        message = f"Upload {folder.name}"
        told = hub.ask(lambda: hub.api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
        return str(told.commit_url)
    finally:
        enable_progress_bars()


class _Target(Repository):
    """A repository that is written."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, "")
        self.folder = folder

    def _refusal(self, error: Exception, trouble: Trouble, doing: str) -> InputError:  # noqa: ARG002
        if trouble.kind == "offline":
            why = "HF_HUB_OFFLINE keeps from any network"
        elif trouble.status is not None:
            why = REFUSED.get(trouble.status, f"the hub answers {trouble.status}")
        elif type(error).__name__ == "LocalTokenNotFoundError":
            why = "no token is known (HF_TOKEN)"
        else:
            why = f"the hub cannot be reached ({type(error).__name__})"
        return InputError("--push", self.name, why, f"the export is whole in {self.folder}: call again to push it")
