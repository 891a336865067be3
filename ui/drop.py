"""A place to drop a picture or video: it goes to the studio's folder, and an id comes back."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from ui.uploads import MAX_UPLOAD, Upload
from ui.words import counted, for_script, of, say

# Files go straight to the studio's own route and not through gradio, which keeps copies of its own.
DROP = """
const words = WORDS;
const say = (text, bad) => {
  const place = element.querySelector('[data-told]');
  if (place) { place.textContent = text; place.classList.toggle('bad', Boolean(bad)); }
};
const send = async (file) => {
  if (!file) return;
  if (file.size > MOST) return say(words.too_large.replace('{room}', ROOM), true);
  say(words.taking);
  try {
    const answer = await fetch(element.querySelector('[data-to]').dataset.to, {method: 'POST', body: file,
      headers: {'Content-Type': 'application/octet-stream'}});
    const told = await answer.json();
    if (!answer.ok) return say(told.reason, true);
    trigger('pick', {id: told.id});
  } catch (error) { say(words.lost, true); }
};
element.addEventListener('change', (event) => {
  if (event.target.type === 'file') { send(event.target.files[0]); event.target.value = ''; }
});
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-away]')) trigger('pick', {id: ''});
});
for (const name of ['dragover', 'dragleave', 'drop']) element.addEventListener(name, (event) => {
  event.preventDefault();
  element.querySelector('.drop-here')?.classList.toggle('over', name === 'dragover');
  if (name === 'drop') send(event.dataTransfer?.files[0]);
});
/* 'edit' */
""".replace("MOST", str(MAX_UPLOAD)).replace("ROOM", str(MAX_UPLOAD // 2**20))

CSS = """
.drop-here {
  display: flex; align-items: center; gap: 14px; padding: 14px 16px; border: 1.5px dashed var(--input-border-color);
  border-radius: 12px; background: var(--input-background-fill); cursor: pointer;
}
.drop-here.over, .drop-here:hover { border-color: var(--input-border-color-focus); }
.drop-here:focus-within { outline: 3px solid var(--input-border-color-focus); outline-offset: 2px; }
.drop-here img { width: 56px; height: 56px; margin: 0 !important; object-fit: contain; border-radius: 4px; }
.drop-here input { position: absolute; width: 1px; height: 1px; opacity: 0; }
.drop-here b { display: block; font-weight: 600; } .drop-here span { min-width: 0; flex: 1; }
.drop-here i { font-style: normal; font-size: 14px; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.drop-here i.bad { color: var(--bad-ink); }
.drop-away {
  width: 30px; height: 30px; margin: 0; padding: 0; border: 0; border-radius: 50%; background: var(--faint);
  color: inherit; font-size: 17px; line-height: 1; cursor: pointer;
}
"""


def script() -> str:
    """What a place does in the browser."""
    return for_script(DROP, "drop_script")


def place(upload: Upload | None, label: str, hint: str, accept: str, to: str = "uploads") -> str:
    """The place, empty or with what was dropped.

    Args:
        upload: what stands there.
        label: what it is for.
        hint: what may be dropped.
        accept: types, as a file field takes them.
        to: the address that takes the file in.
    """
    field = f'<input type="file" accept="{accept}" aria-label="{escape(label, quote=True)}">'
    if upload is None:
        words = f"<span><b>{escape(label)}</b><i data-told>{escape(hint)}</i></span>"
        return f'<label class="drop-here" data-to="{to}" data-upload="">{field}{words}</label>'
    picture = f'<img src="uploads/{upload.id}/picture" alt="">'
    words = f"<span><b>{escape(label)}</b><i data-told>{escape(told(upload))}</i></span>"
    away = (
        f'<button type="button" class="drop-away" data-away title="{say("drop.away")}" '
        f'aria-label="{say("drop.away")}">&times;</button>'
    )
    return f'<label class="drop-here" data-to="{to}" data-upload="{upload.id}">{field}{picture}{words}{away}</label>'


def told(upload: Upload) -> str:
    """What an upload is, in words."""
    size = f"{upload.width} x {upload.height}"
    was = upload.given if upload.given != (upload.width, upload.height) else None
    length = f", {counted('result.frames', upload.frames)}" if upload.kind == "video" else ""
    fitted = f", {say('drop.fitted', size=f'{was[0]} x {was[1]}')}" if was else ""
    return f"{of('upload_kind', upload.kind)}, {size}{length}{fitted}"


def given(value: Any) -> str:
    """The id of what stands in a place, "" for nothing: as the page reads it, or from the place as it was drawn.

    What stands in a part of the page that is folded away is not there to be read.
    """
    text = str(value or "")
    if not text.lstrip().startswith("<"):
        return text
    found = re.search(r'data-upload="([^"]*)"', text)
    return found[1] if found else ""


def live(elem_id: str) -> str:
    """JavaScript for the id of what stands in the place."""
    return f"document.querySelector('#{elem_id} [data-upload]')?.dataset.upload"
