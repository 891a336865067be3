"""What a person says of an output: stars, tags and a note, to be changed where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pipelines.history.annotation import MOST_NOTE, MOST_RATING, MOST_TAGS
from pipelines.history.history import Entry
from ui.words import say

# Native radios: arrow keys move among the stars. Nothing is drawn anew while somebody types.
REMARKS = """
const form = () => element.querySelector('.remarks');
const settle = () => {
  for (const field of element.querySelectorAll('input, textarea')) {
    if (field.type === 'radio') field.checked = field.hasAttribute('checked');
    else field.value = field.getAttribute('data-value') ?? '';
  }
};
element.addEventListener('change', (event) => {
  const field = event.target, id = form()?.dataset.id;
  if (id) trigger('say', {id, what: field.dataset.what, value: field.value});
});
element.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target.dataset.what === 'tags') event.target.blur();
});
watch('value', settle);
settle();
"""

CSS = """
.remarks { display: grid; gap: 10px; margin: 4px 0 0; }
.remarks fieldset { display: flex; align-items: center; margin: 0; padding: 0; border: 0; width: fit-content; }
.remarks legend, .remarks .field span {
  display: block; padding: 0; margin-bottom: 3px; font-size: 12.5px; color: var(--body-text-color-subdued);
}
.remarks .star { position: relative; padding: 0 2px; font-size: 25px; line-height: 1.15; cursor: pointer; }
.remarks .star input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; }
.remarks .star b { font-weight: 400; color: #c98a12; }
.dark .remarks .star b { color: var(--sun); }
.remarks .star:has(input:checked) ~ .star b { color: var(--border-color-accent); }
.remarks .star.none { font-size: 17px; align-self: center; padding-right: 7px; }
.remarks .star.none b { color: var(--body-text-color-subdued); }
.remarks .star:has(:focus-visible) { outline: 3px solid var(--input-border-color-focus); border-radius: 8px; }
.remarks .field input, .remarks .field textarea {
  box-sizing: border-box; width: 100%; margin: 0; padding: 8px 11px; font: inherit; font-size: 15px;
  color: var(--body-text-color); border: 1px solid var(--input-border-color); border-radius: 10px;
  background: var(--input-background-fill); resize: vertical;
}
.remarks .field ::placeholder { color: var(--input-placeholder-color); opacity: 1; }
"""


def remarks(entry: Entry, tags: Iterable[str]) -> str:
    """The stars, tags and note of an output.

    Args:
        entry: the output.
        tags: those that others have, to be offered.
    """
    stars = "".join(_star(entry, count) for count in range(MOST_RATING + 1))
    offered = "".join(f'<option value="{escape(tag, quote=True)}"></option>' for tag in tags)
    return (
        f'<form class="remarks" data-id="{entry.id}" onsubmit="return false">'
        f'<fieldset role="radiogroup"><legend>{say("remarks.rating")}</legend>{stars}</fieldset>'
        f'<label class="field"><span>{say("remarks.tags")}</span><input data-what="tags" list="known-tags" '
        'autocomplete="off" '
        f'data-value="{escape(", ".join(entry.tags), quote=True)}" placeholder="{say("remarks.tags_hint")}"></label>'
        f'<datalist id="known-tags">{offered}</datalist>'
        f'<label class="field"><span>{say("remarks.note")}</span><textarea data-what="note" rows="2" '
        f'maxlength="{MOST_NOTE}" '
        f'data-value="{escape(entry.note, quote=True)}" placeholder="{say("remarks.note_hint")}"></textarea>'
        "</label></form>"
    )


def tags_of(text: str) -> list[str]:
    """The tags in what somebody typed: commas stand between them. Many too many are one too many."""
    return [tag.strip() for tag in text.split(",") if tag.strip()][: MOST_TAGS + 1]


def _star(entry: Entry, count: int) -> str:
    checked = " checked" if entry.rating == count else ""
    label, mark = (say("remarks.some", count=count), "★") if count else (say("remarks.none"), "○")
    return (
        f'<label class="star{"" if count else " none"}" title="{label}"><input type="radio" name="stars-{entry.id}" '
        f'data-what="rating" value="{count}" aria-label="{label}"{checked}><b aria-hidden="true">{mark}</b></label>'
    )
