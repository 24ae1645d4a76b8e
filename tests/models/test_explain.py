"""Which words go at which layer: lives agree with the model's own counts, words are spelled as in the text."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
from types import SimpleNamespace

import pytest
from helpers.fake_study import metrics_of, write

from ltp.cli import explain as explain_command
from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models import explain
from ltp.report.sentences import render, use_colour
from ltp.results.examples import Sentence, Word, read_examples, write_examples
from ltp.settings.pruning import PruningSettings

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##film", "##able", "don", "'", "t", "a", "film", "!", ","]


@pytest.fixture(scope="module")
def wordpiece():
    """A word-piece tokenizer in BERT's manner."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture(scope="module")
def bytelevel():
    """A tokenizer in RoBERTa's manner, without merges: every byte is a piece, blanks belong to the word after."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="</s>")


def words_of(tokenizer, *texts, kept=None):
    encoded = tokenizer(*texts, return_offsets_mapping=True, return_tensors="pt")
    return explain._words(encoded, texts, kept or [1] * encoded["input_ids"].shape[1])


def spelled(words):
    return "".join(" " * word.space + word.text for word in words).strip()


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Unfilmable, don't!", "Unfilmable, don't!"),
        ("  a   film\n☃ ÉTÉ ", "a film ☃ ÉTÉ"),
        ("<script>a</script> & b", "<script>a</script> & b"),
    ],
)
def test_words_are_spelled_as_in_the_text(kind, text, shown, request):
    words = words_of(request.getfixturevalue(kind), text)
    assert [word.special for word in words] == [True, *[False] * (len(words) - 2), True]
    assert " ".join(spelled(words[1:-1]).replace("␣", "").split()) == shown


def test_a_word_lives_as_long_as_its_last_piece(wordpiece):
    words = words_of(wordpiece, "a unfilmable film", kept=[2, 0, 0, 2, 1, 1, 0])
    assert [(word.text, word.layers) for word in words[1:4]] == [("a", 0), ("unfilmable", 2), ("film", 1)]
    assert words[2].pieces == (("un", 0), ("film", 2), ("able", 1))


def test_a_pair_is_told_apart_by_the_tokenizer_s_own_tokens(wordpiece, bytelevel):
    assert spelled(words_of(wordpiece, "a film", "a don!")) == "[CLS] a film [SEP] a don! [SEP]"
    assert spelled(words_of(bytelevel, "a film", "a don")) == "<s> a film </s> </s> a don </s>"


TEXTS = ["the film was very dull but so warm and sharp", "a plot", ("a rather fine scene", "weak story and a plot")]


@pytest.mark.parametrize("mode", ["absolute_threshold", "topk"])
def test_lives_agree_with_the_tokens_that_each_layer_counts(mode, tiny_encoder):
    import torch
    from helpers import tiny
    from transformers import AutoTokenizer

    model = tiny.pruning_model("bert", mode)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    dropped = 0
    for text, sentence in zip(TEXTS, explain.explain(model, tokenizer, TEXTS, 24), strict=True):
        encoded = tokenizer(*((text,) if isinstance(text, str) else text), return_tensors="pt")
        with torch.no_grad():
            output = model(**encoded)
        assert sentence.left_after() == [encoded["input_ids"].shape[1], *output.ffn_tokens[0].tolist()]
        assert sentence.answer == model.config.id2label[int(output.logits.argmax())]
        assert sentence.probability == pytest.approx(output.logits.softmax(1).max().item(), abs=1e-5)
        assert (sentence.words[0].text, sentence.words[0].layers) == ("[CLS]", 4)
        dropped += sentence.left_after()[0] - sentence.left_after()[-1]
    assert dropped > 0


def test_text_beyond_the_longest_sequence_is_told(tiny_study):
    model, tokenizer, longest = explain.load(tiny_study.converted)
    assert longest == 32
    (sentence,) = explain.explain(model, tokenizer, ["the film was very dull"], 5)
    assert sentence.unread == len("very dull")
    assert spelled(sentence.words) == "[CLS] the film was [SEP]"
    with pytest.raises(LTPError, match=r"text: ' ' is empty; expected words"):
        explain.explain(model, tokenizer, [" "], 24)


def test_regression_answers_with_a_number(tiny_encoder):
    from helpers import tiny
    from transformers import AutoTokenizer

    model = tiny.pruning_model("bert", labels=1)
    (sentence,) = explain.explain(model, AutoTokenizer.from_pretrained(tiny_encoder), ["a fine film"], 24)
    assert re.fullmatch(r"-?\d+\.\d\d", sentence.answer) and sentence.probability is None


def test_runs_that_drop_nothing_are_refused(tiny_study, tmp_path):
    with pytest.raises(LTPError, match="is a dense model, which drops no tokens; expected a finished run that prunes"):
        explain.load(tiny_study.base)
    with pytest.raises(LTPError, match="is a model that drops no tokens"):
        explain.load(tiny_study.encoder)
    run = write(tmp_path / "run", metrics_of("ltp", "hard", 0, 0.8, 0.5)).parent
    (run / "metrics.json").unlink()
    lost = {**metrics_of("ltp", "hard", 0, 0.8, 0.5), "status": "diverged", "reason": "loss is nan"}
    from ltp.results.run import write_run

    write_run(run, lost)
    with pytest.raises(LTPError, match=r"run: is diverged \(loss is nan\) and has no model; expected a finished run"):
        explain.load(run)


def test_damaged_weights_are_refused(tiny_study, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study.converted, copy)
    with open(copy / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(LTPError, match=r"model\.safetensors: was changed"):
        explain.load(copy)


SENTENCE = Sentence(
    texts=("bad \x1b[2J film",),
    words=(
        Word("[CLS]", 2, (("[CLS]", 2),), special=True),
        Word("bad", 2, (("ba", 0), ("##d", 2))),
        Word("\x1b[2J", 0, (("\x1b[2J", 0),)),
        Word("film", 1, (("film", 1),)),
    ),
    layers=2,
    answer="negative",
    probability=0.875,
    expected="positive",
)


def test_plain_table():
    assert render(SENTENCE, colour=False) == (
        "negative (88 %) · 5 tokens, of which a feed-forward sees 50 % on average\n\n"
        "layer  tokens  words dropped\n"
        "    1   5 → 3  �[2J\n"
        "    2   3 → 2  film\n"
        " kept       2  [CLS] bad"
    )


def test_colours_deepen_as_words_live_longer():
    text = render(SENTENCE, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()[2] == "[CLS] bad �[2J film"
    assert "\x1b[2J" not in text
    shades = dict(re.findall(r"\x1b\[(48;5;\d+);38;5;\d+m *(\w+)\x1b\[0m", text.split("\n\n")[2]))
    assert len(shades) == 3  # one each for layer 1, layer 2 and kept


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_only_where_it_can_be_shown(terminal, environment, colour, monkeypatch):
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert use_colour(stream) is colour


def test_examples_come_back_as_written(tmp_path):
    write_examples(tmp_path / "examples.json", [SENTENCE], run="a/b", reason="why")
    sentences, facts = read_examples(tmp_path / "examples.json")
    assert sentences == [SENTENCE]
    assert (facts["run"], facts["reason"]) == ("a/b", "why")


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1}', '{"schema": 1, "sentences": [{"words": 3}]}', "\xff"])
def test_damaged_examples_are_refused(content, tmp_path):
    path = tmp_path / "examples.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(LTPError, match=r"examples\.json: is damaged .*; delete it and make it again"):
        read_examples(path)
    path.write_text(json.dumps({"schema": 9}))
    with pytest.raises(LTPError, match="has schema 9, expected 1"):
        read_examples(path)


@pytest.fixture(scope="module")
def results(tiny_study, tmp_path_factory):
    """A folder of results with a dense and a pruned run of the tiny encoder, and their tables."""
    from ltp.analysis.tables import write_tables
    from ltp.settings.training import TrainingSettings
    from ltp.training.stage import Stage
    from ltp.training.stages import train

    root = tmp_path_factory.mktemp("results")
    home = root / "sst2/seed~0"
    shutil.copytree(tiny_study.data, root / "sst2/data")
    shutil.copytree(tiny_study.base, home / "dense/base")
    settings = TrainingSettings(learning_rate=1e-4, epochs=1, batch_size=8)
    train(Stage("hard", "ltp", str(tiny_study.converted), tiny_study.data, home / "ltp/hard", settings))
    write_tables([home / "dense/base/metrics.json", home / "ltp/hard/metrics.json"], root)
    return SimpleNamespace(root=root, run=home / "ltp/hard")


def call(*arguments):
    parser = argparse.ArgumentParser()
    explain_command.add_arguments(parser)
    return explain_command.run(parser.parse_args(list(map(str, arguments))))


def test_command_explains_a_text(results, capsys):
    assert call(results.run, "a warm but rather dull film") == 0
    shown = capsys.readouterr().out
    assert re.match(r"(negative|positive) \(\d+ %\) · 8 tokens", shown) and "\x1b" not in shown
    listed = " ".join(re.findall(r"^ +(?:\d+|kept) +\d+(?: → \d+)?  (.*)$", shown, re.M)).split()
    assert sorted(listed) == sorted(["[CLS]", "a", "warm", "but", "rather", "dull", "film", "[SEP]"])


def test_examples_are_of_the_test_split_and_spread_over_its_lengths(results):
    from ltp.text.dataset import load

    explain_command.explain_task(results.root / "sst2", count=4)
    sentences, facts = read_examples(results.root / "sst2/examples.json")
    test, info = load(results.root / "sst2/data")[0]["test"], load(results.root / "sst2/data")[1]
    assert facts["run"] == "sst2/seed~0/ltp/hard"
    assert len(sentences) == 4
    for sentence in sentences:
        row = test["text"].index(sentence.texts[0])
        assert sentence.left_after()[0] == test["length"][row]
        assert sentence.expected == info["label_names"][test["labels"][row]]
    lengths = [sentence.left_after()[0] for sentence in sentences]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_examples_are_cut_where_their_data_cut_them(results, tiny_encoder, tmp_path):
    """Also where test texts are cut at other lengths than those that the run was trained on."""
    from ltp.settings.data import DataSettings
    from ltp.text.prepare import prepare

    root = shutil.copytree(results.root, tmp_path / "results")
    text = str(tiny_encoder.parent / "text")
    settings = DataSettings(
        task="sst2", source="local", path=text, model=str(tiny_encoder), max_length=24, test_max_lengths=(5, 6)
    )
    prepare(settings, root / "sst2/data")
    explain_command.explain_task(root / "sst2", count=16)
    sentences, _ = read_examples(root / "sst2/examples.json")
    assert {sentence.left_after()[0] for sentence in sentences} == {5, 6}


def test_answers_are_the_run_s_predictions(results):
    from ltp.results.run import read_predictions
    from ltp.text.dataset import load

    explain_command.explain_task(results.root / "sst2")
    splits, info = load(results.root / "sst2/data")
    predicted = dict(zip(splits["test"]["text"], read_predictions(results.run)["test"]["predictions"], strict=True))
    for sentence in read_examples(results.root / "sst2/examples.json")[0]:
        assert sentence.answer == info["label_names"][predicted[sentence.texts[0]]]


def test_task_without_a_pruned_run_gets_a_reason(tmp_path):
    from ltp.analysis.tables import write_tables

    write_tables(
        [write(tmp_path / "cola/seed~0/dense/base", metrics_of("dense", "base", 0, 0.8, 1.0, task="cola"))], tmp_path
    )
    assert call("--examples", "--", tmp_path / "cola") == 0
    sentences, facts = read_examples(tmp_path / "cola/examples.json")
    assert (sentences, facts["reason"]) == ([], "no finished run of learned thresholds on cola")


def test_blanks_that_are_tokens_are_seen(bytelevel):
    assert [word.text for word in words_of(bytelevel, "a  film")[1:-1]] == ["a", "␣", "film"]


@pytest.mark.parametrize("arguments", [["run"], ["run", "a", "b", "c"], ["--examples", "run", "a"]])
def test_wrong_number_of_texts_is_refused(arguments):
    with pytest.raises(LTPError, match=r"^text: \d texts.* given; expected one text, two for a task of pairs"):
        call(*arguments)


def test_two_texts_for_a_model_that_labels_words_and_long_questions_are_refused(wordpiece):
    heads = {"tokens": "LTPForTokenClassification", "spans": "LTPForQuestionAnswering"}
    for kind, text, message in (
        ("tokens", ("Paris", "France"), "^text: 2 given; this model labels the words of one: put it in quotes"),
        (
            "spans",
            ("film " * 9, "a film"),
            "^text: the question has 9 word pieces, which leaves none of 10 for",
        ),
    ):
        config = SimpleNamespace(to_dict=lambda kind=kind: {"architectures": [heads[kind]]})
        with pytest.raises(LTPError, match=message):
            explain.explain(SimpleNamespace(config=config), wordpiece, [text], 10)


def test_text_that_is_no_utf8_and_broken_tokenizers_are_one_line(results, tmp_path):
    with pytest.raises(LTPError, match=r"text: holds '\\udce9', half a character"):
        call(results.run, "caf\udce9")
    convert(results.root / "sst2/seed~0/dense/base", tmp_path / "model", PruningSettings())
    (tmp_path / "model/conversion.json").unlink()
    (tmp_path / "model/tokenizer.json").write_text("{")
    with pytest.raises(LTPError, match=r"tokenizer not readable .*; save it there again"):
        call(tmp_path / "model", "a film")
    (tmp_path / "model/tokenizer.json").unlink()
    with pytest.raises(LTPError, match=r"no tokenizer; expected tokenizer\.json or"):
        call(tmp_path / "model", "a film")
