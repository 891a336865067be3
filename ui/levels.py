"""The two levels of the page: Essentials shows what every render needs, Everything shows all fields.

Only a class of the page's body differs, so switching loses nothing; the choice is kept in the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui.words import COOKIE, LANGUAGES, language, of, say

LEVELS = ("essentials", "everything")

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
// Gradio marks the page with the language of the browser, whatever the page is in.
const page = document.documentElement;
const spoken = element.querySelector('[data-language][aria-pressed="true"]').dataset.language;
const mark = () => { if (page.lang !== spoken) page.lang = spoken; };
window.dioramaLanguage?.disconnect();
window.dioramaLanguage = new MutationObserver(mark);
window.dioramaLanguage.observe(page, {attributes: true, attributeFilter: ['lang']});
mark();
// The page comes in one language or the other, so it is loaded again.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-language]');
  if (!button || button.getAttribute('aria-pressed') === 'true') return;
  document.cookie = `COOKIE=${button.dataset.language}; max-age=31536000; samesite=strict`;
  location.reload();
});
document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-level]');
  if (!button) return;
  set(button.dataset.level);
  try { localStorage.setItem('diorama-level', button.dataset.level); } catch (error) { /* as above */ }
  // The button in a tab is gone with the line that it stood in.
  if (!element.contains(button)) element.querySelector(`[data-level="${button.dataset.level}"]`)?.focus();
});
""".replace("COOKIE", COOKIE)

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


def switch() -> str:
    """The tools above the tabs: how much is shown, the sheet of keys, and which language is spoken."""
    levels = "".join(
        f'<button type="button" data-level="{level}" aria-pressed="false">{of("level", level)}</button>'
        for level in LEVELS
    )
    spoken = language()
    languages = "".join(
        f'<button type="button" data-language="{code}" lang="{code}" aria-pressed="{str(code == spoken).lower()}">'
        f"{name}</button>"
        for code, name in LANGUAGES.items()
    )
    return (
        f'<div class="tools"><div class="levels" role="group" aria-label="{say("tools.language")}">{languages}</div>'
        f'<div class="levels" role="group" aria-label="{say("tools.label")}">{levels}</div>'
        f'<button type="button" class="keys-button" data-keys aria-haspopup="dialog">{say("tools.keys")}</button></div>'
    )


def also(fields: Sequence[str]) -> str:
    """What the level Essentials hides and is not as usual, with a button that shows it; "" when there is nothing."""
    if not fields:
        return ""
    words = escape(say("tools.also", fields=", ".join(fields)))
    return f'<p class="also">{words} <button type="button" data-level="everything">{say("tools.show")}</button></p>'
