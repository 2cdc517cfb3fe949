"""Push vectors to a Hugging Face repository: one vectors file, and the card as README.md."""

import os
from dataclasses import dataclass

from traitvec_core.errors import TraitvecError
from traitvec_core.exchange.bundle import Bundle
from traitvec_core.exchange.card import write_card
from traitvec_core.exchange.file_formats.safetensors_file import write_safetensors

__all__ = ["Push", "plan_push", "push"]

VECTORS_FILE = "vectors.safetensors"


@dataclass(frozen=True)
class Push:
    """What a push uploads.

    Attributes:
        repo_id: `user/name`.
        endpoint: Address of the hub.
        files: Content by path in the repository.
    """

    repo_id: str
    endpoint: str
    files: dict[str, bytes]


def plan_push(bundle: Bundle, repo_id: str) -> Push:
    """Return what `push` would upload. Makes no network calls.

    Args:
        bundle: The vectors.
        repo_id: `user/name`.

    Raises:
        TraitvecError: If this is not a valid repository name.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") != 1:
            raise HFValidationError
    except HFValidationError:
        raise TraitvecError(
            f"--repo-id {repo_id!r}: must be user/name, with letters, digits, '-', '_' and '.'"
        ) from None
    files = {
        VECTORS_FILE: write_safetensors(bundle),
        "README.md": write_card(bundle, VECTORS_FILE).encode(),
    }
    return Push(repo_id, os.environ.get("HF_ENDPOINT") or constants.ENDPOINT, files)


def push(planned: Push, *, is_private: bool = True) -> str:
    """Upload in one commit; a missing repository is created.

    Args:
        planned: The upload; see `plan_push`.
        is_private: Whether a new repository is private; an existing one is not changed.

    Returns:
        The commit's URL.

    Raises:
        TraitvecError: If the hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(endpoint=planned.endpoint, library_name="traitvec")
    where = f"{planned.endpoint}/{planned.repo_id}"
    try:
        api.create_repo(planned.repo_id, private=is_private, exist_ok=True)
        commit = api.create_commit(
            planned.repo_id,
            [CommitOperationAdd(path, data) for path, data in planned.files.items()],
            commit_message="Trait vectors, by traitvec",
        )
    except LocalTokenNotFoundError:
        raise TraitvecError(f"{where}: {_TOKEN}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = {401: _TOKEN, 403: "the token has no write access here; it needs write access"}
        reason = advice.get(status, f"the hub answered {status}; try again later")
        raise TraitvecError(f"{where}: nothing was pushed: {reason}") from None
    except Exception as error:
        # huggingface_hub uses httpx or httpx2, depending on its version.
        if not type(error).__module__.startswith("httpx"):
            raise
        raise TraitvecError(
            f"{where}: the hub cannot be reached ({type(error).__name__}); check the network"
        ) from None
    return str(commit.commit_url)


_TOKEN = "put a token with write access into HF_TOKEN, in the environment or in .env"  # noqa: S105
