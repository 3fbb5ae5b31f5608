"""Settings of a folder that change what its library decodes, and that plain greedy decoding does not follow."""

from __future__ import annotations

from typing import Any

#: Settings of ``GenerationConfig`` that act on logits or on the start, and the values with which they do nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "bad_words_ids": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "sequence_bias": (None,),
}


def ignored_settings(generation_config: Any) -> tuple[str, ...]:  # noqa: ANN401 - GenerationConfig, of an extra
    """Notes on settings that would change what is decoded; none, where greedy decoding is what the library does."""
    found = {name: getattr(generation_config, name, None) for name in _NEUTRAL}
    set_here = [f"{name}={value!r}" for name, value in found.items() if value not in _NEUTRAL[name]]
    return (f"decoded greedily, without the folder's {', '.join(set_here)}",) if set_here else ()
