"""A teacher's answers on disk, memory-mapped, with a checksum of each part."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distilnlp.checksums import file_checksum
from distilnlp.outputs import Outputs
from distilnlp.teachers.layout import Layout, Per, Rows, Stored, items_of
from distilnlp.whole_files import write_text

__all__ = ["Store"]

PLAN, ALLOWED, PROGRESS, COMPLETE = "plan.json", "allowed.safetensors", "progress.bin", "complete"
SUMS = "checksums.bin"  # 64 bits for each tensor of each chunk
PER_SYNC = 16  # chunks written before they are noted as written


class Store:
    """The answers in one folder. `create` it, `write` every chunk, `finish`, `mark_complete`; from then on `read`.

    Another process may fill other chunks of the same folder at the same time. After a kill the chunks that are on the
    disk are not filled again.

    Args:
        folder: its name must stand for everything that the answers depend on.
        rows: the examples.
    """

    def __init__(self, folder: Path, rows: Rows) -> None:
        self.folder = folder
        self.rows = rows
        self._by_digest = np.argsort(rows.digests[:, 0], kind="stable")
        self._layout: Layout | None = None
        self._mapped: dict[str, Tensor] = {}
        self._files: dict[str, int] = {}
        self._written: list[int] = []

    def __getstate__(self) -> dict[str, Any]:
        # A worker process that is spawned maps the files itself; pickling the maps would copy them.
        return {**self.__dict__, "_mapped": {}, "_files": {}}

    @property
    def complete(self) -> bool:
        """Whether all answers are there."""
        return (self.folder / COMPLETE).is_file()

    @property
    def begun(self) -> bool:
        """Whether the files are there to be filled; they have their full size from the start."""
        return (self.folder / PLAN).is_file()

    # ---- filling ----

    def create(self, layout: Layout) -> None:
        """Make the files, unless a broken filling has left them. Called by one process.

        Raises:
            OSError: no room for them.
        """
        plan = self.folder / PLAN
        if plan.is_file() and plan.read_text(encoding="utf-8") == layout.plan():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            for tensor in layout.tensors:
                _reserve(self.folder / tensor.file, tensor.item_bytes * int(self.rows.starts[tensor.per][-1]))
            _reserve(self.folder / SUMS, 8 * len(layout.tensors) * len(self.rows.chunks))
            _reserve(self.folder / PROGRESS, len(self.rows.chunks))
        except OSError:
            shutil.rmtree(self.folder)
            raise
        save_file({str(layer): allowed for layer, allowed in layout.allowed.items()}, str(self.folder / ALLOWED))
        write_text(plan, layout.plan())

    def missing(self) -> list[int]:
        """The numbers of the chunks that are not written yet."""
        return [i for i, done in enumerate((self.folder / PROGRESS).read_bytes()) if not done]

    def write(self, chunk: int, outputs: Outputs, mask: Tensor) -> None:
        """Write the answers to the examples of a chunk, in the order of `Rows.chunks`.

        Args:
            chunk: its number.
            outputs: of its examples.
            mask: bool ``(batch, tokens)``.
        """
        sums = []
        for tensor, (_, _, items) in zip(self.layout.tensors, items_of(outputs, mask), strict=True):
            data = items.to(getattr(torch, tensor.dtype)).cpu().contiguous().view(-1).view(torch.uint8).numpy()
            _write_at(self._file(tensor.file), data, self._span(tensor, chunk).start)
            sums.append(xxhash.xxh3_64_intdigest(data.data))
        noted = np.array(sums, dtype=np.uint64)
        _write_at(self._file(SUMS), noted.view(np.uint8), chunk * noted.nbytes)
        self._written.append(chunk)
        if len(self._written) >= PER_SYNC:
            self.sync()

    def sync(self) -> None:
        """Note the chunks written so far as written, after they have reached the disk."""
        for name, file in self._files.items():
            if name != PROGRESS:
                os.fsync(file)
        for chunk in self._written:
            os.pwrite(self._file(PROGRESS), b"\1", chunk)
        self._written = []

    def finish(self) -> None:
        """Close the files, whose chunks of this process are all written."""
        self.sync()
        while self._files:
            os.close(self._files.popitem()[1])

    def mark_complete(self) -> None:
        """Called by one process when all have finished."""
        write_text(self.folder / COMPLETE, file_checksum(self.folder / PLAN))

    def _span(self, tensor: Stored, chunk: int) -> slice:
        """The bytes of a chunk in the file of a tensor."""
        rows, starts = self.rows.chunks[chunk], self.rows.starts[tensor.per]
        return slice(int(starts[rows.start]) * tensor.item_bytes, int(starts[rows.stop]) * tensor.item_bytes)

    # ---- what has become of it ----

    def mend(self) -> str | None:
        """Compare everything with its checksums, and give up what is not as it was written: `missing` names it then.

        Called by one process, before anything is read. All is read once, at some GB a second.

        Returns:
            What is damaged, in words; None where nothing is.
        """
        if not self.begun and not self.complete:
            return None  # nothing yet, or killed before
        flaw = self._flaw_of_files()
        if flaw is not None:
            shutil.rmtree(self.folder)
            self._layout = None
            return flaw
        unwritten = set(self.missing())
        damaged = {
            chunk: file
            for chunk in range(len(self.rows.chunks))
            if chunk not in unwritten
            for file in self._damaged(chunk)
        }
        if not damaged and not (unwritten and self.complete):
            return None
        (self.folder / COMPLETE).unlink(missing_ok=True)
        for chunk in damaged:
            os.pwrite(self._file(PROGRESS), b"\0", chunk)
        self.finish()
        files = ", ".join(sorted({*damaged.values(), *([PROGRESS] if unwritten else [])}))
        return f"{files} is damaged in {len(damaged) + len(unwritten)} of {len(self.rows.chunks)} places"

    def _flaw_of_files(self) -> str | None:
        """What of the files themselves is not as `create` has made it."""
        if not self.begun:
            return f"{PLAN} is missing"
        try:
            layout = self.layout
            noted = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
            unlike = json.loads(layout.plan()) != noted
            unlike |= self.complete and (self.folder / COMPLETE).read_text() != file_checksum(self.folder / PLAN)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError):
            unlike = True
        if unlike:
            return f"{PLAN} or {ALLOWED} is damaged"
        sizes = {tensor.file: tensor.item_bytes * int(self.rows.starts[tensor.per][-1]) for tensor in layout.tensors}
        chunks = len(self.rows.chunks)
        sizes |= {SUMS: 8 * len(layout.tensors) * chunks, PROGRESS: chunks}
        for file, size in sizes.items():
            path = self.folder / file
            if not path.is_file() or path.stat().st_size != size:
                return f"{file} is {'cut off' if path.is_file() else 'missing'}"
        return None

    def _damaged(self, chunk: int) -> Iterator[str]:
        """The files of which a chunk that was written has other bytes."""
        count = len(self.layout.tensors)
        with open(self.folder / SUMS, "rb") as file:
            file.seek(8 * count * chunk)
            sums = np.frombuffer(file.read(8 * count), dtype=np.uint64)
        for tensor, noted in zip(self.layout.tensors, sums, strict=True):
            span = self._span(tensor, chunk)
            with open(self.folder / tensor.file, "rb", buffering=0) as file:
                file.seek(span.start)
                data = file.read(span.stop - span.start)
            if xxhash.xxh3_64_intdigest(data) != int(noted):
                yield tensor.file

    def _file(self, name: str) -> int:
        if name not in self._files:
            self._files[name] = os.open(self.folder / name, os.O_WRONLY)
        return self._files[name]

    # ---- reading ----

    @property
    def layout(self) -> Layout:
        """What is stored."""
        if self._layout is None:
            plan = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
            tensors = [Stored(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in plan["tensors"]]
            scales = {int(layer): scale for layer, scale in plan["scales"].items()}
            allowed = {int(layer): mask for layer, mask in load_file(str(self.folder / ALLOWED)).items()}
            self._layout = Layout(tuple(tensors), scales, allowed)
        return self._layout

    def find(self, features: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """The place of each example, or None where one is not known (its text is new)."""
        wanted = np.stack([self.rows.digest(feature) for feature in features])  # (batch, 2)
        first = self.rows.digests[:, 0]
        places = np.searchsorted(first, wanted[:, 0], sorter=self._by_digest).clip(max=len(first) - 1)
        places = self._by_digest[places]
        return places if bool((self.rows.digests[places] == wanted).all()) else None

    def read(self, places: np.ndarray, mask: Tensor) -> dict[str, Any]:
        """The answers for a batch, as a dict that a data loader can move to a device.

        Args:
            places: of its examples, ``(batch,)``.
            mask: its attention mask ``(batch, tokens)``, which says on which side it is padded.
        """
        real = mask.bool()
        # A padded position gets the example's first item: finite, and left out by every loss.
        rank = ((real.cumsum(dim=1) - 1) * real).clamp_min(0)  # (batch, tokens)
        length = torch.from_numpy(self.rows.lengths[places])  # (batch,)
        within: dict[Per, Tensor] = {
            "example": torch.zeros(len(places), dtype=torch.long),
            "token": rank,
            "pair": rank[:, :, None] * length[:, None, None] + rank[:, None, :],
        }
        read: dict[str, Any] = {}
        for tensor in self.layout.tensors:
            index = within[tensor.per]
            start = torch.from_numpy(self.rows.starts[tensor.per][places]).view(-1, *[1] * (index.ndim - 1))
            flat = self._map(tensor)
            items = flat.index_select(0, (index + start).flatten()).view(*index.shape, *tensor.shape)
            if tensor.layer is None:
                read[tensor.group] = items
            else:
                read.setdefault(tensor.group, {})[tensor.layer] = _as_in_model(tensor, items)
        return read

    def outputs(self, read: Mapping[str, Any], attention_mask: Tensor) -> Outputs:
        """What `read` gave, on whatever device it is by now, as a model's outputs."""
        tokens = attention_mask.shape[1]
        windows = {
            layer: allowed[None, None, :tokens, :tokens].to(attention_mask.device)
            for layer, allowed in self.layout.allowed.items()
        }
        return Outputs(**read, scales=self.layout.scales, allowed=windows, attention_mask=attention_mask)

    def _map(self, tensor: Stored) -> Tensor:
        if tensor.file not in self._mapped:
            count = int(self.rows.starts[tensor.per][-1])
            self._mapped[tensor.file] = torch.from_file(
                str(self.folder / tensor.file),
                shared=False,
                size=count * math.prod(tensor.shape),
                dtype=getattr(torch, tensor.dtype),
            ).view(count, *tensor.shape)
        return self._mapped[tensor.file]


def _as_in_model(tensor: Stored, items: Tensor) -> Tensor:
    """Items with the tokens in front, as the model has them."""
    if tensor.group == "attentions":
        return items.permute(0, 3, 1, 2)  # (batch, heads, tokens, tokens)
    return items if tensor.group == "hidden_states" else items.transpose(1, 2)  # (batch, heads, tokens, head_dim)


def _reserve(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)


def _write_at(file: int, data: Any, start: int) -> None:
    """Write all of it: one call writes 2 GiB at most."""
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, start)
        view, start = view[done:], start + done
