"""Small random checkpoints of many architectures, each with a tokenizer or image processor, as on the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(texts: Iterable[str], most: int = 200) -> Any:
    """Return a tokenizer like BERT's: lower case without accents, word pieces, special tokens around."""
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=most, special_tokens=SPECIAL))
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


def bytes_pieces(texts: Iterable[str], *, ends: bool = True, most: int = 400) -> Any:
    """Return a tokenizer like RoBERTa's and GPT-2's: bytes, a blank belongs to the word behind it."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=most, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(texts, trainer)
    if ends:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip


def sentence_pieces(texts: Iterable[str], most: int = 200) -> Any:
    """Return a tokenizer like T5's: a mark in place of blanks, the end token behind."""
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=most, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


def many_languages(texts: Iterable[str]) -> Any:
    """Return mBART's tokenizer with a small vocabulary: codes of languages stand behind the end token."""
    plain = sentence_pieces(texts)
    pieces = [(piece, -float(index)) for piece, index in sorted(plain.get_vocab().items(), key=lambda one: one[1])]
    kept = [one for one in pieces if one[0] not in ("<pad>", "</s>", "<unk>")]
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *kept]
    return transformers.MBartTokenizer(vocab=vocab, src_lang="en_XX", tgt_lang="de_DE", model_max_length=64)


def encoder(config: str, **more: Any) -> Callable[[Any], Any]:
    """Return a function from a tokenizer to an encoder."""

    def made(tokenizer: Any) -> Any:
        ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        kind = getattr(transformers, config)
        return transformers.AutoModel.from_config(kind(**{**SIZE, **ids, "max_position_embeddings": 66, **more}))

    return made


def _both(config: str, **more: Any) -> Callable[[Any], Any]:
    def made(tokenizer: Any) -> Any:
        ids = {
            "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.pad_token_id,
        }  # fmt: skip
        kind = getattr(transformers, config)
        return transformers.AutoModelForSeq2SeqLM.from_config(kind(**{**ids, **more}))

    return made


def _causal(config: str, **more: Any) -> Callable[[Any], Any]:
    def made(tokenizer: Any) -> Any:
        ids = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
        return transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**{**ids, **more}))

    return made


BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "forced_eos_token_id": None,
}  # fmt: skip
ENCODERS: dict[str, tuple[Callable[[Any], Any], Callable[..., Any]]] = {
    "bert": (encoder("BertConfig"), word_pieces),
    "roberta": (encoder("RobertaConfig"), bytes_pieces),
    "distilbert": (encoder("DistilBertConfig", dim=32, n_layers=2, n_heads=2, hidden_dim=48), word_pieces),
    "deberta-v2": (
        encoder("DebertaV2Config", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8),
        sentence_pieces,
    ),
    "modernbert": (
        encoder("ModernBertConfig", local_attention=8, global_attn_every_n_layers=2, cls_token_id=0, bos_token_id=0,
                eos_token_id=2, sep_token_id=2),
        bytes_pieces,
    ),
    "electra": (encoder("ElectraConfig", embedding_size=16), word_pieces),
}  # fmt: skip
CAUSAL = {
    "gpt2": (_causal("GPT2Config", n_embd=32, n_layer=2, n_head=2, n_positions=64), bytes_pieces),
    "llama": (_causal("LlamaConfig", **SIZE, num_key_value_heads=1, max_position_embeddings=64), bytes_pieces),
}
PAIRS = {
    "t5": (_both("T5Config", d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2), sentence_pieces),
    "bart": (_both("BartConfig", **BART), bytes_pieces),
    "marian": (_both("MarianConfig", **BART), sentence_pieces),
    "mbart": (_both("MBartConfig", **BART), many_languages),
}
PICTURE = {"image_size": 16, "patch_size": 4, "num_channels": 3}
PICTURES: dict[str, Any] = {
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SIZE, **PICTURE)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**{**SIZE, **PICTURE}, mlp_ratio=2)),
    "swin": lambda: transformers.SwinModel(
        transformers.SwinConfig(
            image_size=16, patch_size=2, num_channels=3, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
        )
    ),
}


def write(
    folder: Path, made: tuple[Callable[[Any], Any], Callable[..., Any]], texts: Iterable[str], seed: int = 0
) -> str:
    """Write a checkpoint with its tokenizer; return its folder."""
    build, tokenize = made
    tokenizer = tokenize(list(texts))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        build(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_picture_model(folder: Path, kind: str) -> str:
    """Write a checkpoint of an encoder of pictures; return its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        PICTURES[kind]().save_pretrained(folder)
    return str(folder)
