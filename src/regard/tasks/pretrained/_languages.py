"""What a pretrained encoder-decoder is told about its languages: codes, or words before the source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import ArgumentError, enumerated, nearest


def prefix_of(task: str, tokenizer: Any, config: Any, source: str | None, target: str | None) -> str:
    """Return the words that a model expects before a source; empty if it expects none.

    T5 has one for summaries and one for each pair of languages; a Marian model of several targets has `>>code<<`.
    """
    codes = list(getattr(tokenizer, "supported_language_codes", None) or ())
    if codes:
        if target is None:
            raise ArgumentError(
                f"The model translates into several languages; give target_language: {enumerated(codes)}."
            )
        return f"{_code(target, codes, 'target_language')} "
    told: dict[str, Any] = getattr(config, "task_specific_params", None) or {}
    if task == "summarization":
        usual = "summarize: " if config.model_type == "t5" else ""
        return str(told.get(task, {}).get("prefix", usual))
    if source is None or target is None:
        return ""
    usual = f"translate {_english(source)} to {_english(target)}: " if config.model_type == "t5" else ""
    return str(told.get(f"translation_{source}_to_{target}", {}).get("prefix", usual))


def start_of(tokenizer: Any, source: str | None, target: str | None) -> dict[str, int]:
    """Tell a tokenizer with language codes (mBART, M2M100, NLLB) its languages; return how generation begins.

    Returns arguments of `generate`: the code of the target is the first token of a target, or the one before.
    """
    if not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return {}
    codes = list(getattr(tokenizer, "lang_code_to_id", None) or tokenizer.additional_special_tokens)
    if source is None or target is None:
        raise ArgumentError(
            f"The model's tokenizer needs source_language and target_language (--source-language, --target-language), "
            f"codes such as {enumerated(codes)}."
        )
    tokenizer.src_lang = _code(source, codes, "source_language")
    tokenizer.tgt_lang = _code(target, codes, "target_language")
    ids = tokenizer(text_target="a")["input_ids"]
    first: int = tokenizer.convert_tokens_to_ids(tokenizer.tgt_lang)
    if first == tokenizer.unk_token_id:  # M2M100 writes a code as a token of its own kind
        first = ids[0]
    return {"forced_bos_token_id": first} if ids[0] == first else {"decoder_start_token_id": first}


def _code(given: str, codes: Iterable[str], name: str) -> str:
    """Return the code that a language stands for: itself, or the only one that begins with it."""
    plain = {code.strip("<>_"): code for code in codes}
    if given in plain.values():
        return given
    if given in plain:
        return plain[given]
    found = [code for one, code in plain.items() if one.lower().startswith((f"{given.lower()}_", f"{given.lower()}-"))]
    if len(found) != 1:
        raise ArgumentError(
            f"{name} is {given!r}, which the model does not know.{nearest(given, plain)} It knows {enumerated(plain)}."
        )
    return found[0]


def _english(code: str) -> str:
    """Return the English name of a language, `German` of `de`; what is no code is a name already."""
    try:
        from babel import Locale, UnknownLocaleError
    except ModuleNotFoundError:
        return code
    try:
        return Locale.parse(code).get_language_name("en") or code
    except (UnknownLocaleError, ValueError):
        return code
