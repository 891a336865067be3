"""The studio's own rules of style, laid over gradio's. Colours that the theme has are read from it."""

from __future__ import annotations

from ui.theme import SERIF

CSS = """
:root {
  --serif: SERIF;
  --sheet: #fffdf8; --edge: rgba(120, 92, 50, 0.10); --mat: #fbf6ec; --faint: #efe5d4;
  --lift: 0 1px 1px rgba(92, 66, 32, 0.08), 0 3px 6px rgba(92, 66, 32, 0.06), 0 18px 36px -20px rgba(92, 66, 32, 0.35);
  --lift-small: 0 1px 1px rgba(92, 66, 32, 0.12), 0 5px 12px -5px rgba(92, 66, 32, 0.32);
  --sky: #d3e7ef; --sun: #f6cf3e; --cloud: #fffdf8; --far: #b0d688; --middle: #7cbf78; --near: #3a9d54;
  --title: #2c2723; --night: 0; --note: #fdf3d2; --note-edge: #e9cf72; --note-ink: #5c4708;
  --good-ink: #246b3a; --bad: #fbe4e0; --bad-edge: #e9a7a0; --bad-ink: #7f1e21;
}
.dark {
  --sheet: #282536; --edge: rgba(255, 255, 255, 0.05); --mat: #312d42; --faint: #38334a;
  --lift: 0 1px 1px rgba(0, 0, 0, 0.3), 0 18px 36px -18px rgba(0, 0, 0, 0.7);
  --lift-small: 0 1px 1px rgba(0, 0, 0, 0.35), 0 6px 14px -5px rgba(0, 0, 0, 0.6);
  --sky: #2c2b58; --sun: #efe8cf; --cloud: #3c3a70; --far: #3c4a68; --middle: #2f4656; --near: #23393f;
  --title: #f4eee2; --night: 1; --note: #40381f; --note-edge: #6b5b27; --note-ink: #f3dd95;
  --good-ink: #a9dcb6; --bad: #4a2730; --bad-edge: #7c3b42; --bad-ink: #ffc9c3;
  /* The theme's greys are paper; by night they are the sky's. */
  --neutral-200: #3b374c; --neutral-600: #6a6484; --neutral-700: #454059; --neutral-800: #353147;
  --neutral-900: #282536; --neutral-950: #1d1b29;
}
body { background: var(--body-background-fill); }
/* Twice the class: gradio's own rule for the width is as specific as one. */
.gradio-container.gradio-container {
  box-sizing: border-box; width: 100%; min-width: 0; max-width: 1180px !important; margin: 0 auto;
  padding: 0 24px 40px !important;
}
.gradio-container .main.fillable { width: 100%; min-width: 0; max-width: none !important; padding: 0 !important; }
.gradio-container .main > .wrap, .gradio-container .contain { min-width: 0; }
footer { display: none !important; }
.gradio-container button:focus-visible, .gradio-container a:focus-visible {
  outline: 3px solid var(--input-border-color-focus); outline-offset: 2px;
}

.banner { position: relative; margin: 16px 0 6px; border-radius: 20px; overflow: hidden; box-shadow: var(--lift); }
.banner > svg { display: block; width: 100%; height: 150px; }
.banner .sky { fill: var(--sky); } .banner .sun { fill: var(--sun); } .banner .cloud { fill: var(--cloud); }
.banner .hill-3 { fill: var(--far); } .banner .hill-2 { fill: var(--middle); } .banner .hill-1 { fill: var(--near); }
.banner .night { opacity: var(--night); } .banner .star { fill: #f4ecd0; }
.banner .trunk { fill: #80543c; } .banner .leaf { fill: #2f8449; } .banner .leaf-2 { fill: #489c58; }
.banner .blossom { fill: #ee82ac; }
.dark .banner .leaf { fill: #1f3f40; } .dark .banner .leaf-2 { fill: #294c49; } .dark .banner .trunk { fill: #3a2f38; }
.dark .banner .blossom { fill: #8a4a78; }
.banner svg * { transition: fill 0.5s ease; }
.banner .title { position: absolute; left: 34px; top: 26px; }
.banner h1 {
  margin: 0; font: 600 40px/1 var(--serif); letter-spacing: -0.01em; color: var(--title);
}
.banner .title p { margin: 8px 0 0; font: italic 17px/1.2 var(--serif); color: var(--title); opacity: 0.78; }
.banner .lamp {
  position: absolute; right: 16px; top: 16px; width: 40px; height: 40px; padding: 9px; border: 0; border-radius: 50%;
  background: var(--sheet); box-shadow: var(--lift-small); cursor: pointer;
}
.banner .lamp svg { display: block; width: 22px; height: 22px; fill: var(--body-text-color-subdued); }

.tabs .tab-container, .tab-wrapper { border: 0 !important; }
.tab-container::after { display: none !important; }
.tab-container button {
  font: 600 18px/1 var(--serif) !important; padding: 12px 11px !important; border: 0 !important;
  color: var(--body-text-color-subdued) !important; background: none !important;
}
.tab-container button.selected { color: var(--body-text-color) !important; }
.tab-container button.selected::after {
  height: 4px !important; border-radius: 3px; background: var(--color-accent) !important;
}
.tabitem { padding: 8px 0 0 !important; border: 0 !important; background: none !important; }

.desk { gap: 22px !important; align-items: flex-start; }
.sheet {
  padding: 26px 28px !important; border-radius: 18px; background: var(--sheet); border: 1px solid var(--edge);
  box-shadow: var(--lift); gap: 16px !important;
}
.form .form { gap: 16px; border: 0; box-shadow: none; background: none; overflow: visible; }
.form .block { overflow: visible; }
.sheet .block:has(input[type="range"]) { overflow: visible !important; padding-bottom: 6px !important; }
.pair { gap: 22px !important; } .pair > .form { gap: 22px; }
.words textarea { font: 18px/1.5 var(--serif); padding: 12px 14px; }
.line-of-words textarea, .line-of-words input { padding: 9px 13px; }
.seed { align-items: flex-end; gap: 10px !important; }
.dice { height: 42px; margin-bottom: 0; }
.quiet { box-shadow: none !important; }
.more {
  padding: 0 !important; border-top: 1px dashed var(--border-color-primary) !important;
  padding-top: 14px !important;
}
.more > button { padding: 0 !important; font-weight: 600; }
.slot:not(:has(p)), .cost-line:not(:has(.cost)) { display: none; }
.render { margin-top: 4px; padding: 14px; font-size: 18px; letter-spacing: 0.01em; }
.render:active { transform: translateY(1px); }
.gradio-container input[type="range"]::-webkit-slider-thumb {
  box-shadow: 0 0 0 1px var(--border-color-accent), 0 2px 4px rgba(60, 42, 18, 0.25);
}
.gradio-container input[type="range"]::-moz-range-thumb { box-shadow: 0 0 0 1px var(--border-color-accent); }
.side { gap: 22px !important; }
.group { gap: 14px !important; } .group.shut { display: none !important; }
.modes .wrap { gap: 8px; } .modes label { padding: 8px 14px !important; border-radius: 10px !important; }
.cost { padding-top: 14px; border-top: 1px dashed var(--border-color-primary); }
.cost .facts { justify-content: flex-start; } .cost .note { margin-top: 10px; }
.tries { display: flex; flex-wrap: wrap; gap: 7px; margin-top: -6px; }
.tries button {
  margin: 0 !important; padding: 4px 12px; border: 0; border-radius: 999px; box-shadow: none !important;
  background: var(--faint); color: var(--body-text-color-subdued);
  font: italic 14px/1.35 var(--serif); text-align: left; cursor: pointer; transition: color 0.15s, transform 0.15s;
}
.tries button:hover { color: var(--body-text-color); transform: translateY(-1px); }

.stage { display: flex; flex-direction: column; align-items: center; gap: 14px; text-align: center; }
.stage.empty {
  padding: 44px 10px 50px; color: var(--body-text-color-subdued); font: italic 17px/1.5 var(--serif); gap: 2px;
}
.stage.empty p { margin: 0; } .easel { width: 210px; margin-bottom: 14px; }
.mount {
  margin: 4px 0 2px; padding: 16px; max-width: 100%; background: var(--mat); border-radius: 6px;
  box-shadow: var(--lift-small); box-sizing: border-box;
}
.mount img, .mount video {
  display: block; margin: 0 !important; max-width: 100%; height: auto; border-radius: 2px;
  box-shadow: 0 0 0 1px var(--edge);
}
.stage.done .mount { animation: settle 0.5s cubic-bezier(0.2, 0.8, 0.3, 1); }
.mount.blank > div {
  max-width: 100%; border-radius: 2px;
  /* Not the shorthand: gradio reads rules back from the browser, which loses one that holds variables. */
  background-image: linear-gradient(100deg, var(--faint) 44%, var(--sheet) 50%, var(--faint) 56%);
  background-size: 300% 100%;
}
.stage.running .mount.blank > div { animation: light 2.4s linear infinite; }
.stage.failed, .stage.cancelled { padding: 26px 0; }
@keyframes light { from { background-position: 100% 0; } to { background-position: -50% 0; } }
@keyframes settle { from { opacity: 0; transform: translateY(-8px) scale(1.015); } }
.say { margin: 0; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.bar { width: min(100%, 420px); height: 10px; border-radius: 6px; background: var(--faint); overflow: hidden; }
.bar i {
  display: block; height: 100%; border-radius: 6px; background: var(--slider-color); transition: width 0.6s ease;
}
.caption, .told .words {
  margin: 0; font: italic 17px/1.45 var(--serif); overflow-wrap: anywhere; text-wrap: balance;
}
.stage .caption { max-height: 9em; overflow-y: auto; }
.stage.done .caption { order: 1; }
.stage.done .note { order: 2; }
.stage.done .facts { order: 3; }
.stage.done .links { order: 4; }
.note {
  margin: 0; padding: 8px 14px; border-radius: 10px; background: var(--note); border: 1px solid var(--note-edge);
  color: var(--note-ink); text-align: left; overflow-wrap: anywhere;
}
.note.bad { background: var(--bad); border-color: var(--bad-edge); color: var(--bad-ink); }
.note * { color: inherit; }
.facts { display: flex; flex-wrap: wrap; justify-content: center; gap: 10px 26px; margin: 4px 0 0; }
.facts div { min-width: 0; } .facts dt { font-size: 12.5px; color: var(--body-text-color-subdued); }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.links { display: flex; flex-wrap: wrap; justify-content: center; gap: 10px; margin: 6px 0 0; }
.links a {
  padding: 8px 16px; border-radius: 10px; background: var(--button-secondary-background-fill); text-decoration: none;
  color: var(--button-secondary-text-color); font-weight: 600;
}
.links a:hover { background: var(--button-secondary-background-fill-hover); }
.offer .stop { min-width: 120px; }

.line h2 { margin: 4px 0 8px; font: 600 15px/1.2 var(--serif); color: var(--body-text-color-subdued); }
.line ul { list-style: none; margin: 0; padding: 0; }
.line li {
  display: flex; align-items: center; gap: 12px; margin: 0; padding: 7px 0;
  border-top: 1px dashed var(--border-color-primary);
}
.line .what {
  flex: 1; min-width: 0; padding: 0; border: 0; background: none; color: inherit; text-align: left; cursor: pointer;
  font: italic 15.5px/1.4 var(--serif); overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.line .what:hover { text-decoration: underline; }
.line .how {
  color: var(--body-text-color-subdued); font-size: 13.5px; font-variant-numeric: tabular-nums;
  white-space: nowrap;
}
.line .drop {
  width: 30px; height: 30px; border: 0; border-radius: 50%; background: var(--faint); color: inherit;
  font-size: 17px; line-height: 1; cursor: pointer;
}

.wall {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); gap: 24px; list-style: none;
  margin: 8px 0 0; padding: 0;
}
.wall li { margin: 0; padding: 0; }
.print {
  display: flex; flex-direction: column; width: 100%; height: 100%; padding: 12px 12px 14px; gap: 10px;
  border: 1px solid var(--edge); border-radius: 6px;
  background: var(--sheet); color: inherit; text-align: left; cursor: pointer; box-shadow: var(--lift-small);
  transition: transform 0.18s ease, box-shadow 0.18s ease;
}
.print:hover { transform: translateY(-4px) rotate(-0.4deg); box-shadow: var(--lift); }
.wall li:nth-child(even) .print:hover { transform: translateY(-4px) rotate(0.4deg); }
.print > span {
  display: grid; place-items: center; aspect-ratio: 1; background: var(--mat); border-radius: 3px;
  overflow: hidden;
}
.print img, .print video { width: 100%; height: 100%; margin: 0 !important; object-fit: contain; }
.print .lost { font: italic 15px/1.3 var(--serif); color: var(--body-text-color-subdued); }
.print em {
  font: italic 14.5px/1.4 var(--serif); display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical;
  overflow: hidden; overflow-wrap: anywhere;
}
.detail { gap: 30px !important; align-items: flex-start; margin-bottom: 22px; }
.detail .mount { margin: 0 auto; width: fit-content; } .detail .column > .block { width: 100%; }
.told .facts, .told .links { justify-content: flex-start; } .told .words { font-size: 20px; margin-bottom: 14px; }
.told .note { margin: 0 0 16px; }
.told .without { margin: -6px 0 14px; color: var(--body-text-color-subdued); } .told .links { margin-top: 18px; }
.actions, .pages { gap: 12px !important; flex-wrap: wrap; } .pages { justify-content: center; margin-top: 22px; }

@media (max-width: 760px) {
  .pair .reset-button { display: none; }
  .pair .head { flex-wrap: nowrap !important; } .pair .head input[type="number"] { width: 58px; }
  .banner { margin-top: 10px; } .banner > svg { height: 116px; }
  .banner .title { left: 20px; top: 20px; }
  .banner h1 { font-size: 32px; }
  .banner .title p { font-size: 15px; margin-top: 5px; }
  .sheet { padding: 20px 18px !important; }
  .tab-container button { font-size: 16px !important; padding: 12px 8px !important; }
  .wall { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 14px; }
}
@media (prefers-reduced-motion: reduce) {
  .gradio-container * { animation: none !important; transition: none !important; }
}
""".replace("SERIF", SERIF, 1)
