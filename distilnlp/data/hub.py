"""Data sets on the Hub: the only module of this part that uses the network."""

from collections.abc import Mapping
from dataclasses import dataclass

from datasets import Dataset

from distilnlp.data.files import HELD_OUT
from distilnlp.data.glue_table import DATA_DIR, GLUE_ID
from distilnlp.errors import RequestError, RunError, unknown

__all__ = ["HubData", "read_hub"]


@dataclass(frozen=True)
class HubData:
    """A data set on the Hub.

    Args:
        name: as it was asked for, ``org/name`` or ``org/name:config``.
        splits: by their names.
    """

    name: str
    splits: Mapping[str, Dataset]

    @property
    def repository(self) -> str:
        """Its id."""
        return self.name.partition(":")[0]

    @property
    def short_name(self) -> str:
        """What to call a task of it."""
        return self.repository.rsplit("/", 1)[-1]

    @property
    def train(self) -> Dataset:
        """The split ``train``. Raises RequestError where there is none."""
        if "train" not in self.splits:
            raise RequestError(f"{self.name}: no split 'train' in this Hub data set: it has {', '.join(self.splits)}")
        return self.splits["train"]

    def held_out(self, wanted: str | None) -> str | None:
        """The name of the split to measure on: the wanted one, or the one that is called so; None without one.

        Raises:
            RequestError: the wanted one is not there.
        """
        if wanted is not None and wanted not in self.splits:
            raise unknown(f"split of {self.name}:", wanted, self.splits)
        return wanted or next((each for each in HELD_OUT if each in self.splits), None)


def read_hub(name: str) -> HubData:
    """A data set on the Hub, or out of the cache of `datasets`.

    Args:
        name: ``org/name`` or ``org/name:config``.
    Raises:
        RequestError: it is not there, cannot be loaded, or the Hub is switched off.
        RunError: the Hub cannot be reached.
    """
    from datasets import load_dataset
    from huggingface_hub import is_offline_mode

    repository, _, config = name.partition(":")
    advice = f"give data_dir (or {DATA_DIR})" if repository == GLUE_ID else "download it and give the file"
    what = f"Hub data set '{repository}'" + (f" ({config})" if config else "")
    try:
        return HubData(name, load_dataset(repository, config or None))
    except ConnectionError as error:
        if is_offline_mode():
            raise RequestError(
                f"{what} is not in the cache and HF_HUB_OFFLINE is set: unset it, or {advice}"
            ) from error
        raise RunError(f"{what} cannot be reached: check the connection, or {advice}") from error
    except (OSError, ValueError) as error:  # not found, private, an unknown configuration, a damaged file
        raise RequestError(f"{what} cannot be loaded: {' '.join(str(error).split())}") from error
