"""How long do other ways to run a classifier take, pruned and not, one text at a time?

    python scripts/time_exports.py RUN texts.txt out.json --threads 1 --rounds 7 --timed 128

RUN is a finished run or a saved model, of a kind that has token types. All take turns over the same
texts in one process: the plain Hugging Face model as it is, compiled, and in ONNX Runtime; the
unpruned and the pruned model of this library, each packed and in ONNX Runtime. ONNX Runtime
computes in float32 and dynamically quantised to 8 bits, the plain model in padded batches as well.
Tokenising is not measured. Of each the share of texts whose class is that of the same model in
torch is told, and with labels its accuracy: of all texts, however many of them are timed. Needs the
extra `onnx`, onnxruntime of at least 1.32 and a C++ compiler.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.export import Dim

import tsdtp
from tsdtp.atomic import write_atomic
from tsdtp.benchmark.latency import Timing, interleaved, ratio
from tsdtp.cli.predict import read_texts
from tsdtp.cli.run import measured_by, quiet_libraries
from tsdtp.models.budget import spent_ratio
from tsdtp.models.texts import INPUTS, inputs_of, tokenised
from tsdtp.provenance import code_state

Batch = dict[str, Tensor]
Answer = Callable[[Batch], Tensor]  # of logits [B, C]
BATCH = 32  # texts of a padded batch


class Plain(nn.Module):
    """The plain model of a padded batch, for export."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """[B, C] logits of ids, mask and types [B, S]."""
        inputs = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        return self.model(**inputs, attention_mask=attention_mask).logits


def main(arguments: list[str] | None = None) -> None:
    """Times them all, and writes what came out."""
    args = parser().parse_args(arguments)
    quiet_libraries()
    code = code_state()
    torch.set_num_threads(args.threads)
    model, batched = read(args.run, args.texts)
    batches = batched(1)
    labels = labels_of(args.labels, len(batches)) if args.labels else None
    with TemporaryDirectory() as folder, torch.inference_mode():
        answers = {**in_torch(model), **in_onnx(model, Path(folder), args.threads)}
        timed = batches[: args.timed]
        ways = {name: (answer, batches, timed) for name, answer in answers.items()}
        for name in ("plain onnx", "plain onnx int8"):
            padded = (batched(BATCH), batched(BATCH, args.timed))
            ways[f"{name}, batches"] = (answers[name], *padded)
        classes = {name: classes_of(answer, every) for name, (answer, every, _) in ways.items()}
        runs = {name: partial(classes_of, answer, some) for name, (answer, _, some) in ways.items()}
        timings = interleaved(runs, args.rounds, threads=args.threads)
    found = measured_by(" ".join(["python", *sys.argv]), code)
    found |= {"texts": len(batches), "timed": len(timed)}
    found |= {"rounds": args.rounds, "threads": args.threads}
    found["tokens"] = sum(batch["input_ids"].numel() for batch in timed) / len(timed)
    found["flops_ratio"] = spent_ratio(model, timed)
    found["ways"] = {
        name: {**speed(name, timings, len(timed)), **quality(name, classes, labels)}
        for name in ways
    }
    write_atomic(args.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found["ways"], indent=2))


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("run")
    made.add_argument("texts", type=Path, help="one a line; the texts of a pair with a tab")
    made.add_argument("out", type=Path)
    made.add_argument("--labels", type=Path, help="the texts' classes by number, one a line")
    made.add_argument("--timed", type=int, help="only so many, the first ones, are timed")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--rounds", type=int, default=7)
    return made


def read(run: str, file: Path) -> tuple[tsdtp.PrunedClassifier, Callable[..., list[Batch]]]:
    """The model, packed, and a function that gives the first texts in batches of some size."""
    model = cast(tsdtp.PrunedClassifier, tsdtp.from_pretrained(run, execution="packed"))
    with open(file, "rb") as source:
        texts = [*read_texts(source, str(file), None, skip_empty=True)]
    tokenizer, longest = tsdtp.tokenizer_of(run), model.max_positions

    def batched(size: int, count: int | None = None) -> list[Batch]:
        return [inputs_of(batch) for batch in tokenised(texts[:count], tokenizer, size, longest)]

    return model, batched


def labels_of(file: Path, texts: int) -> list[int]:
    """The class of each text."""
    labels = [int(line) for line in file.read_text().split()]
    if len(labels) != texts:
        raise SystemExit(f"{file}: {len(labels)} labels of {texts} texts")
    return labels


def in_torch(model: tsdtp.PrunedClassifier) -> dict[str, Answer]:
    """The plain model as it is and compiled, and the packed ones."""
    plain, unpruned = model.hf_model, model.unpruned()
    compiled = torch.compile(plain, dynamic=True)
    return {
        "plain": lambda batch: plain(**batch).logits,
        "plain compiled": lambda batch: compiled(**batch).logits,
        "unpruned": lambda batch: unpruned(**batch).logits,
        "pruned": lambda batch: model(**batch).logits,
    }


def in_onnx(model: tsdtp.PrunedClassifier, folder: Path, threads: int) -> dict[str, Answer]:
    """Sessions of the three models in float32 and quantised; tokens are dropped in there, too."""
    files = {name: folder / f"{name}.onnx" for name in ("plain", "unpruned", "pruned")}
    export_plain(model, files["plain"])
    tsdtp.export_onnx(model.unpruned(), files["unpruned"])
    tsdtp.export_onnx(model, files["pruned"])
    answers = {}
    for name, file in files.items():
        small = file.with_suffix(".int8.onnx")
        quantize_dynamic(file, small, weight_type=QuantType.QInt8)
        answers[f"{name} onnx"] = session(file, threads)
        answers[f"{name} onnx int8"] = session(small, threads)
    return answers


def export_plain(model: tsdtp.PrunedClassifier, file: Path) -> None:
    """The plain model of any number of texts, otherwise as `tsdtp.export_onnx` does it."""
    ids = torch.zeros(2, 16, dtype=torch.long)
    sizes = {0: Dim("texts", min=1, max=1024), 1: Dim("tokens", max=model.max_positions or 512)}
    program: Any = torch.onnx.export(
        Plain(model.hf_model).eval(),
        (ids, torch.ones_like(ids), ids.clone()),
        input_names=list(INPUTS),
        dynamic_shapes=(sizes, sizes, sizes),
        dynamo=True,
        verbose=False,
    )
    program.save(str(file))


def session(file: Path, threads: int) -> Answer:
    """What ONNX Runtime answers with that file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    running = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    names = [each.name for each in running.get_inputs()]

    def answer(batch: Batch) -> Tensor:
        logits = running.run(None, {name: batch[name].numpy() for name in names})[0]
        return torch.from_numpy(logits)

    return answer


def classes_of(answer: Answer, batches: list[Batch]) -> list[int]:
    """The class of each text."""
    return [kind for batch in batches for kind in answer(batch).argmax(-1).tolist()]


def speed(name: str, timings: dict[str, Timing], texts: int) -> dict[str, float]:
    """Milliseconds a text, and times as fast as the plain model."""
    faster = ratio(timings["plain"], timings[name])
    ms = 1e3 * timings[name].median / texts
    return {"ms": ms, "vs_plain": faster.median, "spread": faster.spread}


def quality(name: str, classes: dict[str, list[int]], labels: list[int] | None) -> dict[str, float]:
    """The share of classes that the same model has in torch, and of those that are right."""
    same = share_of(classes[name], classes[name.split()[0]])
    right = {} if labels is None else {"accuracy": share_of(classes[name], labels)}
    return {"same_class": same, **right}


def share_of(classes: list[int], expected: list[int]) -> float:
    """How often they agree."""
    return sum(a == b for a, b in zip(classes, expected, strict=True)) / len(classes)


if __name__ == "__main__":
    main()
