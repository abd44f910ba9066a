"""How long do other ways to run a classifier take, pruned and not, one text at a time?

    python scripts/time_exports.py RUN texts.txt out.json --threads 1 --rounds 7

RUN is a finished run or a saved model. All take turns over the same texts in one process: the plain
Hugging Face model as it is, compiled, and in ONNX Runtime; the unpruned and the pruned model of
this library, each packed and in ONNX Runtime. ONNX Runtime computes in float32 and dynamically
quantised to 8 bits. Tokenising is not measured. Of each the share of texts whose class is that of
the same model in torch is told. Needs the extra `onnx`, onnxruntime and a C++ compiler.
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
from tsdtp.benchmark import Timing, interleaved, ratio
from tsdtp.cli.run import measured_by, quiet_libraries
from tsdtp.models.budget import spent_ratio
from tsdtp.models.texts import INPUTS, inputs_of, tokenised
from tsdtp.results import write_atomic

Batch = dict[str, Tensor]
Answer = Callable[[Batch], Tensor]  # of logits [1, C]


class PlainText(nn.Module):
    """The plain model of one text without padding, for export."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """[1, C] logits of ids [1, S] and types [1, S]."""
        return self.model(input_ids=input_ids, token_type_ids=token_type_ids).logits


def main(arguments: list[str] | None = None) -> None:
    """Times them all, and writes what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("texts", type=Path, help="one a line; the texts of a pair with a tab")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(arguments)
    quiet_libraries()
    torch.set_num_threads(args.threads)
    model, batches = read(args.run, args.texts)
    with TemporaryDirectory() as folder, torch.inference_mode():
        answers = {**in_torch(model), **in_onnx(model, Path(folder), args.threads)}
        classes = {name: classes_of(answer, batches) for name, answer in answers.items()}
        runs = {name: partial(classes_of, answer, batches) for name, answer in answers.items()}
        timings = interleaved(runs, args.rounds, threads=args.threads)
    found = measured_by(" ".join(["python", *sys.argv]))
    found |= {"texts": len(batches), "rounds": args.rounds, "threads": args.threads}
    found["tokens"] = sum(batch["input_ids"].numel() for batch in batches) / len(batches)
    found["flops_ratio"] = spent_ratio(model, batches)
    found["ways"] = {name: figures(name, timings, classes) for name in timings}
    write_atomic(args.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found["ways"], indent=2))


def read(run: str, file: Path) -> tuple[tsdtp.PrunedClassifier, list[Batch]]:
    """The model, packed, and the texts one by one."""
    model = cast(tsdtp.PrunedClassifier, tsdtp.from_pretrained(run, execution="packed"))
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = [tuple(line.split("\t")) if "\t" in line else line for line in lines if line.strip()]
    made = tokenised(cast(Any, texts), tsdtp.tokenizer_of(run), 1, model.max_positions)
    return model, [inputs_of(batch) for batch in made]


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
    """The plain model of one text, as `tsdtp.export_onnx` does with a pruned one."""
    longest = model.max_positions or 512
    ids, length = torch.zeros(1, 16, dtype=torch.long), Dim("tokens", min=2, max=longest)
    program: Any = torch.onnx.export(
        PlainText(model.hf_model).eval(),
        (ids, ids.clone()),
        input_names=list(INPUTS[::2]),
        dynamic_shapes=({1: length}, {1: length}),
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
    return [int(answer(batch).argmax()) for batch in batches]


def figures(name: str, timings: dict[str, Timing], classes: dict[str, list[int]]) -> dict[str, Any]:
    """Milliseconds a text, times as fast as the plain model, and whether the answers are right."""
    same = [a == b for a, b in zip(classes[name], classes[name.split()[0]], strict=True)]
    faster = ratio(timings["plain"], timings[name])
    return {
        "ms": 1e3 * timings[name].median / len(same),
        "vs_plain": faster.median,
        "spread": faster.spread,
        "same_class": sum(same) / len(same),
    }


if __name__ == "__main__":
    main()
