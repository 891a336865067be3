"""The two levels of the page: Essentials shows what every render needs, Everything shows all fields.

Only a class of the page's body differs, so switching loses nothing; the choice is kept in the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

LABEL = "How much is shown"
LEVELS = (("essentials", "Essentials"), ("everything", "Everything"))
ALSO = "Also set: {fields}."
SHOW = "Show everything"
KEYS = "Keys"

SWITCH = (
    f'<div class="tools"><div class="levels" role="group" aria-label="{LABEL}">'
    + "".join(
        f'<button type="button" data-level="{level}" aria-pressed="false">{words}</button>' for level, words in LEVELS
    )
    + f'</div><button type="button" class="keys-button" data-keys aria-haspopup="dialog">{KEYS}</button></div>'
)

# One listener on the page, for every tab has a button that shows everything.
SCRIPT = """
const set = (level) => {
  document.body.classList.toggle('essentials', level === 'essentials');
  for (const each of element.querySelectorAll('[data-level]'))
    each.setAttribute('aria-pressed', String(each.dataset.level === level));
};
let kept = null;
try { kept = localStorage.getItem('diorama-level'); } catch (error) { /* private windows may refuse */ }
set(kept === 'essentials' ? kept : 'everything');
document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-level]');
  if (!button) return;
  set(button.dataset.level);
  try { localStorage.setItem('diorama-level', button.dataset.level); } catch (error) { /* as above */ }
  // The button in a tab is gone with the line that it stood in.
  if (!element.contains(button)) element.querySelector(`[data-level="${button.dataset.level}"]`)?.focus();
});
"""

CSS = """
.tools { display: flex; justify-content: flex-end; align-items: center; gap: 10px; margin: 4px 2px 0; }
.levels { display: flex; padding: 3px; border-radius: 11px; background: var(--faint); }
.levels button, .keys-button {
  margin: 0; padding: 5px 13px; border: 0; border-radius: 9px; background: none; color: var(--body-text-color-subdued);
  font-size: 14px; line-height: 1.3; cursor: pointer;
}
.levels button[aria-pressed="true"] {
  background: var(--sheet); color: var(--body-text-color); box-shadow: var(--lift-small);
}
.keys-button { background: var(--faint); } .keys-button:hover { color: var(--body-text-color); }
.essentials .deep { display: none !important; }
.essentials :is(.pair, .form:not(.sheet)):not(:has(.block:not(.deep))) { display: none !important; }
.also { display: none; margin: 0 0 10px; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.essentials .also { display: block !important; }
.also button {
  margin: 0; padding: 0; border: 0; background: none; color: var(--link-text-color); font: inherit; cursor: pointer;
  text-decoration: underline;
}
.cost-line:has(.jobs) { display: block !important; }
.essentials .cost-line:has(.also) { display: block !important; }
"""


def also(fields: Sequence[str]) -> str:
    """What the level Essentials hides and is not as usual, with a button that shows it; "" when there is nothing."""
    if not fields:
        return ""
    words = escape(ALSO.format(fields=", ".join(fields)))
    return f'<p class="also">{words} <button type="button" data-level="everything">{SHOW}</button></p>'
