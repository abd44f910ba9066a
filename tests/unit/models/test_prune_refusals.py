"""What `tsdtp.prune` does not take, and what it says then."""

from __future__ import annotations

import warnings

import pytest
import torch
from tiny import FAMILIES, SPECIAL, make_lm, make_model, make_seq2seq
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartForSequenceClassification,
    BertForSequenceClassification,
)

import tsdtp
from tsdtp.models.classifier import PrunedClassifier


def test_an_unknown_method_lists_the_valid_ones():
    valid = "valid: cls_attention, depth, dtp, ltp, none, power_bert, random, tome, topk, .*ts_dtp"
    with pytest.raises(ValueError, match=f"unknown pruning method 'tokpk'; {valid}"):
        tsdtp.prune(make_model("bert"), "tokpk")


def test_an_unknown_argument_lists_the_valid_ones():
    valid = "topk has no argument gamma, kk; valid: fraction, layers, budget"
    with pytest.raises(ValueError, match=valid):
        tsdtp.prune(make_model("bert"), "topk", gamma=1, kk=2)
    with pytest.raises(ValueError, match="none has no argument fraction; valid: budget"):
        tsdtp.prune(make_model("bert"), "none", fraction=0.5)


def test_what_is_no_model_with_a_head_is_refused():
    with pytest.raises(ValueError, match="takes a model of transformers, not str"):
        tsdtp.prune("textattack/bert-base-uncased-SST-2")  # pyright: ignore
    valid = "neither classifies texts with an encoder nor writes; valid: .*SequenceClassification"
    with pytest.raises(ValueError, match=f"BertModel {valid}"):
        tsdtp.prune(make_model("bert", auto=AutoModel))
    with pytest.raises(ValueError, match=f"RobertaForTokenClassification {valid}"):
        tsdtp.prune(make_model("roberta", auto=AutoModelForTokenClassification))
    with pytest.raises(ValueError, match=f"BartForSequenceClassification {valid}"):
        tsdtp.prune(BartForSequenceClassification(make_seq2seq("bart").config))
    for budget in ("0.5", 0, 2):
        with pytest.raises(ValueError, match=rf"budget={budget!r}: valid is a fraction"):
            tsdtp.prune(make_model("bert"), "topk", budget)  # pyright: ignore


def test_what_writes_with_an_encoder_is_refused():
    with pytest.raises(ValueError, match="BertLMHeadModel .* both sides; valid: .* gpt2, llama"):
        tsdtp.prune(make_lm("bert"), "topk")


def test_what_is_no_attribution_is_no_target(batch):
    model = tsdtp.prune(make_model("bert"), "none")
    with pytest.raises(ValueError, match=r"target \[6\]: valid are .* \[6, 24, 4\]; .*`labels`"):
        model(**batch, target=torch.zeros(6))


def test_replicas_in_one_process_are_refused():
    with pytest.raises(RuntimeError, match="DataParallel.*torchrun"):
        tsdtp.prune(make_model("bert"), "none")._replicate_for_data_parallel()


def test_a_device_without_float64_is_refused():
    def to_a_small_device(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("the framework doesn't support float64")
        return tensor

    model = tsdtp.prune(make_model("bert"), "none")
    with pytest.raises(ValueError, match="valid: cpu, cuda"):
        model._apply(to_a_small_device)


def test_an_unknown_architecture_lists_the_valid_ones():
    config = AutoConfig.for_model("xlnet", d_model=8, n_layer=1, n_head=2, vocab_size=10)
    model = AutoModelForSequenceClassification.from_config(config)
    valid = "valid: bert, roberta, xlm-roberta, camembert, electra, distilbert, modernbert, "
    valid += "llama, qwen2, qwen3, gpt2"
    with pytest.raises(ValueError, match=f"model type 'xlnet' cannot be pruned yet; {valid}"):
        tsdtp.prune(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"execution": "fast"}, "model.execution='fast': valid are masked, packed, hf"),
        ({"pooling": "max"}, "model.pooling='max': valid are cls, last, mean"),
        (
            {"backend": "flash"},
            "model.attention='flash': valid are auto, reference, padded, by_sequence, varlen",
        ),
    ],
)
def test_other_settings_say_what_is_valid(arguments, message):
    plain = tsdtp.prune(make_model("bert"), "none")
    with pytest.raises(ValueError, match=message):
        PrunedClassifier(plain.hf_model, plain.pruner, **arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("ts_dtp", {"temperature": 0.0}, "pruning.temperature=0.0: valid is > 0"),
        ("transkimmer", {"temperature": -1.0}, "pruning.temperature=-1.0: valid is > 0"),
        ("transkimmer", {"predictor_size": 0}, "pruning.predictor_size=0: valid is 1 or more"),
        ("ts_dtp", {"task_feature_dim": 0}, "pruning.task_feature_dim=0: valid is 1 or more"),
        ("ts_dtp_described", {"task_feature_dim": -1}, "task_feature_dim=-1: valid is 1 or more"),
        ("ts_dtp_notebook", {"task_feature_dim": 0}, "task_feature_dim=0: valid is 1 or more"),
        ("ltp", {"temperature": 0}, "pruning.temperature=0: valid is > 0"),
        ("ts_dtp", {"decay": 1.5}, r"pruning.decay=1.5: valid is a fraction in \[0, 1\]"),
        ("topk", {"layers": [1.5]}, r"pruning.layers=\[1.5\]: valid are 0 to 3"),
        ("topk", {"layers": [True]}, r"pruning.layers=\[True\]: valid are 0 to 3"),
        ("topk", {"layers": iter([0, 1])}, "pruning.layers=<.*: valid is a list of blocks"),
        ("topk", {"layers": 3}, "pruning.layers=3: valid is a list of blocks"),
        ("topk", {"fraction": "0.5"}, "pruning.fraction='0.5': valid is a fraction"),
        ("tome", {"fraction": float("nan")}, "pruning.fraction=nan: valid is a fraction"),
        ("dtp", {"k": float("nan")}, "pruning.k=nan: valid is a finite number"),
        ("ts_dtp", {"k": None}, "pruning.k=None: valid is a finite number"),
        ("ts_dtp", {"gamma": float("nan")}, "pruning.gamma=nan: valid is > 0"),
        ("random", {"seed": 2**62}, "pruning.seed=4611686018427387904: valid is a whole number"),
    ],
)
def test_arguments_without_sense_are_refused(method, arguments, message):
    with pytest.raises(ValueError, match=message):
        tsdtp.prune(make_model("bert"), method, **arguments)


def test_what_writes_has_no_pooling():
    with pytest.raises(ValueError, match="pooling='mean': of a classifier"):
        tsdtp.prune(make_lm("gpt2"), "topk", pooling="mean")


def test_a_forward_of_ones_own_is_not_run_and_that_is_said():
    class Mean(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask=None):
            return self.classifier(self.bert(input_ids, attention_mask).last_hidden_state.mean(1))

    plain = Mean(make_model("bert").config)
    with pytest.warns(UserWarning, match="Mean has a forward of its own, which is not run"):
        tsdtp.prune(plain, "none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for family in FAMILIES:
            tsdtp.prune(make_model(family), "none")


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "scale_attn_weights", False),
        ("qwen2", "use_sliding_window", True),
        ("bert", "is_decoder", True),
    ],
)
def test_a_setting_that_blocks_do_not_follow_is_refused(family, setting, value):
    message = f"{family} with {setting}={value} cannot be pruned yet; valid: {not value}"
    with pytest.raises(ValueError, match=message):
        tsdtp.prune(make_model(family, **{setting: value}))


def test_a_choice_without_a_choice_is_refused():
    plain = make_model("bert", num_labels=1)
    plain.config.problem_type = "single_label_classification"
    with pytest.raises(ValueError, match="with num_labels=1: valid are 2 or more"):
        tsdtp.prune(plain)
    with pytest.raises(ValueError, match="with num_labels=0: valid are 2 or more"):
        tsdtp.prune(make_model("bert", num_labels=0))
    plain.config.problem_type = "ranking"
    with pytest.raises(ValueError, match="problem_type=ranking: valid are single_label_.*regress"):
        tsdtp.prune(plain)


def test_gradient_checkpointing_is_refused():
    """The call of a Trainer that is told to."""
    model = tsdtp.prune(make_model("bert"), "topk", special_ids=[SPECIAL])
    with pytest.raises(ValueError, match="gradient checkpointing is not supported"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_turned_by_the_longest_text_of_a_batch_are_refused(kind):
    rope = {"rope_type": kind, "factor": 4.0, "rope_theta": 1e4}
    if kind == "longrope":
        factors = {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4}
        rope |= {**factors, "original_max_position_embeddings": 32}
    with pytest.raises(ValueError, match=f"rope_type={kind} cannot be pruned.*valid: default"):
        tsdtp.prune(make_model("llama", rope_parameters=rope), "topk")
    stretched = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    tsdtp.prune(make_model("llama", rope_parameters=stretched), "topk")
